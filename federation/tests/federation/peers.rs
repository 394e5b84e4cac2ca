//! Which peers take part, and what happens to those that do not.

use crate::rig::{
    Rig, at, condition_of, domain, found, hours, name, private, root_until, the, token_audience,
    uuid,
};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::document::{Network, PrivateDocument};
use fedgate_federation::federate::{ConditionStatus, ConditionType, Standing};
use fedgate_federation::{Federation, Finding, ObjectRef};

fn is_in(federation: &Federation, peer: &str) -> bool {
    let trust_domain = domain(&federation.peer(&name(peer)).unwrap().peer.trust_domain.to_string());
    let signs = [
        federation.table.as_ref().unwrap().peers().any(|row| row.name == peer),
        federation.bundles.contains_key(&trust_domain),
        federation.imports.iter().any(|import| import.peer.as_str() == peer),
        federation.private_documents.contains_key(&name(peer)),
        federation.members.values().any(|member| member.peer.as_str() == peer),
        federation.peer(&name(peer)).unwrap().standing == Standing::Accepted,
    ];
    assert!(signs.iter().all(|sign| *sign == signs[0]), "{peer}: {signs:?}");
    signs[0]
}

fn condition(
    federation: &Federation,
    peer: &str,
    kind: ConditionType,
) -> (ConditionStatus, String) {
    let condition = condition_of(federation, peer, kind);
    (condition.status, condition.reason)
}

fn in_network(network: Option<&str>, pods: &str) -> Network {
    Network {
        name: network.map(str::to_owned),
        pod_cidrs: vec![pods.parse().unwrap()],
        service_cidrs: vec![],
    }
}

fn with_network(network: Network) -> PrivateDocument {
    let web = crate::rig::offered("web.shop.svc.beta.example", &[("http", 80)]);
    let mut document = private(2, &["192.0.2.9"], vec![web]);
    document.extension.as_mut().unwrap().network = network;
    document
}

#[test]
fn valid_peers_take_part() {
    let federation = Rig::new().federate();
    assert!(is_in(&federation, "beta") && is_in(&federation, "gamma"));
    assert_eq!(federation.findings, []);
}

#[test]
fn of_two_peers_with_the_same_trust_domain_the_first_by_name_is_accepted() {
    let mut rig = Rig::new();
    rig.add_peer("beta2", "beta.example", '4');
    rig.objects.federations.reverse();
    let federation = rig.federate();
    assert_eq!(the(&federation.findings, Reason::SameTrustDomain).object.name, "beta2");
    assert!(!federation.peer(&name("beta2")).unwrap().standing.may_send_token());
    assert_eq!(
        federation
            .table
            .as_ref()
            .unwrap()
            .peers()
            .map(|row| row.name.to_owned())
            .collect::<Vec<_>>(),
        ["beta", "gamma"]
    );
    assert_eq!(federation.imports.len(), 2);
    let imports_of = |peer: &str| federation.peer(&name(peer)).unwrap().imports;
    assert_eq!((imports_of("beta"), imports_of("beta2")), (1, 0));
}

#[test]
fn a_peer_with_our_uuid_is_refused() {
    let mut rig = Rig::new();
    rig.local.cluster_uuid = uuid('2');
    let federation = rig.federate();
    assert_eq!(the(&federation.findings, Reason::OurUuid).object.name, "beta");
    assert!(!is_in(&federation, "beta") && is_in(&federation, "gamma"));
    assert_eq!(token_audience(&federation, &name("beta")), None);
    assert_eq!(token_audience(&federation, &name("gamma")), Some(&uuid('3')));
    assert_eq!(
        condition(&federation, "beta", ConditionType::Accepted),
        (ConditionStatus::False, "OurUuid".to_owned())
    );
}

#[test]
fn of_two_peers_with_the_same_uuid_the_earlier_one_is_accepted() {
    let mut rig = Rig::new();
    // `aaa` comes later, with beta's UUID.
    rig.add_peer("aaa", "aaa.example", '2');
    rig.known("aaa").uuid_since = Some(at(1));
    let federation = rig.federate();
    assert_eq!(the(&federation.findings, Reason::UuidTaken).object.name, "aaa");
    assert!(!is_in(&federation, "aaa") && is_in(&federation, "beta"));
    assert_eq!(token_audience(&federation, &name("aaa")), None);
    // A peer keeps its UUID even if it is unreachable for long.
    rig.known("aaa").public.as_mut().unwrap().confirmed = at(7200);
    rig.now = at(7200);
    the(&rig.federate().findings, Reason::UuidTaken);
    // If both came at the same time, the name decides.
    rig.known("aaa").uuid_since = Some(at(0));
    assert_eq!(the(&rig.federate().findings, Reason::UuidTaken).object.name, "beta");
}

#[test]
fn a_peer_with_overlapping_addresses_in_one_network_is_refused() {
    let mut rig = Rig::new();
    rig.local.network = in_network(Some("lan"), "10.0.0.0/16");
    rig.absorb("beta", &with_network(in_network(Some("lan"), "10.0.4.0/24")), at(1));
    let federation = rig.federate();
    assert!(!is_in(&federation, "beta") && is_in(&federation, "gamma"));
    let finding = the(&federation.findings, Reason::NetworkOverlap);
    assert!(finding.message.contains("10.0.4.0/24") && finding.message.contains("10.0.0.0/16"));
    assert_eq!(
        condition(&federation, "beta", ConditionType::NetworkOverlap).0,
        ConditionStatus::True
    );
    // It is still fetched from, or it could never recover.
    assert!(token_audience(&federation, &name("beta")).is_some());
    rig.absorb("beta", &with_network(in_network(Some("lan"), "10.9.0.0/16")), at(2));
    assert!(is_in(&rig.federate(), "beta"));
}

#[test]
fn overlapping_addresses_in_two_networks_cause_a_warning() {
    for (ours, theirs) in [(None, None), (Some("a"), Some("b")), (Some("a"), None)] {
        let mut rig = Rig::new();
        rig.local.network = in_network(ours, "10.0.0.0/16");
        rig.absorb("beta", &with_network(in_network(theirs, "10.0.4.0/24")), at(1));
        let federation = rig.federate();
        assert!(is_in(&federation, "beta"));
        let finding = the(&federation.findings, Reason::NetworkOverlap);
        assert_eq!(finding.severity, fedgate_federation::Severity::Warning);
        assert_eq!(
            condition(&federation, "beta", ConditionType::NetworkOverlap).0,
            ConditionStatus::True
        );
    }
}

#[test]
fn a_stale_document_is_reported_and_used() {
    let mut rig = Rig::new();
    rig.now = at(300);
    let federation = rig.federate();
    assert!(is_in(&federation, "beta"));
    assert_eq!(found(&federation.findings, Reason::Stale).len(), 4);
    assert_eq!(
        condition(&federation, "beta", ConditionType::Stale),
        (ConditionStatus::True, "Stale".to_owned())
    );
    assert_eq!(federation.next_change, Some(at(3600)));
    rig.now = at(299);
    let federation = rig.federate();
    assert_eq!((federation.findings.len(), federation.next_change), (0, Some(at(300))));
}

#[test]
fn an_expired_document_is_not_used() {
    let mut rig = Rig::new();
    rig.now = at(3600);
    let federation = rig.federate();
    assert_eq!(
        (federation.imports.len(), federation.bundles.len(), federation.members.len()),
        (0, 0, 0)
    );
    assert_eq!(found(&federation.findings, Reason::Expired).len(), 4);
    assert!(!federation.members.contains_key(&uuid('2')));
    // The peer itself stays one: its grants do not depend on its documents.
    assert_eq!(federation.table.as_ref().unwrap().peer_count(), 2);
}

#[test]
fn expired_roots_are_not_used_and_the_others_are() {
    let mut rig = Rig::new();
    let (old, new) = (root_until(2026), root_until(2100));
    rig.known("beta").public.as_mut().unwrap().document.roots = vec![old.clone(), new.clone()];
    rig.known("gamma").public.as_mut().unwrap().document.roots = vec![old.clone()];
    let federation = rig.federate();
    assert_eq!(federation.bundles[&domain("beta.example")].roots, [new]);
    // Without a root there is no bundle, and without a bundle no import.
    assert!(!federation.bundles.contains_key(&domain("gamma.example")));
    assert!(federation.imports.iter().all(|import| import.peer.as_str() == "beta"));
    assert_eq!(found(&federation.findings, Reason::ExpiredRoot).len(), 2);
    // A root is used until its last second. The next change is the moment after.
    rig.now = old.not_after();
    for peer in ["beta", "gamma"] {
        let known = rig.known(peer);
        known.public.as_mut().unwrap().confirmed = old.not_after();
        known.private.as_mut().unwrap().confirmed = old.not_after();
    }
    let federation = rig.federate();
    assert_eq!(federation.bundles.len(), 2);
    assert_eq!(
        federation.next_change,
        Some(old.not_after() + hours(0) + std::time::Duration::from_secs(1))
    );
}

#[test]
fn a_peer_without_gateways_is_reported() {
    let mut rig = Rig::new();
    rig.known("beta").private.as_mut().unwrap().document.gateways.clear();
    let federation = rig.federate();
    assert_eq!(the(&federation.findings, Reason::NoGateways).object.name, "beta");
    assert_eq!(federation.imports.len(), 1);
}

#[test]
fn a_peer_that_was_never_reached_has_a_row_and_nothing_else() {
    let mut rig = Rig::new();
    rig.knowledge.remove(&name("beta"));
    let federation = rig.federate();
    assert!(federation.table.as_ref().unwrap().peers().any(|row| row.name == "beta"));
    assert!(!federation.bundles.contains_key(&domain("beta.example")));
    let report = federation.peer(&name("beta")).unwrap();
    assert_eq!((report.imports, &report.cluster_uuid), (0, &None));
    let awaiting = (ConditionStatus::Unknown, "AwaitingPublic".to_owned());
    assert_eq!(
        condition(&federation, "beta", ConditionType::PrivateMetadataExchangeReady),
        awaiting
    );
}

#[test]
fn knowledge_of_another_trust_domain_is_ignored() {
    let mut rig = Rig::new();
    rig.object("beta").spec.trust_domain = "moved.example".to_owned();
    let federation = rig.federate();
    assert!(federation.imports.iter().all(|import| import.peer.as_str() == "gamma"));
    assert!(!federation.bundles.contains_key(&domain("moved.example")));
}

#[test]
fn an_invalid_peer_does_not_affect_the_others() {
    let mut rig = Rig::new();
    rig.object("beta").spec.metadata_endpoint = "http://beta.test".to_owned();
    let federation = rig.federate();
    the(&federation.findings, Reason::InvalidEndpoint);
    assert!(federation.peer(&name("beta")).is_none());
    assert!(is_in(&federation, "gamma"));
}

#[test]
fn a_cluster_named_cluster_local_has_no_peers() {
    let mut rig = Rig::new();
    rig.local.trust_domain = domain("cluster.local");
    let federation = rig.federate();
    assert_eq!(the(&federation.findings, Reason::ClusterLocal).object.kind, "Cluster");
    let table = federation.table.unwrap();
    assert_eq!((table.rows(), table.peer_count(), federation.imports.len()), (0, 0, 0));
}

#[test]
fn dropped_rows_and_held_documents_are_conditions() {
    let mut rig = Rig::new();
    let foreign = crate::rig::offered("web.shop.svc.gamma.example", &[("http", 80)]);
    let own = crate::rig::offered("web.shop.svc.beta.example", &[("http", 80)]);
    rig.absorb("beta", &private(2, &["192.0.2.9"], vec![own, foreign]), at(1));
    rig.absorb("gamma", &private(2, &[], vec![]), at(1));
    let federation = rig.federate();
    assert_eq!(
        condition(&federation, "beta", ConditionType::NamesRefused),
        (ConditionStatus::True, "ForeignName".to_owned())
    );
    assert_eq!(
        condition(&federation, "gamma", ConditionType::NamesRefused),
        (ConditionStatus::False, "AllOwn".to_owned())
    );
    assert_eq!(
        condition(&federation, "gamma", ConditionType::Held),
        (ConditionStatus::True, "HeldDocument".to_owned())
    );
    the(&federation.findings, Reason::ForeignName);
    assert_eq!(federation.imports.len(), 2);
}

fn other(federation: &Federation, object: &str) -> (ConditionStatus, String, String) {
    let condition = &federation.non_peers[object];
    assert_eq!(condition.kind, ConditionType::Accepted);
    assert!(
        federation.peers.iter().all(|report| report.peer.name.as_str() != object),
        "{object} has a report too"
    );
    (condition.status, condition.reason.clone(), condition.message.clone())
}

#[test]
fn an_object_that_is_not_a_peer_has_a_condition_with_the_reason() {
    let mut rig = Rig::new();
    let mut broken = crate::rig::federation_object("broken", "Broken.example");
    broken.spec.metadata_endpoint = "http://x".to_owned();
    rig.objects.federations.extend([broken, crate::rig::federation_object("us", "alpha.example")]);
    let unreadable = |object| {
        Finding::error(Reason::InvalidObject, object, "spec", "expected an object, found 1")
    };
    rig.objects.findings =
        vec![unreadable(ObjectRef::federation("strange")), unreadable(ObjectRef::policy("strict"))];
    let federation = rig.federate();

    assert_eq!(
        federation.non_peers.keys().collect::<Vec<_>>(),
        ["broken", "strange", "us"],
        "valid peers have reports"
    );
    let (status, reason, message) = other(&federation, "us");
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "ThisCluster"));
    assert!(message.contains("alpha.example is this cluster's own trust domain"), "{message}");
    let (status, reason, message) = other(&federation, "broken");
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "InvalidTrustDomain"));
    assert!(
        message.contains("spec.trustDomain: ") && message.contains("; spec.metadataEndpoint: "),
        "{message}"
    );
    let (_, reason, message) = other(&federation, "strange");
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("InvalidObject", "spec: expected an object, found 1")
    );
}

#[test]
fn an_object_replaced_by_its_last_valid_version_has_only_the_peers_condition() {
    let mut rig = Rig::new();
    rig.objects.findings =
        vec![Finding::error(Reason::InvalidObject, crate::rig::beta(), "spec", "broken")];
    assert_eq!(rig.federate().non_peers, Default::default());
}

#[test]
fn in_a_cluster_that_cannot_be_federated_every_object_has_a_condition() {
    let mut rig = Rig::new();
    rig.local.trust_domain = domain("cluster.local");
    let federation = rig.federate();
    for object in ["beta", "gamma"] {
        let (status, reason, message) = other(&federation, object);
        assert_eq!((status, reason.as_str()), (ConditionStatus::False, "ClusterLocal"));
        assert!(
            message.starts_with("this cluster's own trust domain is cluster.local: "),
            "{message}"
        );
    }
}
