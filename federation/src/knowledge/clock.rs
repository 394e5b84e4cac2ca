//! How far a peer's clock is from ours. Tokens are valid for a minute, so clocks that are further
//! apart stop the exchange.

use super::PeerKnowledge;
use crate::finding::{Finding, FindingReason, ObjectRef};
use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Serialize};

/// The operator is warned above this difference. It is half of what a token allows, so that there is
/// time to act.
pub(crate) const WARN_ABOVE: SignedDuration = SignedDuration::from_secs(30);

/// Differences and changes up to this are ignored: readings are to the second and vary a little
/// each time.
const NOISE: SignedDuration = SignedDuration::from_secs(5);

/// Whose clock is off when two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Ours: other peers agree with the peer.
    Ours,
    /// The peer's: others agree with us.
    Theirs,
    /// Both: others agree with each other only.
    Both,
    /// It cannot be told.
    Unknown,
}

/// Two clocks at the same moment, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockReading {
    /// What our clock said.
    pub ours: Timestamp,
    /// What the peer's clock said.
    pub theirs: Timestamp,
}

impl ClockReading {
    /// Creates a reading from an answer stamped `theirs` (to the second), to a request sent at
    /// `sent` and answered at `received`. It assumes the smallest difference between the clocks
    /// that these times allow.
    pub fn of_answer(theirs: Timestamp, sent: Timestamp, received: Timestamp) -> Self {
        let earliest = sent.checked_sub(SignedDuration::from_secs(1)).unwrap_or(sent);
        let ours = theirs.max(earliest).min(received.max(earliest));
        Self { ours: ours.round(Unit::Second).unwrap_or(ours), theirs }
    }

    /// Returns how far the peer's clock is ahead; negative if it is behind.
    pub fn skew(&self) -> SignedDuration {
        self.theirs.duration_since(self.ours)
    }

    /// Returns a message if the clocks are so far apart that tokens are refused, or soon may be.
    pub fn warning(&self, blame: Blame) -> Option<String> {
        let skew = self.skew();
        if skew.abs() <= WARN_ABOVE {
            return None;
        }
        let side = if skew.is_negative() { "behind" } else { "ahead of" };
        let which = match blame {
            Blame::Ours => "other peers agree with it, so set this cluster's clock",
            Blame::Theirs => "other peers agree with ours, so its operator has to set it",
            Blame::Both => "other peers agree with each other and with neither, so set both",
            Blame::Unknown => "set the one that is wrong",
        };
        Some(format!(
            "the clock at its endpoint is {} s {side} ours: it said {} when ours said {}; tokens are good for a minute; {which}",
            skew.abs().as_secs(),
            self.theirs,
            self.ours
        ))
    }

    pub(crate) fn finding(&self, object: ObjectRef, blame: Blame) -> Option<Finding> {
        let message = self.warning(blame)?;
        Some(Finding::warning(FindingReason::ClockSkew, object, "spec.metadataEndpoint", message))
    }
}

impl PeerKnowledge {
    /// Returns how far the peer's clock is ahead of ours; `None` if it has never been read.
    pub(crate) fn clock_skew(&self) -> Option<SignedDuration> {
        let agrees = self.clock_read.then_some(SignedDuration::ZERO);
        self.clock.map(|reading| reading.skew()).or(agrees)
    }

    /// Records a reading of the peer's clock if the difference has changed. If the clocks agree,
    /// no reading is stored.
    pub fn record_clock(&mut self, reading: ClockReading) {
        self.clock_read = true;
        let known = self.clock.map_or(SignedDuration::ZERO, |known| known.skew());
        let change = reading.skew().checked_sub(known).unwrap_or(SignedDuration::MAX);
        if change.abs() > NOISE {
            self.clock = Some(reading).filter(|reading| reading.skew().abs() > NOISE);
        }
    }
}
