//! Assigns addresses to imported hosts and to federated names, by the rules by which ports are
//! assigned.
//!
//! A name server may answer with an address for as long as it likes, and programs keep it, so an
//! address must never come to mean another peer's host. See [`allocate`].

use super::federated_ports::assign;
use super::ports::{PortRequest, allocate};
use fedgate_core::{Hostname, ServiceName, ServicePort};
use fedgate_federation::Federation;
use fedgate_federation::federate::{FederatedService, Import, Imports};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// How many addresses of a range are used at most.
const MOST: u16 = u16::MAX - 1;

/// The longest prefix of a range: at least 254 addresses.
const LONGEST_PREFIX: [u8; 2] = [24, 120];

/// A range of addresses, one for each imported host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange(IpNet);

impl AddressRange {
    /// Reads a CIDR.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            |what: &str| format!("expected {what} such as 240.96.0.0/16, found {text:?}");
        let range: IpNet = text.parse().map_err(|_| expected("a range of addresses"))?;
        if range.addr() != range.network() {
            return Err(format!(
                "expected the first address of the range ({}), found {text:?}",
                range.trunc()
            ));
        }
        let [four, six] = LONGEST_PREFIX;
        let longest = if range.addr().is_ipv4() { four } else { six };
        if range.prefix_len() > longest {
            return Err(expected(&format!(
                "a range of at least 254 addresses (/{longest} or shorter)"
            )));
        }
        if range.addr().is_multicast() || range.addr().is_unspecified() {
            return Err(expected("a range of addresses of single hosts"));
        }
        Ok(Self(range))
    }

    /// The network.
    pub fn network(&self) -> IpNet {
        self.0
    }

    /// Returns true if it is a range of this machine's own addresses.
    pub fn is_loopback(&self) -> bool {
        self.0.addr().is_loopback()
    }

    /// Returns true if the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Returns true if it has addresses of this network.
    pub fn overlaps(&self, network: &IpNet) -> bool {
        self.0.contains(&network.network()) || network.contains(&self.0.network())
    }

    /// How many hosts get an address at most.
    pub fn size(&self) -> usize {
        self.offsets().len()
    }

    /// The used part, without the first and the last address of the network.
    fn offsets(&self) -> RangeInclusive<u16> {
        let bits = self.0.max_prefix_len() - self.0.prefix_len();
        let last = 1u128.checked_shl(u32::from(bits)).map_or(u128::MAX, |size| size - 2);
        1..=u16::try_from(last).unwrap_or(MOST).min(MOST)
    }

    fn address(&self, offset: u16) -> IpAddr {
        match self.0.network() {
            IpAddr::V4(first) => {
                Ipv4Addr::from(u32::from(first).wrapping_add(offset.into())).into()
            }
            IpAddr::V6(first) => {
                Ipv6Addr::from(u128::from(first).wrapping_add(offset.into())).into()
            }
        }
    }

    fn offset(&self, address: IpAddr) -> Option<u16> {
        let offset = match (self.0.network(), address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                u128::from(u32::from(address).checked_sub(u32::from(first))?)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                u128::from(address).checked_sub(u128::from(first))?
            }
            _ => return None,
        };
        u16::try_from(offset).ok().filter(|offset| self.offsets().contains(offset))
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hosts that need an address each.
#[derive(Debug, Clone, Copy)]
pub struct NamedHosts<'a> {
    /// The imports, whose hosts peers choose.
    pub imports: &'a Imports,
    /// The federated names, which this cluster's operator chooses.
    pub federated: &'a [FederatedService],
}

impl<'a> NamedHosts<'a> {
    /// All hosts of a compilation.
    pub fn of(federation: &'a Federation) -> Self {
        Self { imports: &federation.imports, federated: &federation.federated_services }
    }

    fn all(&self) -> impl Iterator<Item = &'a Hostname> {
        let imports = self.imports.by_host().filter_map(|ports| ports.first());
        let federated = self.federated.iter().map(|service| &service.host);
        imports.map(|import| &import.service.host).chain(federated)
    }
}

/// The assigned addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// The hosts' addresses. Hosts without one are not listed: their peer has used its share.
    pub addresses: BTreeMap<Hostname, IpAddr>,
    /// These, and the addresses reserved for hosts that are gone. Keep this, and pass
    /// it as `previous` next time.
    pub reserved: BTreeMap<Hostname, IpAddr>,
}

/// Assigns an address to each host, as long as there are addresses. The operator's own names come
/// first.
pub fn allocate_addresses(
    range: &AddressRange,
    previous: &BTreeMap<Hostname, IpAddr>,
    hosts: NamedHosts<'_>,
    peers: &BTreeSet<&str>,
) -> HostAddresses {
    let offset =
        |(host, address): (&Hostname, &IpAddr)| Some((key(host)?, range.offset(*address)?));
    let mut previous: BTreeMap<_, _> = previous.iter().filter_map(offset).collect();
    let imports: Imports = hosts.imports.by_host().filter_map(host).collect();
    let names: Vec<_> = hosts.federated.iter().filter_map(|name| key(&name.host)).collect();
    let names: Vec<_> = names.iter().collect();
    let names = assign(&names, &previous, &imports, &range.offsets(), |_| true);
    previous.retain(|host, _| !names.contains_key(host));
    let mut allocation = allocate(
        &PortRequest {
            previous: &previous,
            imports: &imports,
            peers,
            range: range.offsets(),
            taken: &names.values().copied().collect(),
            most: usize::MAX,
        },
        |_| true,
    );
    allocation.reserved.extend(names.clone());
    allocation.ports.extend(names);
    let address = |(service, offset): (ServiceName, u16)| (service.host, range.address(offset));
    HostAddresses {
        addresses: allocation.ports.into_iter().map(address).collect(),
        reserved: allocation.reserved.into_iter().map(address).collect(),
    }
}

/// What is missing if hosts have no address: the message of a finding, to which the name of the
/// setting is added.
pub fn lacking(
    range: &AddressRange,
    hosts: NamedHosts<'_>,
    addresses: &BTreeMap<Hostname, IpAddr>,
) -> Option<String> {
    let mut without = hosts.all().filter(|host| !addresses.contains_key(*host));
    let first = without.next()?;
    let more = match without.count() {
        0 => String::new(),
        more => format!(" and {more} more hosts"),
    };
    Some(format!(
        "no address for {first}{more}: {} of {} are used, and no peer gets more than it leaves for others; choose a larger range in",
        addresses.len(),
        range.size(),
    ))
}

/// One import for a host with all its ports.
fn host(ports: &[Import]) -> Option<Import> {
    let first = ports.first()?;
    Some(Import { service: key(&first.service.host)?, ..first.clone() })
}

/// What stands for a host in an allocation: the same port for all hosts, whatever theirs are.
fn key(host: &Hostname) -> Option<ServiceName> {
    ServiceName::new(host.clone(), ServicePort::new(1)?).ok()
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
