//! The difference between a peer's clock and ours.

use crate::rig::{Rig, at, name, peer};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::federate::{ConditionStatus, ConditionType};
use fedgate_federation::knowledge::{ClockReading, PeerKnowledge};

#[test]
fn a_slow_answer_shows_no_clock_difference() {
    let skew = |theirs, sent, received| {
        ClockReading::of_answer(at(theirs), at(sent), at(received)).skew().as_secs()
    };
    assert_eq!(
        [skew(100, 100, 115), skew(115, 100, 115), skew(107, 100, 115), skew(99, 100, 115)],
        [0; 4]
    );
    assert_eq!([skew(120, 100, 115), skew(90, 100, 115)], [5, -9]);
    // Our own clock was set back in the meantime.
    assert!(skew(100, 100, 50) <= 1);
}

#[test]
fn a_difference_is_recorded_and_small_changes_are_ignored() {
    let mut knowledge = PeerKnowledge::new(&peer("beta", "beta.example"));
    let first = knowledge.clone();
    let read = |knowledge: &mut PeerKnowledge, ours: i64, skew: i64| {
        knowledge.record_clock(ClockReading { ours: at(ours), theirs: at(ours + skew) });
        knowledge.clock.map_or(0, |reading| reading.skew().as_secs())
    };
    assert_eq!(read(&mut knowledge, 10, 5), 0);
    assert!(!knowledge.differs_from(&first));
    assert_eq!(read(&mut knowledge, 20, -45), -45);
    assert!(knowledge.differs_from(&first));
    let second = knowledge.clone();
    assert_eq!(read(&mut knowledge, 50, -40), -45, "it is what it was, give or take");
    assert!(!knowledge.differs_from(&second));
    assert_eq!(read(&mut knowledge, 80, -39), -39);
    assert_eq!(read(&mut knowledge, 90, 0), 0, "they agree again");
    assert_eq!(knowledge.clock, None);
    assert_eq!(read(&mut knowledge, 99, i64::from(i32::MAX)), i64::from(i32::MAX));
}

#[test]
fn a_difference_too_large_for_tokens_is_a_finding_and_a_condition() {
    let mut rig = Rig::new();
    let mut found = |skew: i64| {
        rig.known("beta").clock = Some(ClockReading { ours: at(5), theirs: at(5 + skew) });
        let federation = rig.federate();
        let conditions = federation.peer(&name("beta")).unwrap().conditions.clone();
        let differ = conditions
            .into_iter()
            .find(|condition| condition.kind == ConditionType::ClocksDiffer)
            .unwrap();
        let finding =
            federation.findings.into_iter().find(|finding| finding.reason == Reason::ClockSkew);
        (finding, differ.status)
    };
    for fine in [30, -30] {
        assert_eq!(found(fine), (None, ConditionStatus::False));
    }
    for (skew, side) in [(31, "31 s ahead of ours"), (-31, "31 s behind ours")] {
        let (finding, status) = found(skew);
        let message = finding.unwrap().message;
        assert!(message.contains(side) && message.contains("2026-01-01T00:00:05Z"), "{message}");
        assert!(message.contains(&at(5 + skew).to_string()), "{message}");
        assert_eq!(status, ConditionStatus::True);
    }
}
