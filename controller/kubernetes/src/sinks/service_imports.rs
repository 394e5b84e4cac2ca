//! The `ServiceImport`s of the Multi-Cluster Services API: one for each `FederatedService` that some
//! cluster exports. `NAME.NAMESPACE.svc.clusterset.local` is the default name of a `FederatedService`
//! in a cluster with that suffix, and what the `ServiceImport` of this namespace and name stands for.
//!
//! No one has to read them: the name works by the ServiceEntry. They show it to people and programs
//! that know that API.

use super::object::{Desired, Head};
use super::statuses::Kept;
use crate::api::kind::Kind;
use crate::api::owner::FEDERATED_SERVICE;
use crate::api::watch::Key;
use crate::settings::{CLUSTER_SET, ControllerSettings};
use crate::sources::mcs::McsObject;
use crate::status::DesiredStatus;
use crate::status::federated::LOCAL;
use crate::status::service_import::desired;
use fedgate_federation::Federation;
use fedgate_federation::federate::{
    FederatedMember, FederatedPort, FederatedService, MemberPlace, PassedOver,
};
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The objects that must exist.
pub(crate) fn objects<'a>(
    settings: &'a ControllerSettings,
    federation: &'a Federation,
) -> impl Iterator<Item = Desired> + 'a {
    let exported = federation
        .federated_services
        .iter()
        .filter(|service| has_default_name(service) && !exporters(federation, service).is_empty());
    exported.map(|service| object(settings, service))
}

/// A `spec.host` of its own is not the name that a ServiceImport stands for.
fn has_default_name(service: &FederatedService) -> bool {
    let FederatedService { namespace, name, host, .. } = service;
    host.as_str() == format!("{name}.{namespace}.{CLUSTER_SET}")
}

fn object(settings: &ControllerSettings, service: &FederatedService) -> Desired {
    let head = Head {
        kind: Kind::ServiceImport,
        namespace: &service.namespace,
        name: &service.name,
        owner: settings.namespaces.own(),
        peer: None,
    };
    let port = |port: &FederatedPort| json!({ "name": port.port_name, "port": port.service.port.get(), "protocol": "TCP" });
    let ports: Vec<_> = service.ports.iter().map(port).collect();
    Desired::new(head, json!({ "spec": { "type": "ClusterSetIP", "ports": ports } }))
        .annotated(FEDERATED_SERVICE, &format!("{}/{}", service.namespace, service.name))
}

/// The clusters that export the Service behind a name, whether they work now or not. This cluster's
/// own Service counts if it is exported too.
fn exporters(federation: &Federation, service: &FederatedService) -> BTreeSet<String> {
    let members = service.ports.iter().flat_map(|port| &port.members);
    members.filter_map(|member| exporter(federation, member)).collect()
}

fn exporter(federation: &Federation, member: &FederatedMember) -> Option<String> {
    let service = member.service.as_ref()?;
    match &member.place {
        MemberPlace::Local => {
            let exports = &federation.exports;
            exports.binary_search_by(|export| export.service.cmp(service)).ok()?;
            Some(LOCAL.to_owned())
        }
        MemberPlace::Peer(peer) => {
            let state = &member.state;
            let offers = state.is_used() || state.reason() == Some(PassedOver::PeerNotReady);
            offers.then(|| peer.to_string())
        }
    }
}

/// The statuses that differ from what is wanted.
pub(crate) fn to_write(
    federation: &Federation,
    objects: &BTreeMap<Key, McsObject>,
    kept: &Kept,
    now: Timestamp,
) -> Vec<(Key, DesiredStatus)> {
    let status = |service: &FederatedService| {
        let key = Key { namespace: service.namespace.clone(), name: service.name.clone() };
        let object = objects.get(&key)?;
        let clusters = exporters(federation, service);
        let wanted = desired(object, service, &clusters, now);
        (!clusters.is_empty() && !kept.is_settled(&key, object.status, wanted.fingerprint))
            .then_some((key, wanted))
    };
    federation.federated_services.iter().filter_map(status).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use fedgate_core::{Hostname, PeerName, ServiceName, ServicePort};
    use fedgate_federation::federate::{MemberState, Protocol};

    fn port(members: Vec<FederatedMember>) -> FederatedPort {
        let host = Hostname::parse("web.shop.svc.clusterset.local").unwrap();
        FederatedPort {
            service: ServiceName::new(host, ServicePort::new(80).unwrap()).unwrap(),
            port_name: "http".into(),
            protocol: Protocol::Http,
            members,
            check: None,
        }
    }

    fn member(place: MemberPlace, host: &str, state: MemberState) -> FederatedMember {
        let host = Hostname::parse(host).unwrap();
        let service = ServiceName::new(host, ServicePort::new(80).unwrap()).ok();
        FederatedMember { place, service, priority: 0, weight: 1, state, check: None }
    }

    fn beta(state: MemberState) -> FederatedMember {
        let place = MemberPlace::Peer(PeerName::parse("beta").unwrap());
        member(place, "web.shop.svc.beta.example", state)
    }

    fn passed_over(reason: PassedOver) -> MemberState {
        MemberState::PassedOver { reason, message: "it is passed over".into() }
    }

    /// The objects for `shop/web` with this host and these members.
    fn written(host: &str, members: Vec<FederatedMember>) -> (Vec<Desired>, BTreeSet<String>) {
        let sample = Sample::healthy();
        let mut federation = sample.snapshot().in_force.federation;
        let service = FederatedService {
            namespace: "shop".into(),
            name: "web".into(),
            source: None,
            host: Hostname::parse(host).unwrap(),
            ports: vec![port(members)],
        };
        let exporters = exporters(&federation, &service);
        federation.federated_services = vec![service];
        (objects(&sample.settings, &federation).collect(), exporters)
    }

    const NAME: &str = "web.shop.svc.clusterset.local";

    #[test]
    fn a_name_that_a_cluster_exports_is_an_import() {
        let local = |host: &str| member(MemberPlace::Local, host, MemberState::Ready);
        for (members, expected) in [
            (vec![beta(MemberState::Ready)], vec!["beta"]),
            (vec![beta(passed_over(PassedOver::PeerNotReady))], vec!["beta"]),
            (
                vec![local("web.shop.svc.alpha.example"), beta(MemberState::Ready)],
                vec!["beta", "local"],
            ),
            (vec![beta(passed_over(PassedOver::NotOffered))], vec![]),
            // A local Service without an export is a member, but no cluster exports it.
            (vec![local("secret.shop.svc.alpha.example")], vec![]),
        ] {
            let (objects, exporters) = written(NAME, members);
            assert_eq!(exporters.iter().collect::<Vec<_>>(), expected);
            assert_eq!(objects.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn an_import_has_the_ports_of_the_name() {
        let (objects, _) = written(NAME, vec![beta(MemberState::Ready)]);
        let [import] = &objects[..] else { panic!("{objects:?}") };
        assert_eq!((import.namespace.as_str(), import.name.as_str()), ("shop", "web"));
        let ports = json!([{ "name": "http", "port": 80, "protocol": "TCP" }]);
        assert_eq!(import.body["spec"], json!({ "type": "ClusterSetIP", "ports": ports }));
    }

    #[test]
    fn another_host_is_no_import() {
        let host = "shop.web.svc.clusterset.local";
        assert!(written(host, vec![beta(MemberState::Ready)]).0.is_empty());
    }
}
