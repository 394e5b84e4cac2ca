//! The names of imports and of `FederatedService`s: an address for each host, and the files that tell them to other programs.

use super::Site;
use super::memory::EGRESS_ADDRESSES;
use crate::names as lines;
use fedgate_core::Hostname;
use fedgate_disk::{Readers, replace};
use fedgate_envoy::{AddressRange, HostAddresses, NamedHosts, allocate_addresses, lacking};
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};
use fedgate_process::words;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

impl Site {
    /// An address for each host that has a port. As with ports, a host gets it once that is
    /// saved.
    pub(super) fn allocate_addresses(
        &mut self,
        federation: &Federation,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<Hostname, IpAddr> {
        let Some(range) = &self.settings.egress.addresses else { return BTreeMap::new() };
        let peers = federation.peers.iter().map(|report| report.peer.trust_domain.as_str());
        let hosts = NamedHosts::of(federation);
        let HostAddresses { mut addresses, reserved } =
            allocate_addresses(range, &self.reserved_addresses, hosts, &peers.collect());
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        findings.extend(missing(range, hosts, &addresses, cluster));
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

    /// Writes the names for other programs. If there was a file and the setting is gone, it becomes
    /// empty, because a name server may be reading it.
    pub(super) fn write_names(
        &self,
        federation: &Federation,
        addresses: &BTreeMap<Hostname, IpAddr>,
        findings: &mut Vec<Finding>,
    ) {
        let folder = &self.settings.names;
        if self.settings.egress.addresses.is_none() && !folder.exists() {
            return;
        }
        let own = &self.settings.trust_domain;
        let peers = federation.peers.iter().map(|report| &report.peer.trust_domain);
        let peers = peers.filter(|peer| *peer != own);
        let mut files = BTreeMap::from([(PathBuf::from("hosts"), lines::hosts(addresses))]);
        files
            .extend(peers.map(|peer| {
                lines::zone(&format!("svc.{peer}"), addresses, |host| peer.owns(host))
            }));
        let suffix = &self.settings.federated_suffix;
        if !federation.federated_services.is_empty() {
            files.extend([lines::zone(suffix.as_str(), addresses, |host| suffix.owns(host))]);
        }
        if let Err(error) = write(folder, &files) {
            findings.push(self.not_written("names/", &error));
        }
    }
}

/// Writes the files that differ, and removes zones of peers that are gone.
fn write(folder: &Path, files: &BTreeMap<PathBuf, String>) -> Result<(), String> {
    for (name, text) in files {
        let path = folder.join(name);
        if std::fs::read(&path).is_ok_and(|before| before == text.as_bytes()) {
            continue;
        }
        replace(&path, text.as_bytes(), Readers::All).map_err(|error| {
            format!("cannot {} {}: {}", error.action, error.path.display(), words::io(&error.error))
        })?;
    }
    let zones = std::fs::read_dir(folder.join(lines::ZONES)).into_iter().flatten().flatten();
    let unwanted = zones.map(|entry| entry.path()).filter(|path| {
        let relative = path.strip_prefix(folder).unwrap_or(path);
        !files.contains_key(relative) && lines::is_ours(path)
    });
    for path in unwanted {
        std::fs::remove_file(&path)
            .map_err(|error| format!("cannot remove {}: {}", path.display(), words::io(&error)))?;
    }
    Ok(())
}

/// A finding if hosts have no address.
pub(crate) fn missing(
    range: &AddressRange,
    hosts: NamedHosts<'_>,
    addresses: &BTreeMap<Hostname, IpAddr>,
    cluster: ObjectRef,
) -> Option<Finding> {
    let message = lacking(range, hosts, addresses)? + " egress.addresses";
    Some(Finding::error(FindingReason::NoAddress, cluster, "egress.addresses", message))
}
