//! Which peer holds which of our roots and keys, and so what may be done next in a rotation.
//!
//! A peer says in its private document what it has put in force. A DKP cluster does not say; of it
//! we know only by which key it has accepted a token.

use super::{Candidate, Inputs};
use crate::bundle::{Fingerprint, Root};
use crate::key::PublicKey;
use crate::knowledge::PeerKnowledge;
use fedgate_core::PeerName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Our roots and keys, and who holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Our roots, in order of fingerprint.
    pub roots: Vec<OurRoot>,
    /// Our keys, the current one first.
    pub keys: Vec<OurKey>,
}

/// One of our roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OurRoot {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its subject, escaped for display.
    pub subject: String,
    /// The last moment of its validity.
    pub not_after: Timestamp,
    /// Whether a certificate that our gateway shows leads to it; `None` if it is not known what our
    /// gateway shows.
    pub signs: Option<bool>,
    /// Which peer holds it.
    pub peers: BTreeMap<PeerName, Holding>,
    /// Whether to sign with it now.
    pub sign: Advice,
    /// Whether to stop publishing it now.
    pub remove: Advice,
}

/// One of our keys for tokens and documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OurKey {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether it signs our tokens. Both keys sign our documents.
    pub signs: bool,
    /// Which peer holds it.
    pub peers: BTreeMap<PeerName, Holding>,
    /// Whether to sign with it now.
    pub sign: Advice,
    /// Whether to remove it now.
    pub remove: Advice,
}

/// What is known of a peer's use of a root or a key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Holding {
    /// It says that it has put it in force, or has accepted a token by this key.
    InForce,
    /// It says what it has put in force, and this is not among it.
    Missing,
    /// It does not say, as a DKP cluster does not.
    CannotSay,
    /// Nothing recent is known of the peer.
    Unknown,
}

/// Whether to do something now, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The answer.
    pub verdict: Verdict,
    /// Why, and what to do before.
    pub why: String,
}

/// An answer to whether something is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Yes,
    /// It is not, or not yet.
    No,
    /// It cannot be seen from here; the operator has to find out.
    Unknown,
}

impl Rotation {
    /// Returns true if every peer that can say holds every root and key that may be used.
    pub fn is_complete(&self) -> bool {
        let roots = self.roots.iter().map(|root| &root.peers);
        let all = roots.chain(self.keys.iter().map(|key| &key.peers));
        all.flat_map(BTreeMap::values)
            .all(|holding| matches!(holding, Holding::InForce | Holding::CannotSay))
    }
}

impl Advice {
    fn new(verdict: Verdict, why: impl Into<String>) -> Self {
        Self { verdict, why: why.into() }
    }

    fn no(why: impl Into<String>) -> Self {
        Self::new(Verdict::No, why)
    }
}

/// Returns who holds what, as far as the accepted peers say.
pub(super) fn rotation<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
) -> Rotation {
    let candidates: Vec<_> = accepted.collect();
    Rotation { roots: roots(inputs, &candidates), keys: keys(inputs, &candidates) }
}

type Holders = BTreeMap<PeerName, Holding>;

fn holders(candidates: &[&Candidate<'_>], of: impl Fn(&Candidate<'_>) -> Holding) -> Holders {
    let holder = |candidate: &&Candidate<'_>| (candidate.peer.name.clone(), of(candidate));
    candidates.iter().map(holder).collect()
}

fn said(applied: Option<&Vec<Fingerprint>>, ours: &Fingerprint) -> Holding {
    match applied {
        Some(applied) if applied.contains(ours) => Holding::InForce,
        Some(_) => Holding::Missing,
        None => Holding::CannotSay,
    }
}

fn roots(inputs: &Inputs<'_>, candidates: &[&Candidate<'_>]) -> Vec<OurRoot> {
    let mut ours: Vec<_> = inputs.local.roots.iter().collect();
    ours.sort();
    ours.dedup();
    let held: Vec<_> = ours.iter().map(|root| holders_of_root(inputs, candidates, root)).collect();
    let signing = Signing::of(inputs);
    // The holders of the roots that the gateway's certificates lead to.
    let of_signing: Vec<_> = ours
        .iter()
        .zip(&held)
        .filter(|(root, _)| signing.uses(root) == Some(true))
        .map(|(_, held)| held)
        .collect();
    let advice = |(root, peers): (&&Root, &Holders)| {
        let sign = sign_with_root(root, signing.uses(root), peers, inputs.now);
        (sign, remove_root(inputs, &signing, root, (peers, &of_signing), ours.len()))
    };
    let advice: Vec<_> = ours.iter().zip(&held).map(advice).collect();
    let one = |((root, peers), (sign, remove)): ((&&Root, Holders), (Advice, Advice))| OurRoot {
        fingerprint: root.fingerprint(),
        subject: root.subject().to_owned(),
        not_after: root.not_after(),
        signs: signing.uses(root),
        peers,
        sign,
        remove,
    };
    ours.iter().zip(held).zip(advice).map(one).collect()
}

/// An expired root is in force nowhere, and nobody has to hold it.
fn holders_of_root(inputs: &Inputs<'_>, candidates: &[&Candidate<'_>], root: &Root) -> Holders {
    if root.is_expired(inputs.now) {
        return Holders::new();
    }
    holders(candidates, |candidate| match candidate.private(inputs) {
        None => Holding::Unknown,
        Some(document) => {
            let extension = document.extension.as_ref();
            let applied = extension.and_then(|extension| extension.applied_roots.as_ref());
            said(applied, &root.fingerprint())
        }
    })
}

/// What our gateway's certificates lead to.
struct Signing {
    anchors: Option<Vec<Fingerprint>>,
    /// Whether there are workloads whose certificates cannot be seen from here.
    has_workloads: bool,
}

impl Signing {
    fn of(inputs: &Inputs<'_>) -> Self {
        let credentials = &inputs.local.credentials;
        Self { anchors: credentials.anchors(), has_workloads: credentials.has_workloads() }
    }

    fn uses(&self, root: &Root) -> Option<bool> {
        self.anchors.as_ref().map(|anchors| anchors.contains(&root.fingerprint()))
    }
}

fn sign_with_root(root: &Root, signs: Option<bool>, peers: &Holders, now: Timestamp) -> Advice {
    if root.is_expired(now) {
        return Advice::no("it has expired");
    }
    if now < root.not_before() {
        return Advice::no(format!("it is not valid before {}", root.not_before()));
    }
    match (lacking(peers), cannot_say(peers)) {
        (Some(lacking), _) if signs == Some(true) => Advice::no(format!(
            "it signs already, and {lacking} does not hold it, so calls fail there: sign with the root before until it does"
        )),
        (Some(lacking), _) => Advice::no(format!("{lacking} does not hold it yet: wait")),
        (None, _) if signs == Some(true) => Advice::new(Verdict::Yes, "it signs already"),
        (None, Some(silent)) => Advice::new(
            Verdict::Unknown,
            format!(
                "{silent} does not say what it holds: a DKP cluster reads our roots once a minute, so ask its operator whether it has this one"
            ),
        ),
        (None, None) => Advice::new(Verdict::Yes, "every peer holds it"),
    }
}

fn remove_root(
    inputs: &Inputs<'_>,
    signing: &Signing,
    root: &Root,
    (peers, of_signing): (&Holders, &[&Holders]),
    count: usize,
) -> Advice {
    match signing.uses(root) {
        _ if count < 2 => return Advice::no("it is the only one"),
        Some(true) => {
            return Advice::no(
                "a certificate that our gateway shows leads to it: reissue that first",
            );
        }
        None => {
            return Advice::no(
                "it is not known which root our gateway's certificates lead to; see `fedgate status`",
            );
        }
        Some(false) if of_signing.is_empty() => {
            return Advice::no(
                "no published root leads to our gateway's certificate, so this one may be needed again",
            );
        }
        Some(false) => {}
    }
    let lacking = of_signing.iter().find_map(|holders| lacking(holders));
    if let Some(lacking) = lacking {
        return Advice::no(format!("{lacking} does not hold the root that signs now"));
    }
    if root.is_expired(inputs.now) {
        return Advice::new(Verdict::Yes, "it has expired and signs nothing");
    }
    if let Some(lacking) = self::lacking(peers) {
        return Advice::no(format!(
            "{lacking} does not hold it yet, so it is a new one: remove it only to give up the rotation"
        ));
    }
    let silent = of_signing.iter().find_map(|holders| cannot_say(holders));
    match silent {
        Some(silent) => Advice::new(
            Verdict::Unknown,
            format!(
                "{silent} does not say whether it holds the root that signs now: ask its operator, and watch its calls"
            ),
        ),
        None if signing.has_workloads => Advice::new(
            Verdict::Unknown,
            "our gateway does not use it any more, but certificates of workloads cannot be seen from here: wait until those from before the switch have been renewed (24 hours by default)",
        ),
        None => Advice::new(Verdict::Yes, "no certificate that our gateway shows leads to it"),
    }
}

fn keys(inputs: &Inputs<'_>, candidates: &[&Candidate<'_>]) -> Vec<OurKey> {
    let ours = inputs.local.keys();
    let held = |key: PublicKey| {
        let fingerprint = key.fingerprint();
        holders(candidates, |candidate| holding_of_key(inputs, candidate, &fingerprint))
    };
    let of_current = held(ours.current);
    let one = |key: PublicKey| {
        let (signs, peers) = (key == ours.current, held(key));
        OurKey {
            fingerprint: key.fingerprint(),
            signs,
            sign: sign_with_key(signs, &peers),
            remove: remove_key(signs, &of_current),
            peers,
        }
    };
    ours.iter().map(one).collect()
}

fn holding_of_key(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    fingerprint: &Fingerprint,
) -> Holding {
    let accepted = candidate.knowledge.and_then(PeerKnowledge::accepted_key);
    let document = candidate.private(inputs);
    let extension = document.and_then(|document| document.extension.as_ref());
    let applied = extension.and_then(|extension| extension.applied_keys.as_ref());
    match (document, said(applied, fingerprint)) {
        (None, _) => Holding::Unknown,
        (Some(_), Holding::CannotSay) if accepted == Some(fingerprint) => Holding::InForce,
        (Some(_), said) => said,
    }
}

fn sign_with_key(signs: bool, peers: &Holders) -> Advice {
    match (lacking(peers), cannot_say(peers)) {
        (Some(lacking), _) if signs => Advice::no(format!(
            "it signs already, and {lacking} does not know it: keep the other key in its slot until it does"
        )),
        (Some(lacking), _) => Advice::no(format!("{lacking} does not know it yet: wait")),
        (None, _) if signs => Advice::new(Verdict::Yes, "it signs already"),
        (None, Some(silent)) => Advice::new(
            Verdict::Yes,
            format!(
                "every peer that says so knows it; {silent} reads only the key that signs, and is asked with the other one until it knows this one"
            ),
        ),
        (None, None) => Advice::new(Verdict::Yes, "every peer knows it"),
    }
}

fn remove_key(signs: bool, of_current: &Holders) -> Advice {
    if signs {
        return Advice::no("it signs our tokens");
    }
    match lacking(of_current).or_else(|| cannot_say(of_current)) {
        Some(peer) => Advice::no(format!(
            "{peer} has not accepted the key that signs now, and would hold it until an operator approves it"
        )),
        None => Advice::new(Verdict::Yes, "every peer accepts the key that signs now"),
    }
}

/// Names the peers that do not hold something, or of which nothing is known.
fn lacking(peers: &Holders) -> Option<String> {
    named(peers, |holding| matches!(holding, Holding::Missing | Holding::Unknown))
}

fn cannot_say(peers: &Holders) -> Option<String> {
    named(peers, |holding| holding == Holding::CannotSay)
}

/// Names one, and how many more there are.
fn named(peers: &Holders, is_meant: impl Fn(Holding) -> bool) -> Option<String> {
    let mut meant = peers.iter().filter(|(_, holding)| is_meant(**holding)).map(|(name, _)| name);
    let first = meant.next()?;
    match meant.count() {
        0 => Some(first.to_string()),
        more => Some(format!("{first} (like {more} more)")),
    }
}
