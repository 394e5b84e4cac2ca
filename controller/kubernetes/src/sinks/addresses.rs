//! The addresses of imported hosts, from the range in `--import-addresses`.
//!
//! Without this setting istiod chooses them, but tells them only to sidecars that answer DNS. The
//! ServiceEntries themselves remember the addresses. Those of removed hosts are remembered by the
//! leader, so that a program which still has an old answer does not reach another peer.

use crate::settings::ControllerSettings;
use fedgate_core::Hostname;
use fedgate_envoy::{HostAddresses, allocate_addresses, lacking};
use fedgate_federation::federate::Imports;
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The addresses of hosts, also of removed ones.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    reserved: BTreeMap<Hostname, IpAddr>,
}

impl Addresses {
    /// Assigns an address to each imported host. `existing` are those of the ServiceEntries.
    /// Without a range there are none.
    pub(crate) fn assign(
        &mut self,
        settings: &ControllerSettings,
        federation: &Federation,
        existing: impl IntoIterator<Item = (Hostname, IpAddr)>,
    ) -> BTreeMap<Hostname, IpAddr> {
        let Some(range) = &settings.import_addresses else {
            self.reserved.clear();
            return BTreeMap::new();
        };
        self.reserved.extend(existing);
        let peers = federation.peers.iter().map(|report| report.peer.trust_domain.as_str());
        let HostAddresses { addresses, reserved } =
            allocate_addresses(range, &self.reserved, &federation.imports, &peers.collect());
        self.reserved = reserved;
        addresses
    }
}

/// A finding if hosts have no address although there is a range.
pub(crate) fn missing(
    settings: &ControllerSettings,
    imports: &Imports,
    addresses: &BTreeMap<Hostname, IpAddr>,
) -> Option<Finding> {
    let range = settings.import_addresses.as_ref()?;
    let message = lacking(range, imports, addresses)? + " --import-addresses";
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
        let mut addresses = Addresses::default();
        let assigned = addresses.assign(&settings, &federation, [(host.clone(), given)]);
        assert_eq!(assigned[&host], given);
        assert!(missing(&settings, &federation.imports, &assigned).is_none());
        // A ServiceEntry of another range, for example after a change of the setting.
        let elsewhere = [(host.clone(), "10.0.0.1".parse().unwrap())];
        let assigned = Addresses::default().assign(&settings, &federation, elsewhere);
        assert!(assigned[&host].to_string().starts_with("240.96."));
    }

    #[test]
    fn without_a_range_there_are_no_addresses_and_no_finding() {
        let federation = Sample::healthy().snapshot().in_force.federation;
        let settings = read(&[]).unwrap();
        let assigned = Addresses::default().assign(&settings, &federation, []);
        assert!(assigned.is_empty());
        assert!(missing(&settings, &federation.imports, &assigned).is_none());
    }
}
