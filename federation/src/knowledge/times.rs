//! How long what is known of a peer is taken for true, and what happens then.

use crate::object::Peer;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A peer's hint cannot make its documents stale before this part of `stale_after`, nor before
/// [`LEAST`]: they may not be fetched more often, and would be stale before each fetch.
const LEAST_PART: u32 = 2;
/// More than a request takes that waits for a change.
const LEAST: Duration = Duration::from_secs(75);

/// The ages at which a peer's documents become stale and expire, and what happens to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// From this age on a document is shown as stale but still used.
    pub stale_after: Duration,
    /// From this age on it is expired.
    pub staleness_limit: Duration,
    /// What happens to what an expired document says.
    #[serde(default)]
    pub at_expiry: AtExpiry,
    /// The hint that this cluster gives to its peers: from which age on they should show its
    /// documents as stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Duration>,
}

impl Default for Times {
    /// Stale after 5 minutes, expired after 24 hours.
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(5 * 60),
            staleness_limit: Duration::from_secs(24 * 60 * 60),
            at_expiry: AtExpiry::default(),
            hint: None,
        }
    }
}

/// What happens at the staleness limit to what a peer's documents say.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum AtExpiry {
    /// All of it stays in force, without end. The peer is shown as expired and is never ready.
    Keep,
    /// Nothing new: the imports go, and the peer's roots at our gateway. The peer's grants stay, so
    /// connections that it has open go on.
    #[default]
    Drain,
    /// As [`Self::Drain`], and when the public document expires the peer's grants go as well. So
    /// the gateway closes the connections that the peer has open.
    Drop,
}

impl AtExpiry {
    /// The values, as operators write them.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Drain, Self::Drop];

    /// Returns the word that operators write.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "Keep",
            Self::Drain => "Drain",
            Self::Drop => "Drop",
        }
    }

    /// Reads the word that operators write.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.word() == word)
    }
}

/// How old a piece of knowledge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Age {
    /// Confirmed recently.
    Fresh,
    /// Not confirmed for a while; still used.
    Stale,
    /// Not confirmed up to the staleness limit. [`AtExpiry`] says whether it is still used.
    Expired,
}

impl Age {
    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
        }
    }
}

impl Times {
    /// Returns the times for one peer. `hint` is from which age on the peer wants its documents to
    /// be shown as stale.
    ///
    /// A hint is a stranger's word. It can only make the peer look worse, and not without bound: it
    /// never makes documents fresh for longer than configured, and never moves the staleness limit.
    pub fn of_peer(self, peer: &Peer, hint: Option<Duration>) -> Self {
        let at_expiry = peer.at_expiry.unwrap_or(self.at_expiry);
        Self { at_expiry, ..self.hinted(hint) }
    }

    pub(super) fn hinted(self, hint: Option<Duration>) -> Self {
        let least = LEAST.max(self.stale_after / LEAST_PART);
        let hint = hint.map_or(self.stale_after, |hint| hint.max(least));
        Self { stale_after: self.stale_after.min(hint), ..self }
    }

    /// Returns the age of something last confirmed at `confirmed`. Setting the clock back makes
    /// nothing old.
    pub fn age(&self, confirmed: Timestamp, now: Timestamp) -> Age {
        let old = |than: Duration| {
            now.duration_since(confirmed)
                >= SignedDuration::try_from(than).unwrap_or(SignedDuration::MAX)
        };
        match (old(self.staleness_limit), old(self.stale_after)) {
            (true, _) => Age::Expired,
            (false, true) => Age::Stale,
            (false, false) => Age::Fresh,
        }
    }

    /// Returns true if something last confirmed at `confirmed` is still used.
    pub fn is_used(&self, confirmed: Timestamp, now: Timestamp) -> bool {
        self.at_expiry == AtExpiry::Keep || self.age(confirmed, now) < Age::Expired
    }

    /// Returns when something last confirmed at `confirmed` stops being used; `None` for never.
    pub(crate) fn end_of_use(&self, confirmed: Timestamp) -> Option<Timestamp> {
        let limit = SignedDuration::try_from(self.staleness_limit).ok()?;
        let end = confirmed.checked_add(limit).ok();
        end.filter(|_| self.at_expiry != AtExpiry::Keep)
    }
}
