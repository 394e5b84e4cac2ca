//! Assigns addresses to imported hosts, by the rules by which ports are assigned.
//!
//! A name server may answer with an address for as long as it likes, and programs keep it, so an
//! address must never come to mean another peer's host. See [`allocate`].

use super::ports::{PortRequest, allocate};
use fedgate_core::{Hostname, ServiceName, ServicePort};
use fedgate_federation::federate::{Import, Imports};
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

/// The assigned addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// The imported hosts' addresses. Hosts without one are not listed: their peer has used its
    /// share.
    pub addresses: BTreeMap<Hostname, IpAddr>,
    /// These, and the addresses reserved for hosts that are no longer imported. Keep this, and pass
    /// it as `previous` next time.
    pub reserved: BTreeMap<Hostname, IpAddr>,
}

/// Assigns an address to each imported host, as long as there are addresses.
pub fn allocate_addresses(
    range: &AddressRange,
    previous: &BTreeMap<Hostname, IpAddr>,
    imports: &Imports,
    peers: &BTreeSet<&str>,
) -> HostAddresses {
    let offset =
        |(host, address): (&Hostname, &IpAddr)| Some((key(host)?, range.offset(*address)?));
    let hosts: Imports = imports.by_host().filter_map(host).collect();
    let allocation = allocate(
        &PortRequest {
            previous: &previous.iter().filter_map(offset).collect(),
            imports: &hosts,
            peers,
            range: range.offsets(),
            taken: &BTreeSet::new(),
            most: usize::MAX,
        },
        |_| true,
    );
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
    imports: &Imports,
    addresses: &BTreeMap<Hostname, IpAddr>,
) -> Option<String> {
    let hosts = imports.by_host().filter_map(|ports| ports.first());
    let mut without = hosts.filter(|host| !addresses.contains_key(&host.service.host));
    let first = without.next()?;
    let more = match without.count() {
        0 => String::new(),
        more => format!(" and {more} more hosts"),
    };
    Some(format!(
        "no address for {}{more}: {} of {} are used, and no peer gets more than it leaves for others; choose a larger range in",
        first.service.host,
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
