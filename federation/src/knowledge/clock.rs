//! How far a peer's clock is from ours. Tokens are good for a minute, so clocks that are further apart cut the exchange off.

use super::PeerKnowledge;
use crate::finding::{Finding, FindingReason, ObjectRef};
use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Serialize};

/// From this difference on an operator is told: half of what a token allows, so that there is time to act.
const TELL: SignedDuration = SignedDuration::from_secs(30);

/// A difference up to this is none, nor is it another one than before: readings are to the second, and differ a little each time.
const NOISE: SignedDuration = SignedDuration::from_secs(5);

/// Two clocks at one moment, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockReading {
    /// What ours said.
    pub ours: Timestamp,
    /// What the peer's said.
    pub theirs: Timestamp,
}

impl ClockReading {
    /// What an answer tells that says it was made at `theirs` (to the second), to a request from `sent` that was answered at
    /// `received`. As long as the answer may have been made on its way, the clocks may agree.
    pub fn of_answer(theirs: Timestamp, sent: Timestamp, received: Timestamp) -> Self {
        let earliest = sent.checked_sub(SignedDuration::from_secs(1)).unwrap_or(sent);
        let ours = theirs.max(earliest).min(received.max(earliest));
        Self { ours: ours.round(Unit::Second).unwrap_or(ours), theirs }
    }

    /// How far the peer's clock is ahead; negative: behind.
    pub fn skew(&self) -> SignedDuration {
        self.theirs.duration_since(self.ours)
    }

    /// What to tell when the clocks are so far apart that tokens are refused, or soon may be.
    pub fn trouble(&self) -> Option<String> {
        let skew = self.skew();
        if skew.abs() <= TELL {
            return None;
        }
        let side = if skew.is_negative() { "behind" } else { "ahead of" };
        Some(format!(
            "the clock at its endpoint is {} s {side} ours: it said {} when ours said {}; tokens are good for a minute, so set the one that is wrong",
            skew.abs().as_secs(),
            self.theirs,
            self.ours
        ))
    }

    pub(crate) fn finding(&self, object: ObjectRef) -> Option<Finding> {
        let message = self.trouble()?;
        Some(Finding::warning(FindingReason::ClockSkew, object, "spec.metadataEndpoint", message))
    }
}

impl PeerKnowledge {
    /// Takes a reading of the peer's clock. It is kept when the difference is another one than that which is known; clocks that
    /// agree need no reading.
    pub fn clock_read(&mut self, reading: ClockReading) {
        let known = self.clock.map_or(SignedDuration::ZERO, |known| known.skew());
        let change = reading.skew().checked_sub(known).unwrap_or(SignedDuration::MAX);
        if change.abs() > NOISE {
            self.clock = Some(reading).filter(|reading| reading.skew().abs() > NOISE);
        }
    }
}
