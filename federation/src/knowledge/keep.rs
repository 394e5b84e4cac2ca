//! When there is something to tell, and when there is something to write down.

use super::{Dataplane, DataplaneReason, Exchange, ExchangeReason, Known, LookedUp, PeerKnowledge, Times};
use crate::finding::{Finding, FindingReason};
use fedgate_core::Hostname;
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;

/// What is written down is at most this part of the staleness limit older than what is known.
const PARTS: u32 = 4;

impl PeerKnowledge {
    /// Whether it says something else than `before`, whenever that was learned: so there is a reason to compile and to tell.
    pub fn is_news_after(&self, before: &Self) -> bool {
        self.trust_domain != before.trust_domain
            || said(&self.public) != said(&before.public)
            || said(&self.private) != said(&before.private)
            || ended(&self.public_exchange) != ended(&before.public_exchange)
            || ended(&self.private_exchange) != ended(&before.private_exchange)
            || names(self) != names(before)
            || probed(&self.dataplane) != probed(&before.dataplane)
            || self.clock != before.clock
            || self.held.as_ref().map(|held| (&held.why, &held.id))
                != before.held.as_ref().map(|held| (&held.why, &held.id))
            || noticed(self).ne(noticed(before))
    }

    /// Whether it has to be written down, given what was written down last.
    ///
    /// That is so for news; and for times when the peer was confirmed long after what was written down says. A peer that says
    /// the same for days would otherwise be taken for one that was silent for days after a restart, and be dropped until it is
    /// asked again, just when it may be out of reach.
    pub fn worth_saving(&self, saved: Option<&Self>, times: &Times) -> bool {
        let Some(saved) = saved else { return true };
        let most = SignedDuration::try_from(times.staleness_limit / PARTS).unwrap_or(SignedDuration::MAX);
        let aged = |(now, then): (Timestamp, Timestamp)| now.duration_since(then) >= most;
        self.is_news_after(saved)
            || self.object != saved.object
            || confirmed(&self.public).zip(confirmed(&saved.public)).is_some_and(aged)
            || confirmed(&self.private).zip(confirmed(&saved.private)).is_some_and(aged)
            || self.notices.iter().zip(&saved.notices).any(|(now, then)| aged((now.seen(), then.seen())))
            || found(self).zip(found(saved)).is_some_and(aged)
    }
}

fn said<T>(known: &Option<Known<T>>) -> Option<(&T, &[Finding])> {
    known.as_ref().map(|known| (&known.document, known.findings.as_slice()))
}

fn ended(exchange: &Option<Exchange>) -> Option<(ExchangeReason, &str)> {
    exchange.as_ref().map(|exchange| (exchange.reason, exchange.message.as_str()))
}

/// What the notices say, but for when it was seen last.
fn noticed(knowledge: &PeerKnowledge) -> impl Iterator<Item = (FindingReason, Timestamp, &str)> {
    knowledge.notices.iter().map(|notice| (notice.reason, notice.since, notice.message.as_str()))
}

/// A name, where it leads, and why the last look-up failed.
type Name<'a> = (&'a Hostname, &'a [IpAddr], Option<&'a str>);

fn names(knowledge: &PeerKnowledge) -> Vec<Name<'_>> {
    let said = |(name, known)| {
        let (addresses, failure) = LookedUp::said(known);
        (name, addresses, failure)
    };
    knowledge.names.iter().map(said).collect()
}

/// When the last good answer about a name came.
fn found(knowledge: &PeerKnowledge) -> Option<Timestamp> {
    knowledge.names.values().filter_map(|known| known.found).max()
}

fn probed(dataplane: &Option<Dataplane>) -> Option<(DataplaneReason, &str)> {
    dataplane.as_ref().map(|dataplane| (dataplane.reason, dataplane.message.as_str()))
}

fn confirmed<T>(known: &Option<Known<T>>) -> Option<Timestamp> {
    known.as_ref().map(|known| known.confirmed)
}
