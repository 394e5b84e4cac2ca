//! When a fetched document replaces the known one, and when knowledge is saved.

use crate::rig::{
    TIMES, absorb_private, at, dkp, federation_object, known, offered, peer, private, public, root,
    the,
};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::document::{
    Limits, Outcome, PrivateDocument, PublicDocument, PublicService, View,
};
use fedgate_federation::knowledge::{
    Absorbed, Age, Delivery, DocumentKind, ExchangeReason, PeerKnowledge,
};
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

fn absorb_public(knowledge: &mut PeerKnowledge, document: &PublicDocument, now: i64) -> Absorbed {
    knowledge.absorb_public(
        &beta(),
        &document.to_json(),
        Default::default(),
        &Limits::default(),
        at(now),
    )
}

#[test]
fn a_dkp_peer_may_lose_up_to_half_of_its_services() {
    for (before, after) in [(4, 2), (10, 5), (3, 1), (2, 1), (0, 3), (4, 9)] {
        let mut knowledge = knowing(&theirs(before));
        assert!(
            absorb_private(&mut knowledge, &beta(), &theirs(after), at(60)).is_taken(),
            "{before} to {after}"
        );
        assert_eq!(services_of(&knowledge), after);
    }
}

#[test]
fn a_dkp_document_that_lost_most_services_is_held() {
    for (before, after) in [(4, 1), (10, 4), (4, 0), (1, 0)] {
        let mut knowledge = knowing(&theirs(before));
        let held = absorb_private(&mut knowledge, &beta(), &theirs(after), at(60));
        assert!(!held.is_taken(), "{before} to {after}");
        the(&held.into_findings(), Reason::HeldDocument);
        assert_eq!(services_of(&knowledge), before, "{before} to {after}");
        assert_eq!(knowledge.held.as_ref().unwrap().since, at(60));
        // This does not confirm the known document, which ages and expires in the end.
        assert_eq!(knowledge.private.as_ref().unwrap().confirmed, at(0));
        assert!(matches!(
            absorb_private(&mut knowledge, &beta(), &theirs(after), at(3599)),
            Absorbed::Held(_)
        ));
        assert_eq!(knowledge.held.as_ref().unwrap().since, at(60));
        assert!(absorb_private(&mut knowledge, &beta(), &theirs(after), at(3600)).is_taken());
        assert_eq!((services_of(&knowledge), knowledge.held), (after, None));
    }
}

#[test]
fn a_document_with_a_service_count_may_shrink_at_once() {
    for after in [1, 0] {
        let mut knowledge = knowing(&ours(5, 10));
        assert!(absorb_private(&mut knowledge, &beta(), &ours(6, after), at(60)).is_taken());
        assert_eq!(services_of(&knowledge), after);
    }
}

#[test]
fn a_document_that_lost_all_gateways_is_held() {
    for (before, after) in
        [(theirs(2), dkp(private(0, &[], services(2)))), (ours(5, 2), private(6, &[], services(2)))]
    {
        let mut knowledge = knowing(&before);
        let held = absorb_private(&mut knowledge, &beta(), &after, at(60));
        the(&held.into_findings(), Reason::HeldDocument);
        assert_eq!(knowledge.private.as_ref().unwrap().document.gateways.len(), 1);
        // Once the peer sends the same as before, nothing is held.
        assert_eq!(absorb_private(&mut knowledge, &beta(), &before, at(120)), Absorbed::Confirmed);
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
    let refused = absorb_private(&mut knowledge, &beta(), &ours(4, 11), at(60));
    assert!(matches!(refused, Absorbed::Refused(_)));
    the(&refused.into_findings(), Reason::ReplayedDocument);
    assert_eq!(services_of(&knowledge), 10);
    assert_eq!(
        knowledge.private_exchange.as_ref().unwrap().reason,
        ExchangeReason::InvalidPrivateMetadata
    );
    // Until the staleness limit.
    assert!(absorb_private(&mut knowledge, &beta(), &ours(4, 11), at(3600)).is_taken());
}

#[test]
fn the_same_or_a_higher_sequence_is_accepted() {
    let mut knowledge = knowing(&ours(5, 10));
    assert!(absorb_private(&mut knowledge, &beta(), &ours(5, 11), at(60)).is_taken());
    assert!(absorb_private(&mut knowledge, &beta(), &ours(6, 12), at(60)).is_taken());
}

#[test]
fn a_document_that_lost_its_sequence_is_refused() {
    let mut knowledge = knowing(&ours(5, 10));
    the(
        &absorb_private(&mut knowledge, &beta(), &theirs(11), at(60)).into_findings(),
        Reason::ReplayedDocument,
    );
    assert_eq!(services_of(&knowledge), 10);
    let mut knowledge = knowing(&theirs(10));
    assert!(absorb_private(&mut knowledge, &beta(), &ours(5, 11), at(60)).is_taken());
}

#[test]
fn the_same_content_with_a_lower_sequence_is_not_a_replay() {
    let mut knowledge = knowing(&ours(5, 10));
    assert_eq!(absorb_private(&mut knowledge, &beta(), &ours(4, 10), at(60)), Absorbed::Confirmed);
    // The higher number stays.
    assert!(matches!(
        absorb_private(&mut knowledge, &beta(), &ours(4, 11), at(60)),
        Absorbed::Refused(_)
    ));
}

#[test]
fn the_same_content_with_a_higher_sequence_raises_it() {
    let mut knowledge = knowing(&ours(5, 10));
    assert_eq!(absorb_private(&mut knowledge, &beta(), &ours(7, 10), at(60)), Absorbed::Confirmed);
    assert!(matches!(
        absorb_private(&mut knowledge, &beta(), &ours(6, 11), at(60)),
        Absorbed::Refused(_)
    ));
}

#[test]
fn a_dkp_peer_without_services_may_move_its_gateway() {
    let mut knowledge = knowing(&theirs(0));
    let moved = dkp(private(0, &["192.0.2.77"], services(0)));
    assert!(absorb_private(&mut knowledge, &beta(), &moved, at(60)).is_taken());
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
        let refused = knowledge.absorb_private(
            &beta(),
            body,
            Default::default(),
            &Limits::default(),
            &TIMES,
            at(60),
        );
        the(&refused.into_findings(), Reason::InvalidDocument);
        assert_eq!(knowledge.private_exchange.as_ref().unwrap().reason, reason);
        assert_eq!(knowledge.private, before.private);
    }
    let refused =
        knowledge.absorb_public(&beta(), b"{}", Default::default(), &Limits::default(), at(60));
    the(&refused.into_findings(), Reason::InvalidDocument);
    assert_eq!(
        knowledge.public_exchange.as_ref().unwrap().reason,
        ExchangeReason::InvalidPublicMetadata
    );
    assert_eq!(knowledge.public, before.public);
    // Each of the two documents has its own notice.
    let documents: Vec<_> = knowledge.notices.iter().map(|notice| notice.document).collect();
    assert_eq!(documents, [Some(DocumentKind::Private), Some(DocumentKind::Public)]);
}

#[test]
fn a_public_document_of_another_trust_domain_is_refused() {
    let mut knowledge = PeerKnowledge::new(&beta());
    let refused = absorb_public(&mut knowledge, &public('2', 2, "gamma.example", vec![root()]), 0);
    assert!(
        the(&refused.into_findings(), Reason::InvalidDocument).message.contains("spec.trustDomain")
    );
    assert_eq!(knowledge.public, None);
}

#[test]
fn changes_are_accepted_and_reported() {
    let (old, new) = (root(), root());
    let mut knowledge = PeerKnowledge::new(&beta());
    let mut document = public('2', 2, "beta.example", vec![old.clone()]);
    assert_eq!(absorb_public(&mut knowledge, &document, 0), Absorbed::Taken(vec![]));
    assert_eq!(absorb_public(&mut knowledge, &document, 1), Absorbed::Confirmed);

    document.roots = vec![old, new.clone()];
    document.roots.sort();
    let findings = absorb_public(&mut knowledge, &document, 2).into_findings();
    let message = &the(&findings, Reason::RootsChanged).message;
    assert!(message.contains(&format!("added {}; removed none", new.fingerprint())), "{message}");

    document.authn_key = crate::rig::key(3).public();
    the(&absorb_public(&mut knowledge, &document, 3).into_findings(), Reason::KeyChanged);
    assert_eq!(knowledge.uuid_since, Some(at(0)));
    document.cluster_uuid = crate::rig::uuid('4');
    the(&absorb_public(&mut knowledge, &document, 4).into_findings(), Reason::UuidChanged);
    assert_eq!(knowledge.uuid_since, Some(at(4)));
    assert_eq!(
        knowledge.notices.iter().map(|notice| notice.since).collect::<Vec<_>>(),
        [at(2), at(3), at(4)]
    );
}

#[test]
fn only_the_latest_changes_are_remembered() {
    let mut knowledge = PeerKnowledge::new(&beta());
    let roots = [root(), root()];
    for n in 0..40 {
        absorb_public(
            &mut knowledge,
            &public('2', 2, "beta.example", vec![roots[n % 2].clone()]),
            n as i64,
        );
    }
    assert_eq!(knowledge.notices.len(), 16);
    assert_eq!(knowledge.notices.last().unwrap().since, at(39));
}

#[test]
fn a_304_confirms_the_known_document_and_its_entity_tag() {
    let mut knowledge = knowing(&theirs(4));
    let tagged = |knowledge: &mut PeerKnowledge, document: &PrivateDocument, tag: &str, now| {
        knowledge.absorb_private(
            &beta(),
            &document.to_json(),
            Delivery { etag: Some(tag.to_owned()), ..Delivery::default() },
            &Limits::default(),
            &TIMES,
            at(now),
        )
    };
    assert_eq!(tagged(&mut knowledge, &theirs(4), "\"a\"", 10), Absorbed::Confirmed);
    assert_eq!(knowledge.etag(DocumentKind::Private), Some("\"a\""));
    assert!(matches!(tagged(&mut knowledge, &theirs(0), "\"b\"", 20), Absorbed::Held(_)));
    assert_eq!(knowledge.etag(DocumentKind::Private), Some("\"a\""));
    knowledge.record_not_modified(DocumentKind::Private, at(30));
    assert_eq!((knowledge.private.as_ref().unwrap().confirmed, &knowledge.held), (at(30), &None));
    let mut nothing = PeerKnowledge::new(&beta());
    nothing.record_not_modified(DocumentKind::Public, at(0));
    assert_eq!(nothing.public_exchange.unwrap().reason, ExchangeReason::NonOkResponse);
}

#[test]
fn failures_are_recorded_and_change_nothing_else() {
    let mut knowledge = knowing(&ours(5, 1));
    let before = knowledge.clone();
    knowledge.record_failure(
        DocumentKind::Private,
        ExchangeReason::FetchFailed,
        "no route\u{1b}",
        at(60),
    );
    knowledge.record_failure(
        DocumentKind::Private,
        ExchangeReason::FetchFailed,
        "no route",
        at(120),
    );
    let exchange = knowledge.private_exchange.clone().unwrap();
    assert_eq!(
        (exchange.since, exchange.at, exchange.message.as_str()),
        (at(60), at(120), "no route")
    );
    assert_eq!(knowledge.private, before.private);
}

#[test]
fn another_trust_domain_discards_the_knowledge() {
    let mut knowledge = knowing(&ours(5, 1));
    let moved = peer("beta", "moved.example");
    let document = public('2', 2, "moved.example", vec![root()]);
    assert!(
        knowledge
            .absorb_public(
                &moved,
                &document.to_json(),
                Default::default(),
                &Limits::default(),
                at(60)
            )
            .is_taken()
    );
    assert_eq!((knowledge.trust_domain.as_str(), knowledge.private), ("moved.example", None));
}

#[test]
fn knowledge_survives_a_restart() {
    let mut knowledge = knowing(&ours(5, 3));
    absorb_private(&mut knowledge, &beta(), &private(6, &[], services(3)), at(60));
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
fn saved_times_lag_by_at_most_a_quarter_of_the_limit() {
    let first = knowing(&ours(1, 2));
    assert!(first.needs_saving(None, &TIMES));
    assert!(!first.needs_saving(Some(&first), &TIMES));
    // The limit is an hour, so a quarter of it is 900 s. The peer says the same each time.
    let confirmed_at = |seconds| {
        let mut knowledge = first.clone();
        for kind in [DocumentKind::Public, DocumentKind::Private] {
            knowledge.record_not_modified(kind, at(seconds));
        }
        assert!(!knowledge.differs_from(&first));
        knowledge
    };
    assert!(!confirmed_at(899).needs_saving(Some(&first), &TIMES));
    assert!(confirmed_at(900).needs_saving(Some(&first), &TIMES));
    assert!(!confirmed_at(1700).needs_saving(Some(&confirmed_at(900)), &TIMES));
    // One document is enough.
    for kind in [DocumentKind::Public, DocumentKind::Private] {
        let mut knowledge = first.clone();
        knowledge.record_not_modified(kind, at(900));
        assert!(knowledge.needs_saving(Some(&first), &TIMES), "{kind:?}");
    }
    // An unreachable peer confirms nothing.
    let mut silent = first.clone();
    silent.record_failure(DocumentKind::Private, ExchangeReason::FetchFailed, "x", at(900));
    silent.record_failure(DocumentKind::Public, ExchangeReason::FetchFailed, "x", at(900));
    let mut still_silent = silent.clone();
    still_silent.record_failure(DocumentKind::Private, ExchangeReason::FetchFailed, "x", at(1900));
    assert!(silent.needs_saving(Some(&first), &TIMES), "that is news");
    assert!(!still_silent.needs_saving(Some(&silent), &TIMES));
    // Setting the clock back makes nothing old.
    assert!(!first.needs_saving(Some(&confirmed_at(900)), &TIMES));
}

/// How the peer sees us changes at each restart of ours, and is told again.
#[test]
fn the_peers_view_alone_is_not_saved() {
    let first = knowing(&ours(1, 2));
    let mut seen = first.clone();
    let extension = seen.private.as_mut().unwrap().document.extension.as_mut().unwrap();
    extension.view = Some(View { clock_ahead: Some(3), ..View::default() });
    assert!(seen.differs_from(&first), "it is news");
    assert!(!seen.needs_saving(Some(&first), &TIMES));
    // A fault that the peer sees for two minutes is saved, and so is its end.
    let failing = |since| {
        let mut seen = seen.clone();
        let known = seen.private.as_mut().unwrap();
        let fetch = Outcome { reason: ExchangeReason::FetchFailed, since: at(since) };
        let view = View { fetch: Some(fetch), ..View::default() };
        known.document.extension.as_mut().unwrap().view = Some(view);
        known.confirmed = at(500);
        seen
    };
    assert!(!failing(381).needs_saving(Some(&first), &TIMES));
    let lasting = failing(380);
    assert!(lasting.needs_saving(Some(&first), &TIMES));
    assert!(!lasting.needs_saving(Some(&lasting), &TIMES));
    let mut over = seen.clone();
    over.record_not_modified(DocumentKind::Private, at(600));
    assert!(over.needs_saving(Some(&lasting), &TIMES));
    // So is the end of one that was saved early, along with something else.
    assert!(over.needs_saving(Some(&failing(599)), &TIMES));
    // With anything else, it is saved too.
    seen.private.as_mut().unwrap().document.extension.as_mut().unwrap().service_count += 1;
    assert!(seen.needs_saving(Some(&first), &TIMES));
}

#[test]
fn every_difference_but_times_counts() {
    let first = knowing(&ours(1, 2));
    let changes: [fn(&mut PeerKnowledge); 6] = [
        |knowledge| drop(absorb_private(knowledge, &beta(), &ours(2, 3), at(9))),
        |knowledge| {
            drop(absorb_public(knowledge, &public('2', 2, "beta.example", vec![root()]), 9))
        },
        |knowledge| {
            knowledge.record_failure(DocumentKind::Public, ExchangeReason::FetchFailed, "x", at(9))
        },
        |knowledge| {
            knowledge.record_failure(DocumentKind::Private, ExchangeReason::Succeeded, "x", at(9))
        },
        |knowledge| drop(absorb_private(knowledge, &beta(), &private(9, &[], vec![]), at(9))),
        |knowledge| {
            drop(absorb_private(knowledge, &peer("beta", "other.example"), &ours(2, 2), at(9)))
        },
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut knowledge = first.clone();
        change(&mut knowledge);
        assert!(
            knowledge.differs_from(&first) && knowledge.needs_saving(Some(&first), &TIMES),
            "change {index}"
        );
    }
    let mut same = first.clone();
    absorb_private(&mut same, &beta(), &ours(1, 2), at(9));
    assert!(!same.differs_from(&first));
}

#[test]
fn a_changed_object_is_saved_although_it_is_no_difference() {
    let first = knowing(&ours(1, 2));
    let mut changed = first.clone();
    changed.object = Some(federation_object("beta", "beta.example").spec);
    assert!(!changed.differs_from(&first));
    assert!(changed.needs_saving(Some(&first), &TIMES));
}

/// Otherwise a restart would end the report on a document that is still refused.
#[test]
fn the_time_of_the_last_refusal_is_saved_after_a_quarter_of_the_limit() {
    let refused_at = |knowledge: &PeerKnowledge, seconds| {
        let mut knowledge = knowledge.clone();
        let limits = Limits::default();
        knowledge.absorb_private(
            &beta(),
            b"<html>",
            Default::default(),
            &limits,
            &TIMES,
            at(seconds),
        );
        knowledge
    };
    let first = refused_at(&knowing(&ours(1, 2)), 0);
    for (seconds, expected) in [(899, false), (900, true)] {
        let later = refused_at(&first, seconds);
        assert!(!later.differs_from(&first), "{seconds}");
        assert_eq!(later.needs_saving(Some(&first), &TIMES), expected, "{seconds}");
    }
}

#[test]
fn what_was_stale_or_expired_is_fresh_again() {
    let first = knowing(&ours(1, 2));
    for (then, is_fresher) in [(299, false), (300, true), (3600, true)] {
        for kind in [DocumentKind::Public, DocumentKind::Private] {
            let mut confirmed = first.clone();
            confirmed.record_not_modified(kind, at(then + 1));
            assert!(!confirmed.differs_from(&first));
            assert_eq!(confirmed.is_fresher_than(&first, &TIMES, at(then)), is_fresher, "{then}");
            assert!(!first.is_fresher_than(&confirmed, &TIMES, at(then)), "{then}");
        }
    }
}
