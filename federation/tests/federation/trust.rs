//! A new root, key or UUID of a peer takes effect only as its object allows.

use crate::rig::{Rig, TIMES, at, beta, condition_of, found, key, name, root, the, uuid};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{Limits, PublicDocument, TrustId};
use fedgate_federation::federate::{ConditionStatus, ConditionType, Standing};
use fedgate_federation::knowledge::{Absorbed, DocumentKind, PeerKnowledge};
use fedgate_federation::object::{
    APPROVE_ANNOTATION, PIN_KEYS_ANNOTATION, PIN_ROOTS_ANNOTATION, PIN_UUIDS_ANNOTATION, Peer,
    ROOT_CHANGE_ANNOTATION,
};
use fedgate_federation::{FindingReason as Reason, Severity};
use proptest::prelude::*;

impl Rig {
    fn annotate(&mut self, annotation: &str, value: impl ToString) {
        self.object("beta").annotations.insert(annotation.to_owned(), value.to_string());
    }

    fn beta(&mut self) -> Peer {
        Peer::parse(self.object("beta")).unwrap().0
    }

    /// The document of beta that is in force.
    fn trusted(&self) -> &PublicDocument {
        &self.knowledge[&name("beta")].public.as_ref().unwrap().document
    }

    /// Gives beta's public document to what is known of it.
    fn announce(&mut self, document: &PublicDocument, seconds: i64) -> Absorbed {
        let peer = self.beta();
        let (body, limits) = (document.to_json(), Limits::default());
        self.now = at(seconds);
        self.known("beta").absorb_public(&peer, &body, Default::default(), &limits, at(seconds))
    }

    fn trusts(&self, root: &Root) -> bool {
        let bundles = self.federate().bundles;
        bundles[&crate::rig::domain("beta.example")].roots.contains(root)
    }
}

/// A federation in which beta's changes must be approved.
fn approving() -> Rig {
    let mut rig = Rig::new();
    rig.annotate(ROOT_CHANGE_ANNOTATION, "Approve");
    rig
}

/// The known document with something else.
fn with(rig: &Rig, change: impl Fn(&mut PublicDocument)) -> PublicDocument {
    let mut document = rig.trusted().clone();
    change(&mut document);
    document.roots.sort();
    document
}

type Change = fn(&mut PublicDocument);

/// Everything that makes another cluster of a peer.
const CHANGES: [(Reason, Change); 4] = [
    (Reason::RootsChanged, |document| document.roots = vec![root()]),
    (Reason::RootsChanged, |document| document.roots.push(root())),
    (Reason::KeyChanged, |document| document.authn_key = key(99).public()),
    (Reason::UuidChanged, |document| document.cluster_uuid = uuid('9')),
];

#[test]
fn a_change_takes_effect_at_once_unless_it_must_be_approved() {
    for accept in [None, Some("Accept")] {
        for (reason, change) in CHANGES {
            let mut rig = Rig::new();
            accept.into_iter().for_each(|value| rig.annotate(ROOT_CHANGE_ANNOTATION, value));
            let new = with(&rig, change);
            assert!(rig.announce(&new, 20).is_taken());
            assert_eq!(rig.trusted(), &new);
            let findings = rig.federate().findings;
            let told = the(&findings, reason);
            assert_eq!(told.severity, Severity::Warning);
            let advises = told.message.contains("root-change: Approve");
            assert_eq!(advises, accept.is_none(), "{told}");
        }
    }
    for (reason, change) in CHANGES {
        let mut rig = approving();
        let (old, new) = (rig.trusted().clone(), with(&rig, change));
        assert!(matches!(rig.announce(&new, 20), Absorbed::Held(_)));
        assert_eq!(rig.trusted(), &old);
        let federation = rig.federate();
        let told = the(&federation.findings, reason);
        assert_eq!((&told.object, told.severity), (&beta(), Severity::Error));
        assert!(told.message.contains("fedgate peer approve beta"), "{told}");
        let held = condition_of(&federation, "beta", ConditionType::Held);
        assert_eq!((held.status, held.reason), (ConditionStatus::True, reason.camel_case()));
        assert_eq!(held.message, told.message);
    }
}

#[test]
fn what_is_held_changes_nothing_that_is_in_force() {
    let mut rig = approving();
    let before = rig.federate();
    rig.previous = before.published.clone();
    let evil = root();
    let new = with(&rig, |document| {
        document.roots = vec![evil.clone()];
        document.authn_key = key(99).public();
        document.cluster_uuid = uuid('9');
    });
    assert!(matches!(rig.announce(&new, 20), Absorbed::Held(_)));
    let after = rig.federate();
    assert_eq!(after.bundles, before.bundles);
    assert_eq!(after.members, before.members);
    assert_eq!(after.private_documents, before.private_documents);
    assert_eq!(after.imports, before.imports);
    assert_eq!(after.probe_targets, before.probe_targets);
    // The rest of the peer still changes.
    let web = crate::rig::offered("web.shop.svc.beta.example", &[("http", 80)]);
    let cart = crate::rig::offered("cart.shop.svc.beta.example", &[("http", 80)]);
    let private = crate::rig::private(2, &["192.0.2.9"], vec![web, cart]);
    assert!(rig.absorb("beta", &private, at(21)).is_taken());
    assert_eq!(rig.federate().peer(&name("beta")).unwrap().imports, 2);
}

#[test]
fn an_approval_releases_exactly_what_was_looked_at_and_only_once() {
    let mut rig = approving();
    let old = rig.trusted().clone();
    let (first, second) = (root(), root());
    let one = with(&rig, |document| document.roots = vec![first.clone()]);
    let other = with(&rig, |document| document.roots = vec![second.clone()]);
    assert!(matches!(rig.announce(&one, 20), Absorbed::Held(_)));
    let held = rig.known("beta").held_trust.clone().unwrap();
    assert_eq!((held.id, held.since), (TrustId::of(&one), at(20)));
    rig.annotate(APPROVE_ANNOTATION, held.id);

    // Swapped between the look and the approval.
    assert!(matches!(rig.announce(&other, 30), Absorbed::Held(_)));
    assert_eq!(rig.trusted(), &old);
    assert!(rig.announce(&one, 40).is_taken());
    assert!(rig.trusts(&first) && rig.known("beta").held_trust.is_none());
    let findings = rig.federate().findings;
    assert_eq!(the(&findings, Reason::RootsChanged).severity, Severity::Info);

    // The next change, approved as well.
    rig.annotate(APPROVE_ANNOTATION, TrustId::of(&other));
    assert!(rig.announce(&other, 50).is_taken());
    // The annotation stays. What it approved has been replaced since, and is not let in again.
    let third = with(&rig, |document| document.roots = vec![root()]);
    rig.annotate(ROOT_CHANGE_ANNOTATION, "Accept");
    assert!(rig.announce(&third, 60).is_taken());
    rig.annotate(ROOT_CHANGE_ANNOTATION, "Approve");
    assert!(matches!(rig.announce(&other, 70), Absorbed::Held(_)));
    // A restart does not forget that.
    let json = serde_json::to_string(rig.known("beta")).unwrap();
    *rig.known("beta") = serde_json::from_str::<PeerKnowledge>(&json).unwrap();
    assert!(matches!(rig.announce(&other, 80), Absorbed::Held(_)));
    // Withdrawn and given again, it works again.
    rig.object("beta").annotations.remove(APPROVE_ANNOTATION);
    assert!(matches!(rig.announce(&other, 90), Absorbed::Held(_)));
    rig.annotate(APPROVE_ANNOTATION, TrustId::of(&other));
    assert!(rig.announce(&other, 100).is_taken());
}

#[test]
fn accept_releases_what_is_held_at_once() {
    let mut rig = approving();
    let new = with(&rig, |document| document.roots = vec![root()]);
    assert!(matches!(rig.announce(&new, 20), Absorbed::Held(_)));
    rig.annotate(ROOT_CHANGE_ANNOTATION, "Accept");
    assert!(rig.announce(&new, 30).is_taken());
}

#[test]
fn the_known_document_ends_a_hold() {
    for not_modified in [false, true] {
        let mut rig = approving();
        let old = rig.trusted().clone();
        let new = with(&rig, |document| document.roots = vec![root()]);
        assert!(matches!(rig.announce(&new, 20), Absorbed::Held(_)));
        match not_modified {
            true => rig.known("beta").record_not_modified(DocumentKind::Public, at(30)),
            false => assert_eq!(rig.announce(&old, 30), Absorbed::Confirmed),
        }
        assert!(found(&rig.federate().findings, Reason::RootsChanged).is_empty());
        assert_eq!(
            condition_of(&rig.federate(), "beta", ConditionType::Held).status,
            ConditionStatus::False
        );
    }
}

#[test]
fn a_removed_root_is_not_held() {
    let mut rig = Rig::new();
    let gone = root();
    let both = with(&rig, |document| document.roots.push(gone.clone()));
    assert!(rig.announce(&both, 20).is_taken());
    assert!(rig.trusts(&gone));
    rig.annotate(ROOT_CHANGE_ANNOTATION, "Approve");
    let one = with(&rig, |document| document.roots.retain(|root| *root != gone));
    assert!(rig.announce(&one, 30).is_taken());
    assert!(!rig.trusts(&gone));
}

#[test]
fn however_old_the_known_document_is_nothing_takes_its_place() {
    let mut rig = approving();
    let (old, new) = (rig.trusted().clone(), with(&rig, |document| document.roots = vec![root()]));
    let limit = i64::try_from(TIMES.staleness_limit.as_secs()).unwrap();
    for seconds in [20, limit - 1, limit, 100 * limit] {
        assert!(matches!(rig.announce(&new, seconds), Absorbed::Held(_)));
        assert_eq!(rig.trusted(), &old);
        // Nothing confirms the known root, so it is not used forever either.
        // It is fetched, so nobody has to look for the reason why it is not.
        let findings = rig.federate().findings;
        let aged = findings.iter().filter(|finding| {
            finding.object == beta()
                && finding.field.as_deref() == Some("public.json")
                && matches!(finding.reason, Reason::Stale | Reason::Expired)
        });
        for finding in aged.clone() {
            assert!(finding.message.contains("is held: see the condition Held"), "{finding}");
            assert!(!finding.message.contains("cannot be fetched"), "{finding}");
        }
        assert_eq!(aged.count(), usize::from(seconds > 20));
        let has_bundle = rig.federate().bundles.contains_key(&crate::rig::domain("beta.example"));
        assert_eq!(has_bundle, seconds < limit, "{seconds}");
    }
}

#[test]
fn a_known_root_in_what_is_held_confirms_the_known_document() {
    let mut rig = approving();
    let new = with(&rig, |document| document.roots.push(root()));
    let far = 100 * i64::try_from(TIMES.staleness_limit.as_secs()).unwrap();
    assert!(matches!(rig.announce(&new, far), Absorbed::Held(_)));
    assert!(rig.federate().bundles.contains_key(&crate::rig::domain("beta.example")));
    let message = the(&rig.federate().findings, Reason::RootsChanged).message.clone();
    assert!(message.contains("what is known stays in force; "), "{message}");
}

#[test]
fn pins_judge_the_first_document_and_every_other() {
    let pinned = |rig: &Rig| {
        let document = rig.trusted();
        [
            (PIN_ROOTS_ANNOTATION, document.roots[0].fingerprint().to_string()),
            (PIN_KEYS_ANNOTATION, document.authn_key.fingerprint().to_string()),
            (PIN_UUIDS_ANNOTATION, document.cluster_uuid.as_str().to_uppercase()),
        ]
    };
    for index in 0..3 {
        for known in [true, false] {
            let mut rig = Rig::new();
            let good = rig.trusted().clone();
            let (annotation, value) = pinned(&rig)[index].clone();
            let bad = with(&rig, CHANGES[index + 1].1);
            rig.annotate(annotation, value);
            rig.annotate(ROOT_CHANGE_ANNOTATION, "Accept");
            rig.annotate(APPROVE_ANNOTATION, TrustId::of(&bad));
            if !known {
                rig.known("beta").public = None;
            }
            assert!(matches!(rig.announce(&bad, 20), Absorbed::Held(_)));
            assert_eq!(rig.known("beta").public.is_some(), known);
            assert!(!rig.known("beta").held_trust.as_ref().unwrap().approvable);
            let findings = rig.federate().findings;
            let told = the(&findings, Reason::NotPinned);
            assert!(told.message.contains("correct the pins"), "{told}");
            let absorbed = rig.announce(&good, 30);
            assert_eq!(absorbed.is_taken(), !known, "{absorbed:?}");
            assert!(found(&rig.federate().findings, Reason::NotPinned).is_empty());
        }
    }
}

#[test]
fn what_is_pinned_needs_no_approval() {
    let mut rig = approving();
    let next = root();
    let pins = format!("{}, {}", rig.trusted().roots[0].fingerprint(), next.fingerprint());
    let new = with(&rig, |document| document.roots.push(next.clone()));
    rig.annotate(PIN_ROOTS_ANNOTATION, pins);
    assert!(rig.announce(&new, 20).is_taken());
    // It covers roots, not keys.
    let key_too = with(&rig, |document| document.authn_key = key(99).public());
    assert!(matches!(rig.announce(&key_too, 30), Absorbed::Held(_)));
}

#[test]
fn a_pin_that_excludes_what_is_known_refuses_the_peer() {
    let mut rig = Rig::new();
    rig.annotate(PIN_ROOTS_ANNOTATION, root().fingerprint());
    let federation = rig.federate();
    the(&federation.findings, Reason::NotPinned);
    let report = federation.peer(&name("beta")).unwrap();
    let refused = matches!(report.standing, Standing::Refused { reason: Reason::NotPinned, .. });
    assert!(refused && !report.standing.may_send_token(), "{:?}", report.standing);
    assert!(!federation.bundles.contains_key(&crate::rig::domain("beta.example")));
    assert!(federation.peer(&name("gamma")).unwrap().standing == Standing::Accepted);
}

#[test]
fn annotations_that_cannot_be_read_trust_nothing_new() {
    let many = "sha256:".to_owned() + &"0".repeat(64);
    let many = vec![many; 65].join(",");
    let good = root().fingerprint();
    for (annotation, value) in [
        (PIN_ROOTS_ANNOTATION, "sha256:1"),
        (PIN_ROOTS_ANNOTATION, ""),
        (PIN_ROOTS_ANNOTATION, many.as_str()),
        (PIN_ROOTS_ANNOTATION, &format!("{good}; {good}")),
        (PIN_KEYS_ANNOTATION, "x"),
        (PIN_UUIDS_ANNOTATION, "*"),
        (ROOT_CHANGE_ANNOTATION, "approve"),
        (ROOT_CHANGE_ANNOTATION, ""),
    ] {
        let mut rig = Rig::new();
        let (old, new) =
            (rig.trusted().clone(), with(&rig, |document| document.roots.push(root())));
        rig.annotate(annotation, value);
        let told = the(&rig.federate().findings, Reason::InvalidAnnotation).clone();
        assert_eq!(told.severity, Severity::Error);
        assert_eq!(told.field, Some(format!("metadata.annotations[{annotation}]")));
        assert!(matches!(rig.announce(&new, 20), Absorbed::Held(_)), "{annotation}: {value}");
        // What is known is not cut off by a mistake.
        assert_eq!(rig.announce(&old, 30), Absorbed::Confirmed);
        assert_eq!(rig.federate().peer(&name("beta")).unwrap().standing, Standing::Accepted);
    }
    for bad in ["", "yes", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef"] {
        let mut rig = approving();
        rig.annotate(APPROVE_ANNOTATION, bad);
        the(&rig.federate().findings, Reason::InvalidAnnotation);
        let new = with(&rig, |document| document.roots.push(root()));
        assert!(matches!(rig.announce(&new, 20), Absorbed::Held(_)));
    }
}

#[test]
fn a_misspelt_annotation_is_reported() {
    for (annotation, meant) in [
        ("fedgate.dev/pin-root", PIN_ROOTS_ANNOTATION),
        ("Fedgate.dev/approve", APPROVE_ANNOTATION),
    ] {
        let mut rig = Rig::new();
        rig.annotate(annotation, "x");
        let message = the(&rig.federate().findings, Reason::InvalidAnnotation).message.clone();
        assert!(message.contains(&format!("did you mean {meant}?")), "{message}");
    }
}

#[test]
fn a_mistake_in_the_object_keeps_its_annotations_in_force() {
    let mut rig = approving();
    let object = rig.object("beta").clone();
    let known = rig.known("beta");
    (known.object, known.annotations) = (Some(object.spec), object.annotations);
    rig.object("beta").spec.metadata_endpoint = "http://beta.test".to_owned();
    rig.object("beta").annotations.clear();
    let peer = rig.federate().peer(&name("beta")).unwrap().peer.clone();
    assert_eq!(peer.trust, {
        let mut rig = approving();
        rig.beta().trust
    });
}

#[test]
fn an_id_depends_on_everything_that_is_trusted_and_on_nothing_else() {
    let rig = Rig::new();
    let id = TrustId::of(rig.trusted());
    assert_eq!(TrustId::parse(&id.to_string()), Ok(id));
    for (_, change) in CHANGES {
        assert_ne!(TrustId::of(&with(&rig, change)), id);
    }
    let without = with(&rig, |document| document.extension = None);
    assert_eq!(TrustId::of(&without), id);
    for bad in ["", "+123456789abcdef0123456789abcdef0", "0123456789ABCDEF0123456789ABCDEF"] {
        assert!(TrustId::parse(bad).is_err(), "{bad}");
    }
}

/// A step in the life of a peer whose changes must be approved.
#[derive(Debug, Clone)]
enum Step {
    /// It announces some of four roots, a key and a UUID.
    Announce {
        roots: Vec<usize>,
        key: u8,
        uuid: bool,
    },
    /// An operator approves what was held at this moment.
    Approve,
    Wait(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let announce = (proptest::collection::vec(0..4_usize, 1..4), 0..2_u8, any::<bool>());
    prop_oneof![
        4 => announce.prop_map(|(roots, key, uuid)| Step::Announce { roots, key, uuid }),
        1 => Just(Step::Approve),
        1 => (0..5000_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing is ever trusted that the operator has not approved, whatever is announced, however
    /// long it takes, and also over restarts.
    #[test]
    fn only_what_was_first_or_approved_is_ever_trusted(steps in proptest::collection::vec(step(), 0..30)) {
        let mut rig = approving();
        let roots: Vec<_> = (0..4).map(|_| root()).collect();
        let mut allowed = vec![rig.trusted().clone()];
        let (mut held, mut now) = (None::<PublicDocument>, 10);
        for step in steps {
            now += 1;
            match step {
                Step::Announce { roots: chosen, key: number, uuid: other } => {
                    let document = with(&rig, |document| {
                        document.roots = chosen.iter().map(|index| roots[*index].clone()).collect();
                        document.roots.sort();
                        document.roots.dedup();
                        document.authn_key = key(number).public();
                        document.cluster_uuid = uuid(if other { '9' } else { '2' });
                    });
                    let before = rig.trusted().clone();
                    match rig.announce(&document, now) {
                        Absorbed::Held(_) => {
                            prop_assert_eq!(rig.trusted(), &before);
                            held = Some(document);
                        }
                        _ => held = None,
                    }
                }
                Step::Approve => if let Some(held) = held.take() {
                    rig.annotate(APPROVE_ANNOTATION, TrustId::of(&held));
                    let approved = rig.announce(&held, now);
                    prop_assert!(approved.is_taken() || rig.known("beta").used_approval == Some(TrustId::of(&held)));
                    allowed.push(held);
                },
                Step::Wait(seconds) => now += seconds,
                Step::Restart => {
                    let json = serde_json::to_string(rig.known("beta")).unwrap();
                    *rig.known("beta") = serde_json::from_str::<PeerKnowledge>(&json).unwrap();
                }
            }
            let trusted = rig.trusted();
            let root_allowed = |root: &Root| allowed.iter().any(|document| document.roots.contains(root));
            prop_assert!(trusted.roots.iter().all(root_allowed));
            prop_assert!(allowed.iter().any(|document| document.authn_key == trusted.authn_key));
            prop_assert!(allowed.iter().any(|document| document.cluster_uuid == trusted.cluster_uuid));
        }
    }
}
