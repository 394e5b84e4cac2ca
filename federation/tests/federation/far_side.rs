//! What two clusters see of each other, and that it comes to rest.

use crate::rig::{
    Rig, absorb_private, at, condition_of, dkp, domain, federation_object, found, gateway, key,
    name, peer, private, root, service, uuid,
};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{Limits, PrivateDocument, View};
use fedgate_federation::federate::{ConditionStatus, ConditionType, FarSide, MismatchKind, Turn};
use fedgate_federation::knowledge::{
    ClockReading, DataplaneReason, DocumentKind, ExchangeReason, PeerKnowledge, ProbeDepth,
    ProbeResult,
};
use fedgate_federation::{Finding, FindingReason};
use jiff::Timestamp;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static ROOTS: LazyLock<Vec<Root>> = LazyLock::new(|| (0..4).map(|_| root()).collect());

/// `alpha` and `beta`, which are peers of each other.
pub(crate) struct Pair {
    pub(crate) alpha: Rig,
    beta: Rig,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let side = |us: &str, digit: char, address: &str, them: &str, first: usize| {
            let mut rig = Rig::new();
            rig.local.trust_domain = domain(&format!("{us}.example"));
            rig.local.cluster_uuid = uuid(digit);
            rig.local.authn_key = key(digit as u8).public();
            rig.local.gateways = vec![gateway(address)];
            rig.local.roots = vec![ROOTS[first].clone()];
            rig.objects.federations = vec![federation_object(them, &format!("{them}.example"))];
            let them = peer(them, &format!("{them}.example"));
            let mut knowledge = PeerKnowledge::new(&them);
            knowledge.record_clock(ClockReading { ours: at(5), theirs: at(5) });
            rig.knowledge = [(them.name, knowledge)].into();
            rig
        };
        let mut pair = Self {
            alpha: side("alpha", '1', "192.0.2.1", "beta", 0),
            beta: side("beta", '2', "192.0.2.9", "alpha", 1),
        };
        pair.settle();
        pair
    }

    fn both(&mut self) -> [&mut Rig; 2] {
        [&mut self.alpha, &mut self.beta]
    }

    fn wait(&mut self, seconds: i64) {
        for rig in self.both() {
            rig.now = rig.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        }
    }

    /// Each side fetches what the other publishes. Returns how many of them learned something.
    fn round(&mut self) -> usize {
        let Self { alpha, beta } = self;
        usize::from(fetch(beta, "beta", alpha, "alpha"))
            + usize::from(fetch(alpha, "alpha", beta, "beta"))
    }

    /// Repeats rounds until nobody learns anything. Returns how many that takes.
    pub(crate) fn settle(&mut self) -> usize {
        (0..9).find(|_| self.round() == 0).expect("it comes to rest")
    }

    fn probe(&mut self, ok: bool) {
        let outcome = if ok { Ok(()) } else { Err("connection refused".to_owned()) };
        let outcomes = vec![(gateway("192.0.2.1"), outcome)];
        let now = self.beta.now;
        let result = ProbeResult::Gateways { outcomes, depth: ProbeDepth::Call };
        self.beta.known("alpha").record_probe(&result, now);
    }

    pub(crate) fn far_side(&self) -> FarSide {
        let federation = self.alpha.federate();
        federation.peer(&name("beta")).unwrap().far_side.clone().unwrap()
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let findings = self.alpha.federate().findings;
        found(&findings, FindingReason::FarSideDiffers).into_iter().cloned().collect()
    }

    /// The only mismatch: what, whose turn, and the message.
    fn mismatch(&self) -> (MismatchKind, Turn, String) {
        match self.far_side().mismatches.as_slice() {
            [one] => (one.kind, one.turn, one.message.clone()),
            other => panic!("expected one mismatch, found {other:#?}"),
        }
    }
}

fn publish(rig: &mut Rig, to: &str) -> (Vec<u8>, Arc<PrivateDocument>) {
    let federation = rig.federate();
    rig.previous = federation.published.clone();
    (federation.public_document.to_json(), federation.private_documents[&name(to)].clone())
}

/// `reader` fetches both documents of `writer`. Returns true if it learns anything.
fn fetch(reader: &mut Rig, reader_name: &str, writer: &mut Rig, writer_name: &str) -> bool {
    let (public, private) = publish(writer, reader_name);
    let them = peer(writer_name, &format!("{writer_name}.example"));
    let now = reader.now;
    let knowledge = reader.known(writer_name);
    let before = knowledge.clone();
    knowledge.absorb_public(&them, &public, Default::default(), &Limits::default(), now);
    absorb_private(knowledge, &them, &private, now);
    knowledge.differs_from(&before)
}

#[test]
fn each_side_sees_what_the_other_sees_of_it() {
    let mut pair = Pair::new();
    pair.probe(true);
    pair.settle();
    let ours = publish(&mut pair.alpha, "beta").1;
    let side = pair.far_side();
    assert_eq!(side.view.sequence, Some(ours.extension.as_ref().unwrap().sequence));
    assert_eq!(side.view.gateways, [gateway("192.0.2.1")]);
    assert_eq!(side.view.fetch.unwrap().reason, ExchangeReason::Succeeded);
    assert_eq!(side.view.probe.unwrap().reason, DataplaneReason::Succeeded);
    assert_eq!((side.view.clock_ahead, side.current), (Some(0), true));
    assert_eq!(side.mismatches, []);
    pair.wait(600);
    assert_eq!(pair.findings(), []);
}

#[test]
fn a_mismatch_is_shown_at_once_and_a_finding_only_if_it_lasts() {
    let mut pair = Pair::new();
    pair.alpha.local.gateways = vec![gateway("192.0.2.77")];
    pair.wait(1);
    publish(&mut pair.alpha, "beta");
    // Beta does not fetch it.
    let (kind, turn, message) = pair.mismatch();
    assert_eq!((kind, turn), (MismatchKind::Document, Turn::Theirs));
    assert!(message.contains("beta has an older document of ours; it has our gateways as 192.0.2.1:15443, we announce 192.0.2.77:15443"), "{message}");
    assert_eq!(pair.findings(), []);
    let next = pair.alpha.federate().next_change.unwrap();
    pair.alpha.now = next.checked_sub(jiff::SignedDuration::from_millis(1)).unwrap();
    assert_eq!(pair.findings(), []);
    pair.alpha.now = next;
    let [finding] = pair.findings().try_into().unwrap();
    assert!(finding.message.starts_with("beta's turn: "), "{finding}");
    let condition = condition_of(&pair.alpha.federate(), "beta", ConditionType::FarSideDiffers);
    assert_eq!((condition.status, &*condition.reason), (ConditionStatus::True, "FarSideDiffers"));
    // Then it does.
    pair.settle();
    assert_eq!((pair.far_side().mismatches, pair.findings()), (vec![], vec![]));
    let condition = condition_of(&pair.alpha.federate(), "beta", ConditionType::FarSideDiffers);
    assert_eq!((condition.status, &*condition.reason), (ConditionStatus::False, "Agrees"));
}

#[test]
fn a_peer_that_cannot_fetch_says_why_in_one_word() {
    let cases = [
        (ExchangeReason::FetchFailed, Turn::Either, "firewalls"),
        (ExchangeReason::NonOkResponse, Turn::Ours, "refuses beta's requests"),
        (ExchangeReason::InvalidJson, Turn::Ours, "in its place"),
        (ExchangeReason::InvalidPrivateMetadata, Turn::Theirs, "beta refuses our document"),
        (ExchangeReason::TokenGenerationFailed, Turn::Theirs, "no token"),
    ];
    for (reason, turn, text) in cases {
        let mut pair = Pair::new();
        let now = pair.beta.now;
        let secret = "connect to 10.1.2.3 failed";
        pair.beta.known("alpha").record_failure(DocumentKind::Private, reason, secret, now);
        let (_, document) = publish(&mut pair.beta, "alpha");
        assert!(!String::from_utf8(document.to_json()).unwrap().contains("10.1.2.3"));
        fetch(&mut pair.alpha, "alpha", &mut pair.beta, "beta");
        let (kind, whose, message) = pair.mismatch();
        assert_eq!((kind, whose), (MismatchKind::Fetch, turn));
        assert!(message.contains(text) && message.contains(reason.word()), "{message}");
    }
}

#[test]
fn a_failing_probe_is_the_turn_of_whoever_can_mend_it() {
    let mut pair = Pair::new();
    pair.probe(false);
    pair.settle();
    let (kind, turn, message) = pair.mismatch();
    assert_eq!((kind, turn), (MismatchKind::Probe, Turn::Ours));
    assert!(message.contains("fails (ProbeFailed) at 192.0.2.1:15443"), "{message}");
    pair.wait(120);
    assert!(pair.findings()[0].message.starts_with("our turn: "));
    // If it has none of our roots in force, it is beta's.
    extension(&mut pair).applied_roots = Some(vec![]);
    let turns: Vec<_> = pair.far_side().mismatches.iter().map(|one| (one.kind, one.turn)).collect();
    assert_eq!(turns, [(MismatchKind::Roots, Turn::Theirs), (MismatchKind::Probe, Turn::Theirs)]);
    pair.probe(true);
    pair.settle();
    assert_eq!((pair.far_side().mismatches, pair.findings()), (vec![], vec![]));
}

/// Beta's extension, as alpha knows it.
fn extension(pair: &mut Pair) -> &mut fedgate_federation::document::PrivateExtension {
    pair.alpha.known("beta").private.as_mut().unwrap().document.extension.as_mut().unwrap()
}

#[test]
fn a_root_or_gateway_that_the_peer_leaves_out_is_its_turn() {
    let mut pair = Pair::new();
    extension(&mut pair).applied_roots = Some(vec![ROOTS[3].fingerprint()]);
    let (kind, turn, message) = pair.mismatch();
    assert_eq!((kind, turn), (MismatchKind::Roots, Turn::Theirs));
    assert!(message.contains(&ROOTS[0].fingerprint().to_string()), "{message}");
    assert!(message.contains("fedgate peer approve"), "{message}");
    pair.settle();
    let mut pair = Pair::new();
    extension(&mut pair).view.as_mut().unwrap().gateways.clear();
    let (kind, turn, message) = pair.mismatch();
    assert_eq!((kind, turn), (MismatchKind::Gateways, Turn::Theirs));
    assert!(message.contains("as none, we announce 192.0.2.1:15443"), "{message}");
}

/// Alpha with several peers, each with what it says of our clock.
fn with_clocks(said: &[(&str, Option<i64>)]) -> Rig {
    let mut rig = Rig::new();
    for (index, (peer, ahead)) in said.iter().enumerate() {
        if !rig.knowledge.contains_key(&name(peer)) {
            let digit = char::from_digit(u32::try_from(index).unwrap() + 4, 10).unwrap();
            rig.add_peer(peer, &format!("{peer}.example"), digit);
        }
        let mut document = private(2, &["192.0.2.9"], vec![]);
        let view = View { clock_ahead: *ahead, ..View::default() };
        document.extension.as_mut().unwrap().view = Some(view);
        assert!(rig.absorb(peer, &document, at(1)).is_taken());
    }
    rig
}

fn turn_of_clock(rig: &Rig, peer: &str) -> Option<Turn> {
    let federation = rig.federate();
    let side = federation.peer(&name(peer)).unwrap().far_side.clone().unwrap();
    let clock = side.mismatches.iter().find(|mismatch| mismatch.kind == MismatchKind::Clock);
    clock.map(|mismatch| mismatch.turn)
}

#[test]
fn of_three_clocks_the_odd_one_has_the_turn() {
    let read = |said: &[(&str, i64)]| {
        let told: Vec<_> = said.iter().map(|(peer, ahead)| (*peer, Some(*ahead))).collect();
        let mut rig = with_clocks(&told);
        for (peer, ahead) in said {
            rig.known(peer).record_clock(ClockReading { ours: at(200 + ahead), theirs: at(200) });
        }
        rig
    };
    let rig = read(&[("beta", 95), ("gamma", 101)]);
    assert_eq!(turn_of_clock(&rig, "beta"), Some(Turn::Ours));
    // The counterparts: one of them agrees with us, or they do not agree with each other.
    let rig = read(&[("beta", 95), ("gamma", 0)]);
    assert_eq!(turn_of_clock(&rig, "beta"), Some(Turn::Theirs));
    assert_eq!(turn_of_clock(&rig, "gamma"), None);
    let rig = read(&[("beta", 95), ("gamma", -95)]);
    assert_eq!(turn_of_clock(&rig, "beta"), Some(Turn::Either));
    let rig = with_clocks(&[("beta", Some(i64::MIN))]);
    assert_eq!(turn_of_clock(&rig, "beta"), None, "nonsense is no clock");
}

#[test]
fn a_clock_that_only_the_peer_sees_differ_is_a_finding_once() {
    let mut rig = with_clocks(&[("beta", Some(95)), ("gamma", None)]);
    let count = |rig: &Rig| found(&rig.federate().findings, FindingReason::FarSideDiffers).len();
    let clocks = |rig: &Rig| {
        let is_clock = |finding: &&Finding| finding.message.contains("says that our clock");
        rig.federate().findings.iter().filter(is_clock).count()
    };
    rig.now = at(1000);
    assert_eq!(clocks(&rig), 1);
    let before = count(&rig);
    rig.known("beta").clock = Some(ClockReading { ours: at(95), theirs: at(0) });
    assert_eq!((clocks(&rig), count(&rig)), (0, before - 1), "clock_skew says it");
}

#[test]
fn strangers_and_dkp_peers_are_told_nothing() {
    let mut pair = Pair::new();
    let federation = pair.alpha.federate();
    let public = federation.public_document.to_json();
    let bundle = federation.spiffe_bundle.to_json();
    pair.alpha.known("beta").record_failure(
        DocumentKind::Private,
        ExchangeReason::FetchFailed,
        "",
        at(11),
    );
    pair.alpha.known("beta").clock = Some(ClockReading { ours: at(95), theirs: at(0) });
    let after = pair.alpha.federate();
    let view = |federation: &fedgate_federation::Federation| {
        federation.private_documents[&name("beta")].extension.clone().unwrap().view
    };
    assert_ne!(view(&federation), view(&after), "the peer is told");
    assert_eq!((after.public_document.to_json(), after.spiffe_bundle.to_json()), (public, bundle));
    assert_eq!(after.published, federation.published, "no sequence counts it");
    // A DKP peer: its documents lack what fedgate adds.
    let known = pair.alpha.known("beta");
    known.public.as_mut().unwrap().document.extension = None;
    known.private.as_mut().unwrap().document.extension = None;
    let federation = pair.alpha.federate();
    assert_eq!(view(&federation), None);
    assert_eq!(federation.peer(&name("beta")).unwrap().far_side, None);
    let condition = condition_of(&federation, "beta", ConditionType::FarSideDiffers);
    assert_eq!((condition.status, &*condition.reason), (ConditionStatus::Unknown, "NotSupported"));
}

#[test]
fn a_change_of_the_view_alone_is_no_new_document() {
    let mut rig = Rig::new();
    let mut document = private(5, &["192.0.2.9"], vec![]);
    rig.absorb("beta", &document, at(1));
    let before = rig.known("beta").clone();
    let id = document.id();
    document.extension.as_mut().unwrap().view = Some(View { sequence: Some(3), ..View::default() });
    assert_eq!(document.id(), id);
    let absorbed = rig.absorb("beta", &document, at(2));
    assert!(!absorbed.is_taken(), "{absorbed:?}");
    let known = rig.known("beta").clone();
    assert!(known.differs_from(&before), "but it is shown");
    assert_eq!(known.private.as_ref().unwrap().fetched, at(1));
    // A replica that numbers the same content lower has the newer view.
    let extension = document.extension.as_mut().unwrap();
    (extension.sequence, extension.view) = (4, None);
    rig.absorb("beta", &document, at(3));
    let extension = rig.known("beta").private.clone().unwrap().document.extension.unwrap();
    assert_eq!((extension.sequence, extension.view), (5, None));
    rig.absorb("beta", &dkp(document), at(4));
}

/// A change at one side.
#[derive(Debug, Clone)]
enum Step {
    Service { side: usize, count: usize },
    Gateways { side: usize, address: u8 },
    Roots { side: usize, count: usize },
    Probe { ok: bool },
    Clock { side: usize, ahead: i64 },
    Failure { side: usize },
    Wait { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let side = || 0usize..2;
    prop_oneof![
        (side(), 0usize..4).prop_map(|(side, count)| Step::Service { side, count }),
        (side(), 50u8..53).prop_map(|(side, address)| Step::Gateways { side, address }),
        (side(), 1usize..3).prop_map(|(side, count)| Step::Roots { side, count }),
        any::<bool>().prop_map(|ok| Step::Probe { ok }),
        (side(), -100i64..100).prop_map(|(side, ahead)| Step::Clock { side, ahead }),
        side().prop_map(|side| Step::Failure { side }),
        (0i64..400).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn apply(pair: &mut Pair, step: &Step) {
    let them = |side: usize| ["beta", "alpha"][side];
    match *step {
        Step::Service { side, count } => {
            let names = (0..count).map(|number| format!("s{number}"));
            let ports = || vec![crate::rig::port("http", 80)];
            pair.both()[side].objects.services =
                names.map(|name| service(&name, ports())).collect();
        }
        Step::Gateways { side, address } => {
            let address = format!("192.0.2.{}", usize::from(address) + 100 * side);
            pair.both()[side].local.gateways = vec![gateway(&address)];
        }
        Step::Roots { side, count } => {
            let roots = [0, 2].map(|first: usize| first + side);
            let roots = roots.into_iter().take(count).map(|index| ROOTS[index].clone());
            pair.both()[side].local.roots = roots.collect();
        }
        Step::Probe { ok } => pair.probe(ok),
        Step::Clock { side, ahead } => {
            let rig = &mut pair.both()[side];
            let now = rig.now;
            let theirs = now.checked_add(jiff::SignedDuration::from_secs(ahead)).unwrap();
            rig.known(them(side)).record_clock(ClockReading { ours: now, theirs });
        }
        Step::Failure { side } => {
            let rig = &mut pair.both()[side];
            let (reason, now) = (ExchangeReason::FetchFailed, rig.now);
            rig.known(them(side)).record_failure(DocumentKind::Private, reason, "", now);
        }
        Step::Wait { seconds } => pair.wait(seconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Views of views would never end: after any change, two clusters come to rest in a few rounds,
    /// and then nothing changes by itself, not even as time passes.
    #[test]
    fn two_clusters_that_see_each_other_come_to_rest(
        steps in proptest::collection::vec(step(), 1..12)
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            apply(&mut pair, step);
            let rounds = pair.settle();
            prop_assert!(rounds <= 3, "{rounds} rounds after {step:?}");
        }
        let documents = |pair: &mut Pair| {
            [publish(&mut pair.alpha, "beta").1, publish(&mut pair.beta, "alpha").1]
        };
        let before = documents(&mut pair);
        for _ in 0..3 {
            pair.wait(20);
            prop_assert_eq!(pair.round(), 0);
            prop_assert_eq!(&documents(&mut pair), &before);
        }
    }

    /// Only a change of something else takes a new sequence.
    #[test]
    fn no_sequence_counts_a_view(steps in proptest::collection::vec(step(), 1..12)) {
        let mut pair = Pair::new();
        for step in &steps {
            let sequence = |pair: &mut Pair, side: usize| {
                let rig = &mut pair.both()[side];
                publish(rig, ["beta", "alpha"][side]).1.extension.as_ref().unwrap().sequence
            };
            let before = [sequence(&mut pair, 0), sequence(&mut pair, 1)];
            apply(&mut pair, step);
            pair.settle();
            let after = [sequence(&mut pair, 0), sequence(&mut pair, 1)];
            let quiet = matches!(step, Step::Probe { .. } | Step::Clock { .. } | Step::Failure { .. } | Step::Wait { .. });
            if quiet {
                prop_assert_eq!(before, after, "{:?}", step);
            }
        }
    }
}

/// Findings of each kind, for the list of all reasons.
pub(crate) fn everything() -> Vec<Finding> {
    let mut pair = Pair::new();
    pair.probe(false);
    pair.settle();
    extension(&mut pair).applied_roots = Some(vec![]);
    extension(&mut pair).view.as_mut().unwrap().clock_ahead = Some(-50);
    pair.wait(120);
    let mut findings = pair.findings();
    let view = extension(&mut pair).view.as_mut().unwrap();
    view.gateways = (0..16).map(|n| gateway(&format!("gateway-{n}.{}", "a".repeat(63)))).collect();
    findings.extend(pair.findings());
    let view = extension(&mut pair).view.as_mut().unwrap();
    view.sequence = None;
    findings.extend(pair.findings());
    for reason in [
        ExchangeReason::FetchFailed,
        ExchangeReason::NonOkResponse,
        ExchangeReason::InvalidJson,
        ExchangeReason::InvalidPublicMetadata,
        ExchangeReason::TokenGenerationFailed,
    ] {
        let view = extension(&mut pair).view.as_mut().unwrap();
        let since = Timestamp::UNIX_EPOCH;
        view.fetch = Some(fedgate_federation::document::Outcome { reason, since });
        let probe = DataplaneReason::ConfigurationError;
        view.probe = Some(fedgate_federation::document::Outcome { reason: probe, since });
        findings.extend(pair.findings());
    }
    findings.extend(with_clocks(&[("beta", Some(95)), ("gamma", Some(101))]).federate().findings);
    findings
}
