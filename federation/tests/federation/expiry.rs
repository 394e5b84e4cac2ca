//! How long a peer's documents are used, and what happens at the staleness limit.

use crate::rig::{Rig, TIMES, absorb_private, at, condition_of, found, hours, name, offered, peer};
use crate::rig::{private, the};
use fedgate_federation::federate::{ConditionStatus, ConditionType};
use fedgate_federation::knowledge::{Absorbed, Age, AtExpiry, Times};
use fedgate_federation::{Federation, FindingReason as Reason};
use proptest::prelude::*;
use std::time::Duration;

const ANNOTATION: &str = "fedgate.dev/at-expiry";

/// What depends on a peer.
#[derive(Debug, PartialEq, Eq)]
struct InForce {
    imports: bool,
    /// New connections of the peer are verified with these.
    roots: bool,
    /// The gateway closes open connections of peers that are not in the table.
    in_table: bool,
    member: bool,
}

const ALL: InForce = InForce { imports: true, roots: true, in_table: true, member: true };

fn in_force(federation: &Federation, peer: &str) -> InForce {
    let trust_domain = format!("{peer}.example");
    let table = federation.table.as_ref().unwrap();
    InForce {
        imports: !federation.imports.of(&trust_domain).is_empty(),
        roots: federation.bundles.keys().any(|of| of.as_str() == trust_domain),
        in_table: table.peer_of(&trust_domain).is_some(),
        member: federation.members.values().any(|member| member.peer.as_str() == peer),
    }
}

/// Beta was silent for the staleness limit; gamma was not.
fn expired(at_expiry: AtExpiry) -> Rig {
    let mut rig = Rig::new();
    rig.times.at_expiry = at_expiry;
    rig.now = at(3600);
    confirm(&mut rig, "gamma", 3590);
    rig
}

fn confirm(rig: &mut Rig, peer: &str, second: i64) {
    let known = rig.known(peer);
    known.public.as_mut().unwrap().confirmed = at(second);
    known.private.as_mut().unwrap().confirmed = at(second);
}

#[test]
fn what_happens_at_expiry_is_chosen() {
    let drained = InForce { imports: false, roots: false, in_table: true, member: false };
    let dropped = InForce { imports: false, roots: false, in_table: false, member: false };
    for (at_expiry, expected) in
        [(AtExpiry::Keep, ALL), (AtExpiry::Drain, drained), (AtExpiry::Drop, dropped)]
    {
        let mut rig = expired(at_expiry);
        let federation = rig.federate();
        assert_eq!(in_force(&federation, "beta"), expected, "{at_expiry:?}");
        assert_eq!(in_force(&federation, "gamma"), ALL, "{at_expiry:?}");
        let stale = condition_of(&federation, "beta", ConditionType::Stale);
        assert_eq!((stale.status, stale.reason.as_str()), (ConditionStatus::True, "Expired"));
        assert!(stale.message.contains(at_expiry.word()), "{}", stale.message);
        let granted = federation.peer(&name("beta")).unwrap().granted_exports;
        assert_eq!(granted > 0, at_expiry != AtExpiry::Drop);
        let is_dropped = |peer| federation.peer(&name(peer)).unwrap().is_dropped;
        assert_eq!(is_dropped("beta"), at_expiry == AtExpiry::Drop);
        assert!(!is_dropped("gamma"));
        // Before the limit, all of them are alike.
        rig.now = at(3599);
        let federation = rig.federate();
        assert_eq!(in_force(&federation, "beta"), ALL, "{at_expiry:?}");
        assert_eq!(federation.next_change, Some(at(3600)));
        // A confirmation ends it.
        rig.now = at(9000);
        confirm(&mut rig, "beta", 8990);
        assert_eq!(in_force(&rig.federate(), "beta"), ALL, "{at_expiry:?}");
    }
}

/// On Kubernetes each change of a condition is a write.
#[test]
fn conditions_change_only_when_something_becomes_stale_or_expires() {
    for at_expiry in AtExpiry::ALL {
        let mut rig = Rig::new();
        rig.times.at_expiry = at_expiry;
        let mut changes = Vec::new();
        let mut before = None;
        for second in (10..7200).step_by(10) {
            rig.now = at(second);
            let conditions = rig.federate().peer(&name("beta")).unwrap().conditions.clone();
            if before.as_ref() != Some(&conditions) {
                changes.push(second);
            }
            before = Some(conditions);
        }
        assert_eq!(changes, [10, 300, 3600], "{at_expiry:?}");
    }
}

/// Who the peer is was confirmed, what it offers was not.
#[test]
fn the_private_document_alone_ends_only_imports() {
    let only_imports = InForce { imports: false, ..ALL };
    for (at_expiry, expected) in [
        (AtExpiry::Keep, ALL),
        (AtExpiry::Drain, only_imports),
        (AtExpiry::Drop, InForce { imports: false, ..ALL }),
    ] {
        let mut rig = expired(at_expiry);
        rig.known("beta").public.as_mut().unwrap().confirmed = at(3590);
        assert_eq!(in_force(&rig.federate(), "beta"), expected, "{at_expiry:?}");
    }
}

#[test]
fn an_annotation_decides_for_one_peer() {
    let mut rig = expired(AtExpiry::Drain);
    confirm(&mut rig, "gamma", 0);
    rig.object("beta").annotations.insert(ANNOTATION.into(), "Keep".into());
    rig.object("gamma").annotations.insert(ANNOTATION.into(), "Drop".into());
    let federation = rig.federate();
    assert_eq!(in_force(&federation, "beta"), ALL);
    assert!(!in_force(&federation, "gamma").in_table);
    assert_eq!(found(&federation.findings, Reason::InvalidAnnotation), Vec::<&_>::new());
    // A word that is none changes nothing.
    rig.object("beta").annotations.insert(ANNOTATION.into(), "keep".into());
    let federation = rig.federate();
    assert!(!in_force(&federation, "beta").imports);
    let message = &the(&federation.findings, Reason::InvalidAnnotation).message;
    assert!(message.contains("expected Keep, Drain or Drop, found \"keep\""), "{message}");
}

/// Otherwise an empty document would wipe, after the limit, what is to be kept.
#[test]
fn what_is_kept_is_not_replaced_by_a_suspicious_document() {
    let empty = private(2, &[], Vec::new());
    for (word, held) in [("Keep", true), ("Drain", false), ("Drop", false)] {
        let mut rig = expired(AtExpiry::Drain);
        rig.object("beta").annotations.insert(ANNOTATION.into(), word.into());
        let absorbed = rig.absorb("beta", &empty, at(3700));
        assert_eq!(matches!(absorbed, Absorbed::Held(_)), held, "{word}: {absorbed:?}");
        assert_eq!(absorbed.is_taken(), !held, "{word}");
        rig.now = at(3700);
        let federation = rig.federate();
        assert_eq!(in_force(&federation, "beta").imports, held, "{word}");
        let messages = found(&federation.findings, Reason::HeldDocument);
        assert_eq!(messages.len(), usize::from(held), "{word}");
        assert!(messages.iter().all(|f| f.message.contains("until a document is accepted")));
    }
}

/// The addresses of a gateway's name are our own knowledge, and are kept with the rest.
#[test]
fn names_of_gateways_are_kept_too() {
    for (at_expiry, kept) in [(AtExpiry::Keep, true), (AtExpiry::Drain, false)] {
        let mut rig = expired(at_expiry);
        let web = offered("web.shop.svc.beta.example", &[("http", 80)]);
        rig.absorb("beta", &private(2, &["gw.beta.test"], vec![web]), at(1));
        rig.looked_up("beta", &[("gw.beta.test", &["192.0.2.7"])], at(2));
        rig.not_found("beta", "gw.beta.test", "SERVFAIL", at(3));
        rig.now = at(3700);
        assert_eq!(in_force(&rig.federate(), "beta").imports, kept, "{at_expiry:?}");
    }
}

#[test]
fn a_peer_may_want_its_documents_to_be_stale_sooner() {
    let mut rig = Rig::new();
    let stale = |rig: &Rig| {
        let federation = rig.federate();
        let beta = federation.peer(&name("beta")).unwrap().times.stale_after;
        let condition = condition_of(&federation, "beta", ConditionType::Stale);
        (condition.status == ConditionStatus::True, beta.as_secs(), federation.next_change)
    };
    let hint = |rig: &mut Rig, seconds: Option<u64>| {
        let web = offered("web.shop.svc.beta.example", &[("http", 80)]);
        let mut document = private(2, &["192.0.2.9"], vec![web]);
        document.extension.as_mut().unwrap().stale_after_seconds = seconds;
        let beta = peer("beta", "beta.example");
        absorb_private(rig.known("beta"), &beta, &document, at(0));
    };
    rig.now = at(200);
    for (seconds, expected) in [
        (Some(200), (true, 200, at(300))),
        (Some(201), (false, 201, at(201))),
        (None, (false, 300, at(300))),
        // Longer than ours: ours stays.
        (Some(100_000), (false, 300, at(300))),
        (Some(u64::MAX), (false, 300, at(300))),
        // Too short to be met: at least half of ours.
        (Some(0), (true, 150, at(300))),
    ] {
        hint(&mut rig, seconds);
        let (is_stale, after, next) = expected;
        assert_eq!(stale(&rig), (is_stale, after, Some(next)), "{seconds:?}");
        assert_eq!(rig.federate().imports.of("beta.example").len(), 1, "stale is still used");
    }
    // What was stale by the peer's hint only is compiled again when it is confirmed.
    hint(&mut rig, Some(100));
    let before = rig.known("beta").clone();
    confirm(&mut rig, "beta", 190);
    assert!(rig.known("beta").is_fresher_than(&before, &TIMES, at(200)));
    hint(&mut rig, None);
    let (mut before, after) = (rig.known("beta").clone(), rig.known("beta").clone());
    before.private.as_mut().unwrap().confirmed = at(0);
    assert!(!after.is_fresher_than(&before, &TIMES, at(200)));
}

#[test]
fn our_hint_is_published_if_there_is_one() {
    let mut rig = Rig::new();
    for hint in [None, Some(120)] {
        rig.times.hint = hint.map(Duration::from_secs);
        let document = &rig.federate().private_documents[&name("beta")];
        assert_eq!(document.extension.as_ref().unwrap().stale_after_seconds, hint);
        let json = String::from_utf8(document.to_json()).unwrap();
        assert_eq!(json.contains(r#""staleAfterSeconds":120"#), hint.is_some());
        assert_eq!(json.contains("staleAfterSeconds"), hint.is_some());
    }
}

proptest! {
    /// Whatever a peer says: nothing is fresh for longer than configured, nothing is stale before
    /// half of it, and nothing expires at another time.
    #[test]
    fn a_hint_is_bounded(
        hint in proptest::option::of(any::<u64>()),
        stale in 4_u64..100_000,
        more in 0_u64..1_000_000,
        age in 0_i64..2_000_000,
    ) {
        let times = Times {
            stale_after: Duration::from_secs(stale),
            staleness_limit: Duration::from_secs(stale + more),
            ..TIMES
        };
        let beta = peer("beta", "beta.example");
        let hinted = times.of_peer(&beta, hint.map(Duration::from_secs));
        let (ours, theirs) = (times.age(at(0), at(age)), hinted.age(at(0), at(age)));
        prop_assert!(theirs >= ours);
        prop_assert_eq!(theirs == Age::Expired, ours == Age::Expired);
        let least = i64::try_from((stale / 2).max(75).min(stale)).unwrap();
        prop_assert!(age >= least || theirs == Age::Fresh);
        prop_assert_eq!(hinted.is_used(at(0), at(age)), ours < Age::Expired);
    }
}

/// A clock that is set forward must not bring back what has expired, nor keep anything for ever.
#[test]
fn nothing_but_keep_is_used_after_the_limit() {
    for at_expiry in AtExpiry::ALL {
        let times = Times { at_expiry, ..TIMES };
        let later = at(0).checked_add(hours(24 * 365)).unwrap();
        assert_eq!(times.is_used(at(0), later), at_expiry == AtExpiry::Keep);
        assert_eq!(times.age(at(0), later), Age::Expired);
        assert_eq!(AtExpiry::parse(at_expiry.word()), Some(at_expiry));
        assert_eq!(AtExpiry::parse(&at_expiry.word().to_lowercase()), None);
    }
}
