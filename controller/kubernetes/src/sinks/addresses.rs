//! The addresses of imported hosts and of federated names, from the range in `--import-addresses`.
//!
//! Without this setting istiod chooses them, but tells them only to sidecars that answer DNS. The
//! ServiceEntries themselves remember the addresses. Those of removed hosts stay reserved, so that a
//! program which still has an old answer does not reach another peer. The next leader finds them in
//! the ConfigMaps of their peers ([`super::reserved`]).

use super::reserved::HostAddress;
use crate::settings::ControllerSettings;
use fedgate_core::{Hostname, MeshHost};
use fedgate_envoy::{HostAddresses, NamedHosts, allocate_addresses, lacking};
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The addresses of hosts, also of removed ones.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    reserved: HostAddress,
    assigned: Arc<HostAddress>,
}

impl Addresses {
    /// Assigns an address to each host. Without a range there are none.
    ///
    /// `stored` are those of the ServiceEntries, and then those that are stored for removed hosts.
    /// What is remembered goes before what is stored, and the first host of an address keeps it.
    pub(crate) fn assign(
        &mut self,
        settings: &ControllerSettings,
        federation: &Federation,
        stored: impl IntoIterator<Item = (Hostname, IpAddr)>,
    ) {
        let Some(range) = &settings.import_addresses else {
            *self = Self::default();
            return;
        };
        let mut taken: BTreeSet<_> = self.reserved.values().copied().collect();
        for (host, address) in stored {
            if !self.reserved.contains_key(&host) && taken.insert(address) {
                self.reserved.insert(host, address);
            }
        }
        let peers = federation.peers.iter().map(|report| report.peer.trust_domain.as_str());
        let HostAddresses { addresses, reserved } =
            allocate_addresses(range, &self.reserved, NamedHosts::of(federation), &peers.collect());
        (self.reserved, self.assigned) = (reserved, Arc::new(addresses));
    }

    /// The addresses of the hosts.
    pub(crate) fn assigned(&self) -> Arc<HostAddress> {
        Arc::clone(&self.assigned)
    }

    /// The addresses that stay reserved for removed hosts, by their owner's trust domain.
    pub(crate) fn of_removed(&self) -> BTreeMap<String, HostAddress> {
        let mut removed: BTreeMap<_, HostAddress> = BTreeMap::new();
        for (host, address) in &self.reserved {
            if self.assigned.contains_key(host) {
                continue;
            }
            if let Some(owner) = MeshHost::parse(host) {
                let of_owner = removed.entry(owner.trust_domain.to_owned()).or_default();
                of_owner.insert(host.clone(), *address);
            }
        }
        removed
    }
}

/// A finding if hosts have no address although there is a range.
pub(crate) fn missing(
    settings: &ControllerSettings,
    hosts: NamedHosts<'_>,
    addresses: &BTreeMap<Hostname, IpAddr>,
) -> Option<Finding> {
    let range = settings.import_addresses.as_ref()?;
    let message = lacking(range, hosts, addresses)? + " --import-addresses";
    let cluster = ObjectRef::cluster(settings.trust_domain.as_str());
    Some(Finding::error(FindingReason::NoAddress, cluster, "import-addresses", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::settings::tests::read;

    #[test]
    fn a_host_keeps_the_address_of_its_service_entry() {
        let federation = Sample::healthy().snapshot().in_force.federation;
        let host = federation.imports.iter().next().unwrap().service.host.clone();
        let settings = read(&["--import-addresses", "240.96.0.0/16"]).unwrap();
        let given: IpAddr = "240.96.7.7".parse().unwrap();
        let assigned = |stored: &[(Hostname, IpAddr)]| {
            let mut addresses = Addresses::default();
            addresses.assign(&settings, &federation, stored.iter().cloned());
            addresses.assigned()
        };
        let found = assigned(&[(host.clone(), given)]);
        assert_eq!(found[&host], given);
        assert!(missing(&settings, NamedHosts::of(&federation), &found).is_none());
        // A ServiceEntry of another range, for example after a change of the setting.
        let found = assigned(&[(host.clone(), "10.0.0.1".parse().unwrap())]);
        assert!(found[&host].to_string().starts_with("240.96."));
        // An address has one host: the first that is known to have it.
        let other = Hostname::parse("other.shop.svc.beta.example").unwrap();
        assert_ne!(assigned(&[(other, given), (host.clone(), given)])[&host], given);
    }

    /// What a new leader finds is enough for every host, removed or not.
    #[test]
    fn the_next_leader_continues_with_the_addresses_of_removed_hosts() {
        let mut federation = Sample::healthy().snapshot().in_force.federation;
        let settings = read(&["--import-addresses", "240.96.0.0/24"]).unwrap();
        let host = federation.imports.iter().next().unwrap().service.host.clone();
        let given: IpAddr = "240.96.0.7".parse().unwrap();
        let mut first = Addresses::default();
        first.assign(&settings, &federation, [(host.clone(), given)]);
        assert!(first.of_removed().is_empty());
        let imports = std::mem::take(&mut federation.imports);
        first.assign(&settings, &federation, []);
        let removed = first.of_removed();
        assert_eq!(removed["beta.example"], BTreeMap::from([(host.clone(), given)]));
        let mut second = Addresses::default();
        second.assign(&settings, &federation, removed["beta.example"].clone());
        federation.imports = imports;
        second.assign(&settings, &federation, []);
        assert_eq!(second.assigned()[&host], given);
        // The twin: without it, the address follows from the name.
        let mut other = Addresses::default();
        other.assign(&settings, &federation, []);
        assert_ne!(other.assigned()[&host], given);
    }

    #[test]
    fn without_a_range_there_are_no_addresses_and_no_finding() {
        let federation = Sample::healthy().snapshot().in_force.federation;
        let settings = read(&[]).unwrap();
        let mut addresses = Addresses::default();
        addresses.assign(&settings, &federation, []);
        assert!(addresses.assigned().is_empty() && addresses.of_removed().is_empty());
        assert!(missing(&settings, NamedHosts::of(&federation), &addresses.assigned()).is_none());
    }
}
