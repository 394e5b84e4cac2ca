//! Compares what a peer says it sees of us with what we are, and says whose turn it is.

use super::clocks::Clocks;
use super::{Candidate, Inputs};
use crate::bundle::Fingerprint;
use crate::document::{GatewayAddress, PrivateDocument, View};
use crate::finding::{Finding, FindingReason};
use crate::knowledge::{Blame, DataplaneReason, ExchangeReason, WARN_ABOVE};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a mismatch may last before it is a finding. Right after a change, it is normal: each
/// side asks the other every minute, if nothing wakes it before.
pub(crate) const SETTLING: SignedDuration = SignedDuration::from_mins(2);

/// What a peer says it sees of us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FarSide {
    /// Its view, as it sent it.
    pub view: View,
    /// Whether it uses the document that we publish for it now.
    pub current: bool,
    /// How the view differs from what we are.
    pub mismatches: Vec<Mismatch>,
}

/// Something that a peer does not see as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mismatch {
    /// What differs.
    pub kind: MismatchKind,
    /// Who has to act.
    pub turn: Turn,
    /// Since when, as far as known, by our clock.
    pub since: Option<Timestamp>,
    /// What differs, and what to do.
    pub message: String,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MismatchKind {
    /// The peer cannot fetch our document, or refuses it.
    Fetch,
    /// It has an older document of ours, or none.
    Document,
    /// It has not put one of our roots in force.
    Roots,
    /// It does not know one of our keys.
    Keys,
    /// It has other gateways of ours than we announce.
    Gateways,
    /// Its probe of our gateways fails.
    Probe,
    /// It says that our clock differs from its clock.
    Clock,
}

/// Who has to act on a mismatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// We do.
    Ours,
    /// The peer's operator does.
    Theirs,
    /// The cause may be on either side.
    Either,
}

impl Turn {
    /// Says whose turn it is. `peer` is the peer's name.
    pub fn whose(self, peer: &str) -> String {
        match self {
            Self::Ours => "our turn".to_owned(),
            Self::Theirs => format!("{peer}'s turn"),
            Self::Either => format!("our turn or {peer}'s"),
        }
    }
}

impl Mismatch {
    /// Says whose turn it is. `peer` is the peer's name.
    pub fn whose_turn(&self, peer: &str) -> String {
        self.turn.whose(peer)
    }

    /// Returns true if it has lasted too long to be normal, so that it is a finding.
    pub fn is_settled(&self, now: Timestamp) -> bool {
        self.settled().is_none_or(|settled| now >= settled)
    }

    /// Returns when it becomes a finding.
    fn settled(&self) -> Option<Timestamp> {
        self.since?.checked_add(SETTLING).ok()
    }

    fn finding(&self, candidate: &Candidate<'_>, now: Timestamp) -> Option<Finding> {
        if !self.is_settled(now) {
            return None;
        }
        let message =
            format!("{}: {}", self.whose_turn(candidate.peer.name.as_str()), self.message);
        let reason = FindingReason::FarSideDiffers;
        Some(Finding::warning(reason, candidate.peer.object(), "federation.json", message))
    }
}

impl FarSide {
    /// Returns the findings about mismatches that have lasted too long. Different clocks have a
    /// finding of their own, if our reading shows it too.
    pub(super) fn findings(&self, candidate: &Candidate<'_>, now: Timestamp) -> Vec<Finding> {
        let clock = candidate.knowledge.and_then(|knowledge| knowledge.clock);
        let is_known = clock.is_some_and(|clock| clock.warning(Blame::Unknown).is_some());
        let told = self
            .mismatches
            .iter()
            .filter(|mismatch| mismatch.kind != MismatchKind::Clock || !is_known);
        told.filter_map(|mismatch| mismatch.finding(candidate, now)).collect()
    }

    /// Returns when a mismatch becomes a finding.
    pub(super) fn changes(&self) -> impl Iterator<Item = Timestamp> {
        self.mismatches.iter().filter_map(Mismatch::settled)
    }
}

/// Returns what an accepted peer says it sees of us; `None` if it does not say. `ours` is the
/// document that we publish for it.
pub(super) fn of_peer(
    inputs: &Inputs<'_>,
    candidate: &Candidate<'_>,
    ours: Option<&PrivateDocument>,
    clocks: Clocks,
) -> Option<FarSide> {
    let ours = ours?;
    let sequence = ours.extension.as_ref()?.sequence;
    let theirs = candidate.private(inputs)?.extension.as_ref()?;
    let view = theirs.view.as_ref()?;
    let current = view.sequence.is_some_and(|has| has >= sequence);
    let comparison = Comparison { inputs, candidate, ours, view, sequence, current };
    let mut mismatches = Vec::new();
    mismatches.extend(comparison.fetch().or_else(|| comparison.document()));
    if current {
        let applied = theirs.applied_roots.as_deref();
        mismatches.extend(applied.and_then(|applied| comparison.roots(applied)));
        mismatches
            .extend(theirs.applied_keys.as_deref().and_then(|applied| comparison.keys(applied)));
        mismatches.extend(comparison.gateways());
    }
    mismatches.extend(comparison.probe(theirs.applied_roots.as_deref()));
    mismatches.extend(comparison.clock(clocks));
    Some(FarSide { view: view.clone(), current, mismatches })
}

struct Comparison<'a, 'k> {
    inputs: &'a Inputs<'a>,
    candidate: &'a Candidate<'k>,
    ours: &'a PrivateDocument,
    view: &'a View,
    sequence: u64,
    current: bool,
}

impl Comparison<'_, '_> {
    fn peer(&self) -> &str {
        self.candidate.peer.name.as_str()
    }

    /// Since when our document has been as it is: sequences are times.
    fn published(&self) -> Option<Timestamp> {
        let milliseconds = i64::try_from(self.sequence).ok()?;
        Some(Timestamp::from_millisecond(milliseconds).ok()?.min(self.inputs.now))
    }

    /// Translates a time by the peer's clock to ours.
    fn by_our_clock(&self, theirs: Timestamp) -> Timestamp {
        let clock = self.candidate.knowledge.and_then(|knowledge| knowledge.clock);
        let skew = clock.map_or(SignedDuration::ZERO, |clock| clock.skew());
        theirs.checked_sub(skew).unwrap_or(theirs).min(self.inputs.now)
    }

    /// Says which gateways of ours the peer has, if they are not the ones that we announce.
    fn other_gateways(&self) -> Option<String> {
        let ours = View::listed(&self.ours.gateways);
        (self.view.gateways != ours).then(|| {
            let theirs = list(&self.view.gateways);
            format!("it has our gateways as {theirs}, we announce {}", list(&ours))
        })
    }

    fn fetch(&self) -> Option<Mismatch> {
        let fetch = self.view.fetch.as_ref()?;
        let (peer, word) = (self.peer(), fetch.reason.word());
        let (turn, what) = match fetch.reason {
            ExchangeReason::Succeeded | ExchangeReason::AwaitingPublic => return None,
            ExchangeReason::FetchFailed => (
                Turn::Either,
                format!(
                    "{peer} cannot reach our metadata endpoint ({word}); check the way from there to it: its name, firewalls and certificate, and the URL in {peer}'s object for us"
                ),
            ),
            ExchangeReason::NonOkResponse => (
                Turn::Ours,
                format!(
                    "our metadata endpoint, or a proxy before it, refuses {peer}'s requests ({word}); check the proxy, and whether both clocks agree"
                ),
            ),
            ExchangeReason::InvalidJson => (
                Turn::Ours,
                format!(
                    "{peer} gets something else than our document ({word}); check what answers at our metadata endpoint in its place"
                ),
            ),
            ExchangeReason::InvalidPublicMetadata | ExchangeReason::InvalidPrivateMetadata => (
                Turn::Theirs,
                format!(
                    "{peer} refuses our document ({word}); ask its operator for the cause, which `fedgate status` shows there"
                ),
            ),
            ExchangeReason::TokenGenerationFailed => (
                Turn::Theirs,
                format!(
                    "{peer} makes no token for us ({word}); ask its operator for the cause, which `fedgate status` shows there"
                ),
            ),
        };
        let message = [Some(what), self.other_gateways()].into_iter().flatten();
        let message = message.collect::<Vec<_>>().join("; ");
        let since = Some(self.by_our_clock(fetch.since));
        Some(Mismatch { kind: MismatchKind::Fetch, turn, since, message })
    }

    fn document(&self) -> Option<Mismatch> {
        if self.current {
            return None;
        }
        let peer = self.peer();
        let has = match self.view.sequence {
            None => format!("{peer} has no document of ours yet"),
            Some(_) => format!("{peer} has an older document of ours"),
        };
        let others = self.other_gateways().map(|others| format!("; {others}")).unwrap_or_default();
        let message = format!(
            "{has}{others}; it fetches the new one within a minute, otherwise ask its operator whether the controller there runs"
        );
        let since = self.published();
        Some(Mismatch { kind: MismatchKind::Document, turn: Turn::Theirs, since, message })
    }

    /// The roots that the peer has heard of, and yet does not use.
    fn roots(&self, applied: &[Fingerprint]) -> Option<Mismatch> {
        let ours = self.inputs.local.roots.iter();
        let valid = ours.filter(|root| !root.is_expired(self.inputs.now));
        let missing = valid.map(|root| root.fingerprint()).filter(|root| !applied.contains(root));
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return None;
        }
        let (peer, missing) = (self.peer(), few(&missing));
        let message = format!(
            "{peer} has our newest document but has not put our root {missing} in force; it may be held there: ask its operator to compare and approve it (`fedgate peer approve`)"
        );
        let since = self.published();
        Some(Mismatch { kind: MismatchKind::Roots, turn: Turn::Theirs, since, message })
    }

    /// The keys that the peer has heard of, and yet does not accept.
    fn keys(&self, applied: &[Fingerprint]) -> Option<Mismatch> {
        let ours = self.inputs.local.keys();
        let missing = ours.iter().map(|key| key.fingerprint());
        let missing: Vec<_> = missing.filter(|key| !applied.contains(key)).collect();
        if missing.is_empty() {
            return None;
        }
        let (peer, missing) = (self.peer(), few(&missing));
        let message = format!(
            "{peer} has our newest document but does not know our key {missing}; it may be held there: ask its operator to compare and approve it (`fedgate peer approve`)"
        );
        let since = self.published();
        Some(Mismatch { kind: MismatchKind::Keys, turn: Turn::Theirs, since, message })
    }

    fn gateways(&self) -> Option<Mismatch> {
        let others = self.other_gateways()?;
        let peer = self.peer();
        let message = format!(
            "{peer} has our newest document, and yet {others}; ask its operator what became of the others, `fedgate status` shows it there"
        );
        let since = self.published();
        Some(Mismatch { kind: MismatchKind::Gateways, turn: Turn::Theirs, since, message })
    }

    fn probe(&self, applied: Option<&[Fingerprint]>) -> Option<Mismatch> {
        let probe = self.view.probe.as_ref()?;
        let (peer, word) = (self.peer(), probe.reason.word());
        let gateways = list(&self.view.gateways);
        let mut roots = self.inputs.local.roots.iter().map(|root| root.fingerprint());
        let knows_a_root = applied.is_none_or(|applied| roots.any(|root| applied.contains(&root)));
        let (turn, message) = match probe.reason {
            DataplaneReason::Succeeded => return None,
            DataplaneReason::ConfigurationError => (
                Turn::Theirs,
                format!(
                    "{peer} cannot probe our gateways ({word}): its own certificate or key cannot be used; ask its operator"
                ),
            ),
            DataplaneReason::ProbeFailed if self.other_gateways().is_some() => (
                Turn::Theirs,
                format!(
                    "{peer}'s probe of our gateways fails ({word}) at {gateways}, which is not what we announce; ask its operator why it has those"
                ),
            ),
            DataplaneReason::ProbeFailed if !knows_a_root => (
                Turn::Theirs,
                format!(
                    "{peer}'s probe of our gateways fails ({word}), because it has put none of our roots in force; ask its operator why"
                ),
            ),
            DataplaneReason::ProbeFailed => (
                Turn::Ours,
                format!(
                    "{peer}'s probe of our gateways fails ({word}) at {gateways}; check that they run, that these addresses lead to them from there, and the firewalls before them"
                ),
            ),
        };
        let since = Some(self.by_our_clock(probe.since));
        Some(Mismatch { kind: MismatchKind::Probe, turn, since, message })
    }

    fn clock(&self, clocks: Clocks) -> Option<Mismatch> {
        let ahead = SignedDuration::from_secs(self.view.clock_ahead?);
        let skew = SignedDuration::ZERO.checked_sub(ahead)?;
        if skew.abs() <= WARN_ABOVE {
            return None;
        }
        let peer = self.peer();
        let side = if ahead.is_negative() { "behind" } else { "ahead of" };
        let differs =
            format!("{peer} says that our clock is {} s {side} its clock", skew.abs().as_secs());
        let (turn, advice) = match clocks.blame(skew) {
            Blame::Ours => (Turn::Ours, "other peers agree with it, so correct our clock"),
            Blame::Theirs => {
                (Turn::Theirs, "other peers agree with us; ask its operator to correct it")
            }
            Blame::Both => (Turn::Either, "other peers agree with neither; correct both"),
            Blame::Unknown => (Turn::Either, "compare both with a third and correct the wrong one"),
        };
        let message = format!("{differs}; {advice}");
        Some(Mismatch { kind: MismatchKind::Clock, turn, since: None, message })
    }
}

fn list(gateways: &[GatewayAddress]) -> String {
    match gateways {
        [] => "none".to_owned(),
        some => few(some),
    }
}

/// Names three, and how many more there are.
fn few(all: &[impl ToString]) -> String {
    const NAMED: usize = 3;
    let named: Vec<_> = all.iter().take(NAMED).map(ToString::to_string).collect();
    match all.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
