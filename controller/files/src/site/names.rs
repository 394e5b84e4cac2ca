//! The names of imports: an address for each host, and the file that tells them to other programs.

use super::Site;
use super::memory::EGRESS_ADDRESSES;
use fedgate_core::Hostname;
use fedgate_disk::{Readers, replace};
use fedgate_envoy::{AddressRange, HostAddresses, allocate_addresses, lacking};
use fedgate_federation::federate::Imports;
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

impl Site {
    /// An address for each imported host that has a port. As with ports, a host gets it once that is
    /// saved.
    pub(super) fn allocate_addresses(
        &mut self,
        federation: &Federation,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<Hostname, IpAddr> {
        let Some(range) = &self.settings.egress.addresses else { return BTreeMap::new() };
        let peers = federation.peers.iter().map(|report| report.peer.trust_domain.as_str());
        let allocated = allocate_addresses(
            range,
            &self.reserved_addresses,
            &federation.imports,
            &peers.collect(),
        );
        let HostAddresses { mut addresses, reserved } = allocated;
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        findings.extend(missing(range, &federation.imports, &addresses, cluster));
        if reserved != self.reserved_addresses {
            match self.state.save(EGRESS_ADDRESSES, &reserved) {
                Ok(()) => self.reserved_addresses = reserved,
                Err(error) => {
                    let saved = &self.reserved_addresses;
                    addresses.retain(|host, address| saved.get(host) == Some(address));
                    findings.push(self.not_written("state/", &error));
                }
            }
        }
        addresses
    }

    /// Writes the names as lines of `/etc/hosts`. Without addresses an existing file becomes empty,
    /// because a name server may be reading it.
    pub(super) fn write_hosts(
        &self,
        addresses: &BTreeMap<Hostname, IpAddr>,
        findings: &mut Vec<Finding>,
    ) {
        let path = &self.settings.hosts;
        let before = std::fs::read(path).ok();
        let wanted = hosts(addresses);
        let is_needed = before.is_some() || self.settings.egress.addresses.is_some();
        if !is_needed || before.as_deref() == Some(wanted.as_bytes()) {
            return;
        }
        if let Err(error) = replace(path, wanted.as_bytes(), Readers::All) {
            let error = format!("{} {}: {}", error.action, error.path.display(), error.error);
            findings.push(self.not_written("names/", &error));
        }
    }
}

fn hosts(addresses: &BTreeMap<Hostname, IpAddr>) -> String {
    let mut out =
        "# The imports of this cluster. fedgate writes this file; do not change it.\n".to_owned();
    for (host, address) in addresses {
        let _ = writeln!(out, "{address} {host}");
    }
    out
}

/// A finding if hosts have no address.
pub(crate) fn missing(
    range: &AddressRange,
    imports: &Imports,
    addresses: &BTreeMap<Hostname, IpAddr>,
    cluster: ObjectRef,
) -> Option<Finding> {
    let message = lacking(range, imports, addresses)? + " egress.addresses";
    Some(Finding::error(FindingReason::NoAddress, cluster, "egress.addresses", message))
}
