//! Single events are reported for long enough without being repeated.

use crate::rig::{Rig, at, beta, found, hours, key, offered, peer, private, root, the, uuid};
use fedgate_federation::document::{Limits, PublicDocument};
use fedgate_federation::federate::{ConditionStatus, ConditionType};
use fedgate_federation::knowledge::{Absorbed, PeerKnowledge};
use fedgate_federation::object::{ACCEPT_DOCUMENT_ANNOTATION, Peer};
use fedgate_federation::{FindingReason as Reason, Severity};

fn absorb_public(rig: &mut Rig, document: &PublicDocument, now: i64) {
    let peer = peer("beta", "beta.example");
    rig.known("beta").absorb_public(
        &peer,
        &document.to_json(),
        Default::default(),
        &Limits::default(),
        at(now),
    );
    rig.now = at(now);
}

fn current_document(rig: &Rig) -> PublicDocument {
    rig.knowledge.values().next().unwrap().public.as_ref().unwrap().document.clone()
}

type Change = fn(&mut PublicDocument);

#[test]
fn a_new_key_root_or_uuid_is_reported_for_three_days() {
    let changes: [(Reason, Change); 3] = [
        (Reason::KeyChanged, |document| document.authn_key = key(99).public()),
        (Reason::RootsChanged, |document| document.roots = vec![root()]),
        (Reason::UuidChanged, |document| document.cluster_uuid = uuid('9')),
    ];
    for (reason, change) in changes {
        let mut rig = Rig::new();
        assert!(found(&rig.federate().findings, reason).is_empty());
        let mut document = current_document(&rig);
        change(&mut document);
        absorb_public(&mut rig, &document, 20);
        let finding = the(&rig.federate().findings, reason).clone();
        assert_eq!((&finding.object, finding.severity), (&beta(), Severity::Warning));
        assert!(
            finding.message.starts_with("at 2026-01-01T00:00:20Z: the peer's "),
            "{}",
            finding.message
        );
        // A confirmation or a restart does not change the finding, so there is no second alert.
        absorb_public(&mut rig, &document, 3000);
        let json = serde_json::to_string(rig.known("beta")).unwrap();
        *rig.known("beta") = serde_json::from_str::<PeerKnowledge>(&json).unwrap();
        assert_eq!(the(&rig.federate().findings, reason), &finding);
        let end = at(20) + hours(72);
        rig.now = end - hours(1);
        assert_eq!(rig.federate().next_change, Some(end));
        rig.now = end;
        assert!(found(&rig.federate().findings, reason).is_empty());
    }
}

#[test]
fn changes_of_a_refused_peer_are_reported_as_well() {
    let mut rig = Rig::new();
    let mut document = current_document(&rig);
    document.cluster_uuid = rig.local.cluster_uuid.clone();
    absorb_public(&mut rig, &document, 20);
    let findings = rig.federate().findings;
    the(&findings, Reason::OurUuid);
    the(&findings, Reason::UuidChanged);
}

#[test]
fn repeated_changes_are_one_finding() {
    let mut rig = Rig::new();
    let mut document = current_document(&rig);
    for n in 0..40 {
        document.authn_key = key(n as u8 + 100).public();
        absorb_public(&mut rig, &document, 60 * n);
    }
    let findings = rig.federate().findings;
    assert!(
        the(&findings, Reason::KeyChanged).message.contains("15 more times before"),
        "{findings:#?}"
    );
}

#[test]
fn repeated_refusals_are_one_finding_until_a_day_after_the_last() {
    let mut rig = Rig::new();
    for n in [20, 80, 140] {
        let peer = peer("beta", "beta.example");
        rig.known("beta").absorb_public(
            &peer,
            b"<html>",
            Default::default(),
            &Limits::default(),
            at(n),
        );
        rig.now = at(n);
        let findings = rig.federate().findings;
        let finding = the(&findings, Reason::InvalidDocument);
        assert_eq!(
            (finding.severity, finding.field.as_deref()),
            (Severity::Error, Some("public.json"))
        );
        assert!(
            finding.message.contains("since 2026-01-01T00:00:20Z")
                && finding.message.contains("an HTML page")
                && finding.message.ends_with("; ask the peer's operator to correct it"),
            "{finding}"
        );
    }
    assert_eq!(rig.known("beta").notices.len(), 1);
    let document = current_document(&rig);
    absorb_public(&mut rig, &document, 200);
    assert_eq!(the(&rig.federate().findings, Reason::InvalidDocument).severity, Severity::Warning);
    rig.now = at(140) + hours(24);
    assert!(found(&rig.federate().findings, Reason::InvalidDocument).is_empty());
}

/// The document ID in a message.
fn document_id(message: &str) -> String {
    let (_, rest) = message
        .split_once(&format!("{ACCEPT_DOCUMENT_ANNOTATION}: \""))
        .unwrap_or_else(|| panic!("{message}"));
    rest.split('"').next().unwrap().to_owned()
}

fn annotated(rig: &mut Rig, value: &str) {
    let annotations = &mut rig.object("beta").annotations;
    annotations.insert(ACCEPT_DOCUMENT_ANNOTATION.to_owned(), value.to_owned());
}

#[test]
fn the_annotation_accepts_only_the_document_with_that_id() {
    let services = |count| {
        (0..count).map(|n| offered(&format!("s{n}.shop.svc.beta.example"), &[("http", 80)]))
    };
    let dkp = |count| crate::rig::dkp(private(0, &["192.0.2.9"], services(count).collect()));
    let mut rig = Rig::new();
    *rig.known("beta") =
        crate::rig::known(&peer("beta", "beta.example"), &current_document(&rig), &dkp(10), at(0));
    assert!(matches!(rig.absorb("beta", &dkp(3), at(60)), Absorbed::Held(_)));
    let findings = rig.federate().findings;
    let finding = the(&findings, Reason::HeldDocument);
    assert!(finding.message.contains("stays until 2026-01-01T01:00:00Z"), "{}", finding.message);
    let id = document_id(&finding.message);
    annotated(&mut rig, &id);
    // A document other than the one that the operator looked at stays held, and has its own ID.
    assert!(matches!(rig.absorb("beta", &dkp(2), at(120)), Absorbed::Held(_)));
    assert_ne!(document_id(&the(&rig.federate().findings, Reason::HeldDocument).message), id);
    assert!(rig.absorb("beta", &dkp(3), at(180)).is_taken());
    rig.now = at(180);
    let federation = rig.federate();
    assert!(found(&federation.findings, Reason::HeldDocument).is_empty());
    assert_eq!(
        federation.imports.iter().filter(|import| import.peer.as_str() == "beta").count(),
        3
    );
    // The annotation stays and releases nothing else.
    assert!(matches!(rig.absorb("beta", &dkp(0), at(240)), Absorbed::Held(_)));
}

#[test]
fn a_document_refused_as_replayed_can_be_accepted_by_its_id() {
    let web = || vec![offered("web.shop.svc.beta.example", &[("http", 80)])];
    let sequence = |seconds: i64| u64::try_from(at(seconds).as_millisecond()).unwrap();
    let mut rig = Rig::new();
    // As long as the peer keeps its state, it continues from that number.
    assert!(
        rig.absorb("beta", &private(sequence(86_400), &["192.0.2.9"], web()), at(20))
            == Absorbed::Confirmed
    );
    assert!(
        rig.absorb("beta", &private(sequence(86_400) + 1, &["192.0.2.8"], web()), at(40))
            .is_taken()
    );
    let after_loss = private(sequence(60), &["192.0.2.7"], web());
    assert!(matches!(rig.absorb("beta", &after_loss, at(60)), Absorbed::Refused(_)));
    let findings = rig.federate().findings;
    let message = &the(&findings, Reason::ReplayedDocument).message;
    assert!(
        message.contains("2026-01-02T00:00:00.001Z") && message.contains("clock was ahead"),
        "{message}"
    );
    let id = document_id(message);
    annotated(&mut rig, &id);
    assert!(rig.absorb("beta", &after_loss, at(120)).is_taken());
    // From then on its numbers are normal.
    assert!(rig.absorb("beta", &private(sequence(130), &["192.0.2.6"], web()), at(180)).is_taken());
    assert!(
        matches!(rig.absorb("beta", &after_loss, at(240)), Absorbed::Taken(_)),
        "it was accepted by name"
    );
    assert!(matches!(
        rig.absorb("beta", &private(sequence(1), &["192.0.2.5"], web()), at(300)),
        Absorbed::Refused(_)
    ));
}

#[test]
fn an_invalid_annotation_is_reported_and_accepts_nothing() {
    for bad in ["", "yes", "0123456789ABCDEF", "*", "0123456789abcdef0"] {
        let mut rig = Rig::new();
        annotated(&mut rig, bad);
        the(&rig.federate().findings, Reason::InvalidAnnotation);
        assert_eq!(Peer::parse(rig.object("beta")).unwrap().0.accepted_document, None);
    }
    let mut rig = Rig::new();
    annotated(&mut rig, " 0123456789abcdef ");
    assert!(found(&rig.federate().findings, Reason::InvalidAnnotation).is_empty());
}

#[test]
fn the_state_of_earlier_versions_is_read() {
    let mut rig = Rig::new();
    let mut document = current_document(&rig);
    document.authn_key = key(99).public();
    absorb_public(&mut rig, &document, 20);
    let mut json = serde_json::to_value(rig.known("beta")).unwrap();
    let mut notices = json.as_object_mut().unwrap().remove("notices").unwrap();
    let since = notices[0].as_object_mut().unwrap().remove("since").unwrap();
    notices[0]["at"] = since;
    json["changes"] = notices;
    let read: PeerKnowledge = serde_json::from_value(json).unwrap();
    assert_eq!(&read, rig.known("beta"));
}

#[test]
fn the_condition_of_a_held_document_says_how_to_accept_it() {
    let mut rig = Rig::new();
    let held = private(2, &[], vec![offered("web.shop.svc.beta.example", &[("http", 80)])]);
    assert!(matches!(rig.absorb("beta", &held, at(5)), Absorbed::Held(_)));
    let federation = rig.federate();
    let report =
        federation.peers.iter().find(|report| report.peer.name.as_str() == "beta").unwrap();
    let condition =
        report.conditions.iter().find(|condition| condition.kind == ConditionType::Held).unwrap();
    assert_eq!(condition.status, ConditionStatus::True);
    assert_eq!(document_id(&condition.message), held.id());
}
