//! Mistakes in the object of a known peer, for each field and each kind of mistake.

use crate::grants::GRANTED;
use crate::rig::{Rig, federation_object, found, name};
use fedgate_core::decide;
use fedgate_federation::federate::{ConditionStatus, ConditionType};
use fedgate_federation::object::IstioFederationSpec;
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};

/// Two known peers, with their objects as they were when valid.
fn rig() -> Rig {
    let mut rig = Rig::new();
    for peer in ["beta", "gamma"] {
        let spec = rig.object(peer).spec.clone();
        rig.known(peer).object = Some(spec);
    }
    rig
}

fn passes(federation: &Federation) -> bool {
    let san = "spiffe://beta.example/ns/shop/sa/web";
    let sni = Some("outbound_.80_._.web.shop.svc.alpha.example");
    let decision = decide(federation.table.as_ref().unwrap(), sni, Some(san));
    (decision.outcome, decision.reason) == GRANTED
}

fn accepted(federation: &Federation) -> (ConditionStatus, String) {
    let conditions = &federation.peer(&name("beta")).unwrap().conditions;
    let found =
        conditions.iter().find(|condition| condition.kind == ConditionType::Accepted).unwrap();
    (found.status, found.message.clone())
}

fn assert_kept(federation: &Federation, what: &str) {
    assert!(passes(federation), "{what}");
    assert!(federation.imports.iter().any(|import| import.peer.as_str() == "beta"), "{what}");
    assert!(federation.private_documents.contains_key(&name("beta")), "{what}");
    let (status, message) = accepted(federation);
    assert_eq!(status, ConditionStatus::False, "{what}");
    assert!(
        message.contains("last valid version of the object stays in force"),
        "{what}: {message}"
    );
    assert!(!federation.non_peers.contains_key("beta"), "{what}");
    let report = federation.peer(&name("beta")).unwrap();
    assert_eq!(report.peer.endpoint.as_str(), "https://metadata.beta.test/metadata", "{what}");
}

#[test]
fn a_wrong_field_keeps_the_last_valid_object_in_force() {
    type Break = fn(&mut IstioFederationSpec);
    let ways: [(&str, Break); 8] = [
        ("http", |spec| spec.metadata_endpoint = "http://metadata.beta.test/metadata".to_owned()),
        ("no URL", |spec| spec.metadata_endpoint = "metadata".to_owned()),
        ("no endpoint", |spec| spec.metadata_endpoint = String::new()),
        ("one letter of ca", |spec| {
            spec.metadata.ca = Some("-----BEGIN CERTIFICATE-----\nM\n".to_owned())
        }),
        ("an empty ca", |spec| spec.metadata.ca = Some(String::new())),
        ("a trust domain in capitals", |spec| spec.trust_domain = "Beta.example".to_owned()),
        ("no trust domain", |spec| spec.trust_domain = String::new()),
        ("the alias of every cluster", |spec| spec.trust_domain = "cluster.local".to_owned()),
    ];
    for (what, break_it) in ways {
        let mut rig = rig();
        break_it(&mut rig.object("beta").spec);
        let federation = rig.federate();
        assert_kept(&federation, what);
        let object = ObjectRef::federation("beta");
        let finding = federation.findings.iter().find(|finding| finding.object == object).unwrap();
        assert!(finding.message.contains("stays in force"), "{what}: {finding}");
        // The twin: nothing is kept of a peer that was never valid.
        rig.known("beta").object = None;
        let federation = rig.federate();
        assert!(!passes(&federation) && federation.peer(&name("beta")).is_none(), "{what}");
        assert!(federation.non_peers.contains_key("beta"), "{what}");
    }
}

#[test]
fn an_unreadable_object_keeps_the_last_valid_one_in_force_but_a_deleted_one_does_not() {
    let mut rig = rig();
    rig.objects.federations.retain(|named| named.name != "beta");
    let gone = rig.federate();
    assert!(!passes(&gone) && gone.peer(&name("beta")).is_none(), "a removal acts at once");
    let object = ObjectRef::federation("beta");
    rig.objects.findings = vec![Finding::error(
        FindingReason::InvalidObject,
        object,
        "spec.trustDomain",
        "expected a text, found 7",
    )];
    let federation = rig.federate();
    assert_kept(&federation, "an object that cannot be read");
    assert_eq!(found(&federation.findings, FindingReason::InvalidObject).len(), 1);
}

#[test]
fn an_object_changed_to_this_cluster_is_not_a_peer() {
    let mut rig = rig();
    rig.object("beta").spec.trust_domain = "alpha.example".to_owned();
    let federation = rig.federate();
    assert!(!passes(&federation) && federation.peer(&name("beta")).is_none());
}

#[test]
fn a_second_object_with_the_same_name_changes_nothing() {
    let mut rig = rig();
    rig.objects.federations.push(federation_object("beta", "other.example"));
    let federation = rig.federate();
    assert!(passes(&federation));
    assert_eq!(found(&federation.findings, FindingReason::DuplicateObject).len(), 1);
}
