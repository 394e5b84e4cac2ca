//! The difference between a peer's clock and ours.

use crate::rig::{Rig, at, condition_of, found, name, peer};
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
    assert!(knowledge.differs_from(&first), "from now on it is a witness");
    let first = knowledge.clone();
    assert_eq!(read(&mut knowledge, 15, -5), 0);
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

/// Sets how far the peers' clocks are ahead of ours. Peers that are not named have not been read.
fn skewed(rig: &mut Rig, skews: &[(&str, i64)]) {
    for (peer, skew) in skews {
        rig.known(peer).record_clock(ClockReading { ours: at(5), theirs: at(5 + skew) });
    }
}

/// The objects with a finding, and what the peers' conditions say.
fn told(rig: &Rig) -> (Vec<String>, Vec<String>) {
    let federation = rig.federate();
    let found = found(&federation.findings, Reason::ClockSkew);
    let objects = found.iter().map(|finding| finding.object.name.clone()).collect();
    let conditions = ["beta", "gamma", "delta"].into_iter().filter_map(|peer| {
        federation.peer(&name(peer))?;
        let differ = condition_of(&federation, peer, ConditionType::ClocksDiffer);
        (differ.status == ConditionStatus::True).then(|| format!("{peer}: {}", differ.message))
    });
    (objects, conditions.collect())
}

#[test]
fn our_own_clock_that_is_off_is_told_once() {
    let mut rig = Rig::new();
    rig.add_peer("delta", "delta.example", '4');
    skewed(&mut rig, &[("beta", -45), ("gamma", -46), ("delta", -44)]);
    let (objects, conditions) = told(&rig);
    assert_eq!(objects, ["alpha.example"], "not once more for each peer");
    assert_eq!(conditions.len(), 3);
    for message in &conditions {
        assert!(message.contains("so set this cluster's clock"), "{message}");
    }
    // Nothing changes what is told while nothing changes.
    let first = rig.federate().findings;
    skewed(&mut rig, &[("beta", -47), ("gamma", -43), ("delta", -45)]);
    rig.now = at(70);
    assert_eq!(rig.federate().findings, first);
    // Set right, all of it ends.
    skewed(&mut rig, &[("beta", 0), ("gamma", 1), ("delta", 0)]);
    assert_eq!(told(&rig), (Vec::new(), Vec::new()));
}

#[test]
fn a_peers_clock_that_is_off_is_told_on_that_peer() {
    let mut rig = Rig::new();
    skewed(&mut rig, &[("beta", 45), ("gamma", 2)]);
    let (objects, conditions) = told(&rig);
    assert_eq!((objects, conditions.len()), (vec!["beta".to_owned()], 1));
    assert!(conditions[0].contains("its operator has to set it"), "{conditions:?}");
}

/// A clock that was never read, or not lately, is no witness.
#[test]
fn without_a_third_clock_no_one_is_blamed() {
    let blamed = |rig: &Rig| !told(rig).1[0].contains("set the one that is wrong");
    let mut rig = Rig::new();
    skewed(&mut rig, &[("beta", 45)]);
    assert!(!blamed(&rig), "gamma's clock is not known");
    for (gamma, blames) in [(0, true), (45, true), (-45, false)] {
        skewed(&mut rig, &[("gamma", gamma)]);
        assert_eq!(blamed(&rig), blames, "{gamma}");
    }
    skewed(&mut rig, &[("gamma", 0)]);
    rig.now = at(299);
    assert!(blamed(&rig));
    rig.now = at(300);
    assert!(!blamed(&rig), "gamma has not answered for five minutes");
}
