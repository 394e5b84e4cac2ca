//! Good knowledge is not given up lightly, but not kept for ever.

use crate::rig::{TIMES, at, dkp, known, offered, peer, private, public, root, tell, the};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::document::{Limits, PrivateDocument, PublicDocument, PublicService};
use fedgate_federation::knowledge::{Absorbed, Age, DocumentKind, ExchangeReason, PeerKnowledge};
use fedgate_federation::object::Peer;

fn beta() -> Peer {
    peer("beta", "beta.example")
}

fn services(count: usize) -> Vec<PublicService> {
    (0..count).map(|n| offered(&format!("s{n}.shop.svc.beta.example"), &[("http", 80)])).collect()
}

fn ours(sequence: u64, count: usize) -> PrivateDocument {
    private(sequence, &["192.0.2.9"], services(count))
}

fn theirs(count: usize) -> PrivateDocument {
    dkp(ours(0, count))
}

fn knowing(document: &PrivateDocument) -> PeerKnowledge {
    known(&beta(), &public('2', 2, "beta.example", vec![root()]), document, at(0))
}

fn services_of(knowledge: &PeerKnowledge) -> usize {
    knowledge.private.as_ref().unwrap().document.services.len()
}

fn absorb(knowledge: &mut PeerKnowledge, document: &PublicDocument, now: i64) -> Absorbed {
    knowledge.absorb_public(&beta(), &document.to_json(), None, &Limits::default(), at(now))
}

#[test]
fn a_dkp_peer_may_shrink_a_little() {
    for (before, after) in [(4, 2), (10, 5), (3, 1), (2, 1), (0, 3), (4, 9)] {
        let mut knowledge = knowing(&theirs(before));
        assert!(
            tell(&mut knowledge, &beta(), &theirs(after), at(60)).is_taken(),
            "{before} to {after}"
        );
        assert_eq!(services_of(&knowledge), after);
    }
}

#[test]
fn a_dkp_peer_does_not_lose_most_at_once() {
    for (before, after) in [(4, 1), (10, 4), (4, 0), (1, 0)] {
        let mut knowledge = knowing(&theirs(before));
        let held = tell(&mut knowledge, &beta(), &theirs(after), at(60));
        the(&held.into_findings(), Reason::HeldDocument);
        assert_eq!(services_of(&knowledge), before, "{before} to {after}");
        assert_eq!(knowledge.held.as_ref().unwrap().since, at(60));
        // This does not confirm the known document, which ages and expires in the end.
        assert_eq!(knowledge.private.as_ref().unwrap().confirmed, at(0));
        assert!(matches!(
            tell(&mut knowledge, &beta(), &theirs(after), at(3599)),
            Absorbed::Held(_)
        ));
        assert_eq!(knowledge.held.as_ref().unwrap().since, at(60));
        assert!(tell(&mut knowledge, &beta(), &theirs(after), at(3600)).is_taken());
        assert_eq!((services_of(&knowledge), knowledge.held), (after, None));
    }
}

#[test]
fn a_peer_of_ours_vouches_for_its_count() {
    for after in [1, 0] {
        let mut knowledge = knowing(&ours(5, 10));
        assert!(tell(&mut knowledge, &beta(), &ours(6, after), at(60)).is_taken());
        assert_eq!(services_of(&knowledge), after);
    }
}

#[test]
fn no_gateways_never_replace_some() {
    for (before, after) in
        [(theirs(2), dkp(private(0, &[], services(2)))), (ours(5, 2), private(6, &[], services(2)))]
    {
        let mut knowledge = knowing(&before);
        let held = tell(&mut knowledge, &beta(), &after, at(60));
        the(&held.into_findings(), Reason::HeldDocument);
        assert_eq!(knowledge.private.as_ref().unwrap().document.gateways.len(), 1);
        // Once the peer says the same as before, nothing is held any more.
        assert_eq!(tell(&mut knowledge, &beta(), &before, at(120)), Absorbed::Confirmed);
        assert_eq!(
            (&knowledge.held, knowledge.private.as_ref().unwrap().confirmed),
            (&None, at(120))
        );
    }
    // A first document without gateways is accepted: there is nothing to lose.
    assert_eq!(services_of(&knowing(&dkp(private(0, &[], services(2))))), 2);
}

#[test]
fn an_older_document_is_refused() {
    let mut knowledge = knowing(&ours(5, 10));
    let refused = tell(&mut knowledge, &beta(), &ours(4, 11), at(60));
    assert!(matches!(refused, Absorbed::Refused(_)));
    the(&refused.into_findings(), Reason::ReplayedDocument);
    assert_eq!(services_of(&knowledge), 10);
    assert_eq!(
        knowledge.private_exchange.as_ref().unwrap().reason,
        ExchangeReason::InvalidPrivateMetadata
    );
    // Until the staleness limit.
    assert!(tell(&mut knowledge, &beta(), &ours(4, 11), at(3600)).is_taken());
}

#[test]
fn the_same_or_a_higher_sequence_is_taken() {
    let mut knowledge = knowing(&ours(5, 10));
    assert!(tell(&mut knowledge, &beta(), &ours(5, 11), at(60)).is_taken());
    assert!(tell(&mut knowledge, &beta(), &ours(6, 12), at(60)).is_taken());
}

#[test]
fn where_there_was_a_sequence_there_must_be_one() {
    let mut knowledge = knowing(&ours(5, 10));
    the(
        &tell(&mut knowledge, &beta(), &theirs(11), at(60)).into_findings(),
        Reason::ReplayedDocument,
    );
    assert_eq!(services_of(&knowledge), 10);
    let mut knowledge = knowing(&theirs(10));
    assert!(tell(&mut knowledge, &beta(), &ours(5, 11), at(60)).is_taken());
}

#[test]
fn another_replicas_number_for_the_same_content_is_no_replay() {
    let mut knowledge = knowing(&ours(5, 10));
    assert_eq!(tell(&mut knowledge, &beta(), &ours(4, 10), at(60)), Absorbed::Confirmed);
    // The higher number stays.
    assert!(matches!(tell(&mut knowledge, &beta(), &ours(4, 11), at(60)), Absorbed::Refused(_)));
}

#[test]
fn a_broken_document_changes_nothing() {
    let mut knowledge = knowing(&ours(5, 10));
    let before = knowledge.clone();
    for (body, reason) in [
        (b"".as_slice(), ExchangeReason::InvalidJson),
        (b"<html>", ExchangeReason::InvalidJson),
        (b"{}", ExchangeReason::InvalidPrivateMetadata),
        (b"\xff", ExchangeReason::InvalidJson),
    ] {
        let refused =
            knowledge.absorb_private(&beta(), body, None, &Limits::default(), &TIMES, at(60));
        the(&refused.into_findings(), Reason::InvalidDocument);
        assert_eq!(knowledge.private_exchange.as_ref().unwrap().reason, reason);
        assert_eq!(knowledge.private, before.private);
    }
    let refused = knowledge.absorb_public(&beta(), b"{}", None, &Limits::default(), at(60));
    the(&refused.into_findings(), Reason::InvalidDocument);
    assert_eq!(
        knowledge.public_exchange.as_ref().unwrap().reason,
        ExchangeReason::InvalidPublicMetadata
    );
    assert_eq!(knowledge.public, before.public);
}

#[test]
fn a_public_document_of_another_trust_domain_is_refused() {
    let mut knowledge = PeerKnowledge::new(&beta());
    let refused = absorb(&mut knowledge, &public('2', 2, "gamma.example", vec![root()]), 0);
    assert!(
        the(&refused.into_findings(), Reason::InvalidDocument).message.contains("spec.trustDomain")
    );
    assert_eq!(knowledge.public, None);
}

#[test]
fn changes_are_taken_and_reported() {
    let (old, new) = (root(), root());
    let mut knowledge = PeerKnowledge::new(&beta());
    let mut document = public('2', 2, "beta.example", vec![old.clone()]);
    assert_eq!(absorb(&mut knowledge, &document, 0), Absorbed::Taken(vec![]));
    assert_eq!(absorb(&mut knowledge, &document, 1), Absorbed::Confirmed);

    document.roots = vec![old, new.clone()];
    document.roots.sort();
    let findings = absorb(&mut knowledge, &document, 2).into_findings();
    let message = &the(&findings, Reason::RootsChanged).message;
    assert!(message.contains(&format!("added {}; removed none", new.fingerprint())), "{message}");

    document.authn_key = crate::rig::key(3).public();
    the(&absorb(&mut knowledge, &document, 3).into_findings(), Reason::KeyChanged);
    assert_eq!(knowledge.uuid_since, Some(at(0)));
    document.cluster_uuid = crate::rig::uuid('4');
    the(&absorb(&mut knowledge, &document, 4).into_findings(), Reason::UuidChanged);
    assert_eq!(knowledge.uuid_since, Some(at(4)));
    assert_eq!(
        knowledge.notices.iter().map(|notice| notice.since).collect::<Vec<_>>(),
        [at(2), at(3), at(4)]
    );
}

#[test]
fn few_changes_are_remembered() {
    let mut knowledge = PeerKnowledge::new(&beta());
    let roots = [root(), root()];
    for n in 0..40 {
        absorb(
            &mut knowledge,
            &public('2', 2, "beta.example", vec![roots[n % 2].clone()]),
            n as i64,
        );
    }
    assert_eq!(knowledge.notices.len(), 16);
    assert_eq!(knowledge.notices.last().unwrap().since, at(39));
}

#[test]
fn a_304_confirms_what_is_known_and_its_tag_is_that_documents() {
    let mut knowledge = knowing(&theirs(4));
    let tagged = |knowledge: &mut PeerKnowledge, document: &PrivateDocument, tag: &str, now| {
        knowledge.absorb_private(
            &beta(),
            &document.to_json(),
            Some(tag.to_owned()),
            &Limits::default(),
            &TIMES,
            at(now),
        )
    };
    assert_eq!(tagged(&mut knowledge, &theirs(4), "\"a\"", 10), Absorbed::Confirmed);
    assert_eq!(knowledge.etag(DocumentKind::Private), Some("\"a\""));
    assert!(matches!(tagged(&mut knowledge, &theirs(0), "\"b\"", 20), Absorbed::Held(_)));
    assert_eq!(knowledge.etag(DocumentKind::Private), Some("\"a\""));
    knowledge.not_modified(DocumentKind::Private, at(30));
    assert_eq!((knowledge.private.as_ref().unwrap().confirmed, &knowledge.held), (at(30), &None));
    let mut nothing = PeerKnowledge::new(&beta());
    nothing.not_modified(DocumentKind::Public, at(0));
    assert_eq!(nothing.public_exchange.unwrap().reason, ExchangeReason::NonOkResponse);
}

#[test]
fn failures_are_shown_and_change_nothing() {
    let mut knowledge = knowing(&ours(5, 1));
    let before = knowledge.clone();
    knowledge.failed(DocumentKind::Private, ExchangeReason::FetchFailed, "no route\u{1b}", at(60));
    knowledge.failed(DocumentKind::Private, ExchangeReason::FetchFailed, "no route", at(120));
    let exchange = knowledge.private_exchange.clone().unwrap();
    assert_eq!(
        (exchange.since, exchange.at, exchange.message.as_str()),
        (at(60), at(120), "no route")
    );
    assert_eq!(knowledge.private, before.private);
}

#[test]
fn another_trust_domain_begins_anew() {
    let mut knowledge = knowing(&ours(5, 1));
    let moved = peer("beta", "moved.example");
    let document = public('2', 2, "moved.example", vec![root()]);
    assert!(
        knowledge
            .absorb_public(&moved, &document.to_json(), None, &Limits::default(), at(60))
            .is_taken()
    );
    assert_eq!((knowledge.trust_domain.as_str(), knowledge.private), ("moved.example", None));
}

#[test]
fn knowledge_survives_a_restart() {
    let mut knowledge = knowing(&ours(5, 3));
    tell(&mut knowledge, &beta(), &private(6, &[], services(3)), at(60));
    let json = serde_json::to_string(&knowledge).unwrap();
    assert_eq!(serde_json::from_str::<PeerKnowledge>(&json).unwrap(), knowledge);
}

#[test]
fn age_has_two_limits() {
    for (age, expected) in [
        (0, Age::Fresh),
        (299, Age::Fresh),
        (300, Age::Stale),
        (3599, Age::Stale),
        (3600, Age::Expired),
    ] {
        assert_eq!(TIMES.age(at(0), at(age)), expected, "{age}");
    }
    assert_eq!(TIMES.age(at(100), at(0)), Age::Fresh);
}

#[test]
fn what_is_kept_is_never_much_older_than_what_is_known() {
    let first = knowing(&ours(1, 2));
    assert!(first.worth_saving(None, &TIMES));
    assert!(!first.worth_saving(Some(&first), &TIMES));
    // The limit is an hour, so a quarter of it is 900 s. The peer says the same each time.
    let says_the_same_at = |seconds| {
        let mut knowledge = first.clone();
        for kind in [DocumentKind::Public, DocumentKind::Private] {
            knowledge.not_modified(kind, at(seconds));
        }
        assert!(!knowledge.is_news_after(&first));
        knowledge
    };
    assert!(!says_the_same_at(899).worth_saving(Some(&first), &TIMES));
    assert!(says_the_same_at(900).worth_saving(Some(&first), &TIMES));
    assert!(!says_the_same_at(1700).worth_saving(Some(&says_the_same_at(900)), &TIMES));
    // One document is enough.
    for kind in [DocumentKind::Public, DocumentKind::Private] {
        let mut knowledge = first.clone();
        knowledge.not_modified(kind, at(900));
        assert!(knowledge.worth_saving(Some(&first), &TIMES), "{kind:?}");
    }
    // An unreachable peer confirms nothing.
    let mut silent = first.clone();
    silent.failed(DocumentKind::Private, ExchangeReason::FetchFailed, "x", at(900));
    silent.failed(DocumentKind::Public, ExchangeReason::FetchFailed, "x", at(900));
    let mut still_silent = silent.clone();
    still_silent.failed(DocumentKind::Private, ExchangeReason::FetchFailed, "x", at(1900));
    assert!(silent.worth_saving(Some(&first), &TIMES), "that is news");
    assert!(!still_silent.worth_saving(Some(&silent), &TIMES));
    // Setting the clock back makes nothing old.
    assert!(!first.worth_saving(Some(&says_the_same_at(900)), &TIMES));
}

#[test]
fn everything_but_times_is_news() {
    let first = knowing(&ours(1, 2));
    let changes: [fn(&mut PeerKnowledge); 6] = [
        |knowledge| drop(tell(knowledge, &beta(), &ours(2, 3), at(9))),
        |knowledge| drop(absorb(knowledge, &public('2', 2, "beta.example", vec![root()]), 9)),
        |knowledge| knowledge.failed(DocumentKind::Public, ExchangeReason::FetchFailed, "x", at(9)),
        |knowledge| knowledge.failed(DocumentKind::Private, ExchangeReason::Succeeded, "x", at(9)),
        |knowledge| drop(tell(knowledge, &beta(), &private(9, &[], vec![]), at(9))),
        |knowledge| drop(tell(knowledge, &peer("beta", "other.example"), &ours(2, 2), at(9))),
    ];
    for (place, change) in changes.iter().enumerate() {
        let mut knowledge = first.clone();
        change(&mut knowledge);
        assert!(
            knowledge.is_news_after(&first) && knowledge.worth_saving(Some(&first), &TIMES),
            "change {place}"
        );
    }
    let mut same = first.clone();
    tell(&mut same, &beta(), &ours(1, 2), at(9));
    assert!(!same.is_news_after(&first));
}
