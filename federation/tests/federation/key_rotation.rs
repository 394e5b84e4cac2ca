//! A cluster replaces its key: with an overlap, its peers take the new one by themselves; without
//! one, they hold it.

use crate::rig::{at, beta, key, name, root, the};
use crate::signatures::{BETA, Reader, delivery, header, of_public};
use fedgate_federation::document::{Limits, PublicDocument, TrustId};
use fedgate_federation::federate::Standing;
use fedgate_federation::key::{PublicKeys, SigningKeys};
use fedgate_federation::knowledge::{Absorbed, Delivery, DocumentKind};
use fedgate_federation::object::{APPROVE_ANNOTATION, PIN_KEYS_ANNOTATION};
use fedgate_federation::{FindingReason as Reason, Severity};
use proptest::prelude::*;
use serde_json::json;

/// Seeds of the keys that beta has in its two slots, the current one first.
type Slots = (u8, Option<u8>);

const OLD: u8 = BETA;
const NEW: u8 = 99;
const THIRD: u8 = 77;

impl Reader {
    /// beta's document while it has these keys.
    fn with_keys(&self, (current, other): Slots) -> PublicDocument {
        let mut document = self.known();
        document.authn_key = key(current).public();
        document.extension.as_mut().unwrap().other_key = other.map(|seed| key(seed).public());
        document
    }

    /// Reads what beta publishes while it has these keys: both sign.
    fn read(&mut self, slots: Slots, now: i64) -> Absorbed {
        let document = self.with_keys(slots);
        self.read_signed(&document, slots, now)
    }

    fn read_signed(&mut self, document: &PublicDocument, slots: Slots, now: i64) -> Absorbed {
        let sequence = u64::try_from(now).unwrap();
        let statement = of_public(document, sequence);
        let seeds = [Some(slots.0), slots.1].into_iter().flatten();
        let signed: Vec<_> = seeds.map(|seed| header(&key(seed), &statement, at(now))).collect();
        self.deliver(document, delivery(&signed.join(", ")), now)
    }

    fn keys(&self) -> PublicKeys {
        self.known().keys()
    }

    /// Whether alpha accepts a token of beta that this key has signed.
    fn accepts_token_by(&self, seed: u8) -> bool {
        let members = self.0.federate().members;
        members
            .values()
            .any(|member| member.peer == name("beta") && member.keys.contains(&key(seed).public()))
    }
}

fn slots((current, other): Slots) -> PublicKeys {
    PublicKeys::new(key(current).public(), other.map(|seed| key(seed).public()))
}

/// A rotation, step by step.
const ROTATION: [Slots; 4] = [(OLD, None), (OLD, Some(NEW)), (NEW, Some(OLD)), (NEW, None)];

#[test]
fn a_whole_rotation_needs_no_approval() {
    let mut reader = Reader::of_signer();
    for (now, step) in (20..).zip(ROTATION) {
        let absorbed = reader.read(step, now);
        assert!(matches!(absorbed, Absorbed::Taken(_) | Absorbed::Confirmed), "{absorbed:?}");
        assert_eq!(reader.keys(), slots(step));
        for seed in [OLD, NEW, THIRD] {
            assert_eq!(reader.accepts_token_by(seed), slots(step).contains(&key(seed).public()));
        }
        // The operator hears of it, and has nothing to do.
        let findings = reader.0.federate().findings;
        let told = findings.iter().filter(|finding| finding.reason == Reason::KeyChanged);
        assert!(told.clone().all(|finding| finding.severity == Severity::Info), "{findings:?}");
        assert_eq!(told.count(), usize::from(now > 20));
    }
}

#[test]
fn a_reader_may_miss_any_one_step_and_no_two() {
    for missed in 1..=2 {
        let mut reader = Reader::of_signer();
        for (now, step) in (20..).zip(ROTATION).filter(|(now, _)| *now != 20 + missed) {
            assert!(!matches!(reader.read(step, now), Absorbed::Held(_)), "{missed}: {step:?}");
        }
        assert_eq!(reader.keys(), slots((NEW, None)));
    }
    // Without any overlap the new key is held, as if the old one were lost.
    let mut reader = Reader::of_signer();
    let known = reader.known();
    assert!(matches!(reader.read((NEW, None), 20), Absorbed::Held(_)));
    assert_eq!(reader.known(), known);
    assert!(reader.accepts_token_by(OLD) && !reader.accepts_token_by(NEW));
    // beta puts the old key into the second slot: then the new one needs no approval.
    assert!(reader.read((NEW, Some(OLD)), 30).is_taken());
    // The twin: an operator approves what is held.
    let mut reader = Reader::of_signer();
    assert!(matches!(reader.read((NEW, None), 20), Absorbed::Held(_)));
    let new = reader.with_keys((NEW, None));
    reader.annotate(APPROVE_ANNOTATION, TrustId::of(&new));
    assert!(reader.read((NEW, None), 30).is_taken());
}

#[test]
fn a_key_may_be_announced_and_withdrawn_and_a_switch_taken_back() {
    let mut reader = Reader::of_signer();
    assert!(reader.read((OLD, Some(NEW)), 20).is_taken());
    assert!(reader.read((OLD, None), 21).is_taken());
    assert!(!reader.accepts_token_by(NEW));
    // A withdrawn key vouches for nothing.
    assert!(matches!(reader.read((NEW, None), 22), Absorbed::Held(_)));
    assert!(reader.read((OLD, Some(NEW)), 23).is_taken());
    assert!(reader.read((NEW, Some(OLD)), 24).is_taken());
    assert!(reader.read((OLD, Some(NEW)), 25).is_taken());
    // The next key may be another one.
    assert!(reader.read((OLD, Some(THIRD)), 26).is_taken());
    assert!(!reader.accepts_token_by(NEW) && reader.accepts_token_by(THIRD));
    // Once the old key is gone, it does not come back by itself.
    assert!(reader.read((THIRD, None), 27).is_taken());
    assert!(matches!(reader.read((OLD, None), 28), Absorbed::Held(_)));
}

#[test]
fn an_unsigned_document_with_the_second_key_is_refused() {
    // A stranger needs no key to put the announced one first. If that were taken, beta would pass
    // for a peer that does not sign.
    let mut reader = Reader::of_signer();
    assert!(reader.read((OLD, Some(NEW)), 20).is_taken());
    let known = reader.known();
    for stolen in [(NEW, Some(OLD)), (NEW, None), (OLD, None)] {
        let document = reader.with_keys(stolen);
        let absorbed = reader.deliver(&document, Delivery::default(), 30);
        reader.refused(&absorbed, &known, "found none");
        // Nor with a signature of their own.
        let signed = header(&key(THIRD), &of_public(&document, 40), at(30));
        let absorbed = reader.deliver(&document, delivery(&signed), 30);
        reader.refused(&absorbed, &known, "not by the known key");
    }
    // An old document, with its signature, is refused as well.
    let old = reader.with_keys((OLD, None));
    let signed = header(&key(OLD), &of_public(&old, 19), at(30));
    let absorbed = reader.deliver(&old, delivery(&signed), 30);
    reader.refused(&absorbed, &known, "at least 20");
}

#[test]
fn a_pinned_key_does_not_make_unsigned_documents_good() {
    let mut reader = Reader::of_signer();
    let known = reader.known();
    let pins = [OLD, NEW].map(|seed| key(seed).public().fingerprint().to_string()).join(",");
    reader.annotate(PIN_KEYS_ANNOTATION, pins);
    let document = reader.with_keys((NEW, None));
    let absorbed = reader.deliver(&document, Delivery::default(), 20);
    reader.refused(&absorbed, &known, "found none");
    // Signed by the pinned key it is good, although the old one is lost.
    assert!(reader.read((NEW, None), 30).is_taken());
    assert!(reader.0.known("beta").signed.is_some());
    // A second key has to be pinned as well.
    assert!(matches!(reader.read((NEW, Some(THIRD)), 40), Absorbed::Held(_)));
    the(&reader.0.federate().findings, Reason::NotPinned);
}

#[test]
fn not_modified_and_the_private_document_may_be_signed_by_either_key() {
    let mut reader = Reader::of_signer();
    assert!(reader.read((OLD, Some(NEW)), 20).is_taken());
    let known = reader.known();
    for seed in [OLD, NEW] {
        let signed = delivery(&header(&key(seed), &of_public(&known, 20), at(30)));
        let absorbed = reader.not_modified(DocumentKind::Public, &signed, 30);
        assert_eq!(absorbed, Absorbed::Confirmed);
    }
    let signed = delivery(&header(&key(THIRD), &of_public(&known, 20), at(30)));
    let absorbed = reader.not_modified(DocumentKind::Public, &signed, 30);
    reader.refused(&absorbed, &known, "not by the known key");
}

#[test]
fn a_second_key_that_cannot_be_read_is_left_out() {
    let reader = Reader::of_signer();
    let good = reader.with_keys((OLD, Some(NEW)));
    let parse = |document: &serde_json::Value| {
        let body = serde_json::to_vec(document).unwrap();
        PublicDocument::parse(&body, &beta(), &Limits::default()).unwrap()
    };
    let json: serde_json::Value = serde_json::from_slice(&good.to_json()).unwrap();
    assert_eq!(parse(&json).document, good);
    // A DKP cluster reads one key, in the field that it knows.
    assert_eq!(json["authnKeyPub"], key(OLD).public().to_pem());
    for bad in [json!(7), json!(""), json!("x"), json!({}), json!("y".repeat(100_000))] {
        let mut document = json.clone();
        document["fedgate"]["otherKey"] = bad;
        let parsed = parse(&document);
        assert_eq!(parsed.document.keys(), slots((OLD, None)));
        assert_eq!(
            the(&parsed.findings, Reason::InvalidExtension).field.as_deref(),
            Some("fedgate.otherKey")
        );
    }
    for same in [json!(null), json!(key(OLD).public().to_pem())] {
        let mut document = json.clone();
        document["fedgate"]["otherKey"] = same;
        let parsed = parse(&document);
        assert_eq!((parsed.document.keys(), parsed.findings.len()), (slots((OLD, None)), 0));
    }
    // What an operator approves covers the second key.
    assert_ne!(TrustId::of(&good), TrustId::of(&reader.with_keys((OLD, None))));
    assert_ne!(TrustId::of(&good), TrustId::of(&reader.with_keys((NEW, Some(OLD)))));
}

#[test]
fn keys_continue_only_if_they_share_one() {
    let of = |current, other: Option<u8>| SigningKeys::new(key(current), other.map(key));
    assert!(of(NEW, Some(OLD)).continue_from(&of(OLD, None)));
    assert!(of(NEW, None).continue_from(&of(OLD, Some(NEW))));
    assert!(!of(NEW, Some(THIRD)).continue_from(&of(OLD, None)));
    assert_eq!(of(OLD, Some(OLD)), of(OLD, None));
    assert!(!format!("{:?}", of(OLD, Some(NEW))).contains("PRIVATE"));
}

#[derive(Debug, Clone)]
enum Event {
    /// beta has other keys from now on.
    Turn(usize, Option<usize>),
    /// alpha reads what beta publishes.
    Read,
    /// Someone without a key of beta's answers: with these keys, signed by a key of their own, or
    /// not at all.
    Attack {
        current: usize,
        other: Option<usize>,
        signed: bool,
        new_root: bool,
    },
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let pair = || (0..3_usize, proptest::option::of(0..3_usize));
    prop_oneof![
        3 => pair().prop_map(|(current, other)| Event::Turn(current, other)),
        4 => Just(Event::Read),
        2 => (pair(), any::<bool>(), any::<bool>()).prop_map(|((current, other), signed, new_root)| {
            Event::Attack { current, other, signed, new_root }
        }),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens in whatever order: alpha takes what beta announces exactly if beta still has
    /// one of the keys that alpha knows, and an attacker without any of them changes nothing.
    #[test]
    fn a_key_is_taken_exactly_if_a_known_one_vouches_for_it(events in proptest::collection::vec(event(), 0..40)) {
        const KEYS: [u8; 3] = [OLD, NEW, THIRD];
        const EVIL: u8 = 66;
        let mut reader = Reader::of_signer();
        let mut beta: Slots = (OLD, None);
        for (now, event) in (20..).zip(events) {
            match event {
                Event::Turn(current, other) => {
                    beta = (KEYS[current], other.map(|index| KEYS[index]).filter(|seed| *seed != KEYS[current]));
                }
                Event::Read => {
                    let before = reader.keys();
                    let shares = slots(beta).iter().any(|key| before.contains(&key));
                    let held = matches!(reader.read(beta, now), Absorbed::Held(_));
                    prop_assert_eq!(held, !shares);
                    prop_assert_eq!(reader.keys(), if shares { slots(beta) } else { before });
                }
                Event::Attack { current, other, signed, new_root } => {
                    let known = reader.known();
                    let mut document = reader.with_keys((KEYS[current], other.map(|index| KEYS[index])));
                    if new_root {
                        document.roots.push(root());
                        document.roots.sort();
                    }
                    let absorbed = match signed {
                        true => reader.read_signed(&document, (EVIL, None), now),
                        false => reader.deliver(&document, Delivery::default(), now),
                    };
                    prop_assert!(!matches!(absorbed, Absorbed::Taken(_) | Absorbed::Confirmed), "{:?}", absorbed);
                    prop_assert_eq!(reader.known(), known);
                }
                Event::Restart => {
                    let json = serde_json::to_string(reader.0.known("beta")).unwrap();
                    *reader.0.known("beta") = serde_json::from_str(&json).unwrap();
                }
            }
            prop_assert!(reader.0.known("beta").signed.is_some());
            let standing = reader.0.federate().peer(&name("beta")).unwrap().standing.clone();
            prop_assert_eq!(standing, Standing::Accepted);
        }
    }
}
