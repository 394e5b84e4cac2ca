//! How roots come into force, and how each side learns of it.

use crate::rig::{
    Rig, at, condition_of, dkp, name, offered, peer, private, public, root, root_until,
};
use fedgate_federation::Federation;
use fedgate_federation::bundle::{Fingerprint, Root};
use fedgate_federation::document::{Limits, PrivateDocument};
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use std::sync::Arc;

fn fingerprints(roots: &[Root]) -> Vec<Fingerprint> {
    let mut fingerprints: Vec<_> = roots.iter().map(Root::fingerprint).collect();
    fingerprints.sort();
    fingerprints
}

/// What a peer sends when it has put these roots of ours in force.
fn applying(sequence: u64, roots: &[Root]) -> PrivateDocument {
    let web = offered("web.shop.svc.beta.example", &[("http", 80)]);
    let mut document = private(sequence, &["192.0.2.9"], vec![web]);
    document.extension.as_mut().unwrap().applied_roots = Some(fingerprints(roots));
    document
}

fn acknowledged(rig: &Rig) -> Condition {
    let federation = rig.federate();
    let conditions = &federation.peer(&name("beta")).unwrap().conditions;
    let kinds: Vec<_> = conditions.iter().map(|condition| condition.kind).collect();
    assert_eq!(kinds, ConditionType::ALL);
    condition_of(&federation, "beta", ConditionType::RootsAcknowledged)
}

fn state(rig: &Rig) -> (ConditionStatus, String) {
    let condition = acknowledged(rig);
    (condition.status, condition.reason)
}

fn applied<'f>(federation: &'f Federation, peer: &str) -> &'f [Fingerprint] {
    federation.private_documents[&name(peer)]
        .extension
        .as_ref()
        .unwrap()
        .applied_roots
        .as_ref()
        .unwrap()
}

fn publish_roots(rig: &mut Rig, seconds: i64, roots: Vec<Root>) {
    let document = public('2', b'2', "beta.example", roots).to_json();
    let beta = peer("beta", "beta.example");
    let absorbed = rig.known("beta").absorb_public(
        &beta,
        &document,
        Default::default(),
        &Limits::default(),
        at(seconds),
    );
    assert!(absorbed.is_taken(), "{absorbed:?}");
}

#[test]
fn each_peers_document_lists_which_of_its_roots_are_in_force() {
    let mut rig = Rig::new();
    let (old, new, expired) = (root(), root(), root_until(2021));
    publish_roots(&mut rig, 1, vec![old.clone(), new.clone(), expired]);
    let federation = rig.federate();
    assert_eq!(
        applied(&federation, "beta"),
        fingerprints(&[old, new]),
        "an expired root is not in force"
    );
    let of_gamma = &federation.bundles[&crate::rig::domain("gamma.example")].roots;
    assert_eq!(applied(&federation, "gamma"), fingerprints(of_gamma));

    // A peer whose roots have all expired gets an empty list, not none.
    publish_roots(&mut rig, 2, vec![root_until(2021)]);
    assert_eq!(applied(&rig.federate(), "beta"), []);
}

#[test]
fn a_new_root_of_a_peer_changes_only_that_peers_document() {
    let mut rig = Rig::new();
    let first = rig.federate();
    rig.previous = first.published.clone();
    rig.now = at(20);
    publish_roots(&mut rig, 11, vec![root()]);
    let second = rig.federate();
    let version =
        |federation: &Federation, peer| federation.published.documents[&name(peer)].clone();
    assert!(version(&second, "beta").sequence > version(&first, "beta").sequence);
    assert_ne!(version(&second, "beta").content, version(&first, "beta").content);
    assert_eq!(version(&second, "gamma"), version(&first, "gamma"));
}

#[test]
fn peers_with_the_same_services_share_the_large_part() {
    let federation = Rig::new().federate();
    let [beta, gamma] = ["beta", "gamma"].map(|peer| &federation.private_documents[&name(peer)]);
    assert!(Arc::ptr_eq(&beta.services, &gamma.services));
    assert_eq!(beta.head_json(), gamma.head_json());
    assert_ne!(beta.tail_json(), gamma.tail_json());
    assert_eq!([beta.head_json(), beta.tail_json()].concat(), beta.to_json());
    assert!(serde_json::from_slice::<serde_json::Value>(&beta.to_json()).unwrap().is_object());
}

#[test]
fn roots_are_acknowledged_when_the_peer_has_all_of_them_in_force() {
    let mut rig = Rig::new();
    let old = rig.local.roots[0].clone();
    rig.absorb("beta", &applying(2, std::slice::from_ref(&old)), at(1));
    assert_eq!(state(&rig), (ConditionStatus::True, "Acknowledged".to_owned()));

    // A second root, which the peer has not seen yet.
    let new = root();
    rig.local.roots.push(new.clone());
    let waiting = acknowledged(&rig);
    assert_eq!((waiting.status, waiting.reason.as_str()), (ConditionStatus::False, "Waiting"));
    assert!(waiting.message.contains(&new.fingerprint().to_string()), "{}", waiting.message);
    assert!(!waiting.message.contains(&old.fingerprint().to_string()), "{}", waiting.message);

    // The peer has put it in force: nothing is suspicious, and the content has changed.
    let absorbed = rig.absorb("beta", &applying(3, &rig.local.roots.clone()), at(2));
    assert_eq!(absorbed, fedgate_federation::knowledge::Absorbed::Taken(vec![]));
    assert_eq!(state(&rig), (ConditionStatus::True, "Acknowledged".to_owned()));

    // The old root was removed here. It does not matter that the peer still has it.
    rig.local.roots = vec![new];
    assert_eq!(state(&rig), (ConditionStatus::True, "Acknowledged".to_owned()));
    rig.absorb("beta", &applying(4, &[]), at(3));
    assert_eq!(state(&rig), (ConditionStatus::False, "Waiting".to_owned()));
}

#[test]
fn an_expired_root_of_ours_need_not_be_acknowledged() {
    let mut rig = Rig::new();
    let good = rig.local.roots[0].clone();
    rig.local.roots.push(root_until(2027));
    rig.absorb("beta", &applying(2, &[good]), at(1));
    assert_eq!(state(&rig), (ConditionStatus::False, "Waiting".to_owned()));
    let expiry = rig.local.roots[1].not_after();
    let known = rig.known("beta");
    known.private.as_mut().unwrap().confirmed = expiry;
    known.public.as_mut().unwrap().confirmed = expiry;
    rig.knowledge.remove(&name("gamma"));
    rig.now = expiry;
    assert_eq!(state(&rig), (ConditionStatus::False, "Waiting".to_owned()));
    // The condition changes with time alone, so `next_change` includes it.
    rig.now = rig.federate().next_change.unwrap();
    assert_eq!(rig.now.duration_since(expiry).as_secs(), 1);
    assert_eq!(state(&rig), (ConditionStatus::True, "Acknowledged".to_owned()));
}

#[test]
fn without_a_statement_of_the_peer_acknowledgement_is_unknown() {
    let mut rig = Rig::new();
    assert_eq!(state(&rig), (ConditionStatus::Unknown, "NotSupported".to_owned()));
    rig.known("beta").private = None;
    assert_eq!(state(&rig), (ConditionStatus::Unknown, "Pending".to_owned()));
    rig.absorb("beta", &dkp(applying(0, &[])), at(1));
    assert_eq!(state(&rig), (ConditionStatus::Unknown, "NotSupported".to_owned()));
    rig.known("beta").private = None;
    rig.absorb("beta", &applying(1, &[]), at(1));
    rig.local.roots.clear();
    assert_eq!(state(&rig), (ConditionStatus::Unknown, "Pending".to_owned()));
}
