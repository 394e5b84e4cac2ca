//! Decides when a change must be reported, and when knowledge must be saved.

use super::{
    Dataplane, DataplaneReason, Exchange, ExchangeReason, Known, LookedUp, PeerKnowledge, Times,
};
use crate::finding::{Finding, FindingReason};
use fedgate_core::Hostname;
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;

/// The times in saved knowledge lag by at most this fraction of the staleness limit.
const PARTS: u32 = 4;

impl PeerKnowledge {
    /// Returns true if the content differs from `before`, whatever the times in it. Such a change
    /// calls for a new compilation and a report.
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

    /// Returns true if the knowledge must be saved, given what was saved last.
    ///
    /// That is so if the content has changed, or if the saved times of confirmation are too old. A
    /// peer that says the same for days would otherwise look, after a restart, as if it had been
    /// silent for days. Its knowledge would be dropped until the next fetch, just when the peer may
    /// be unreachable.
    pub fn worth_saving(&self, saved: Option<&Self>, times: &Times) -> bool {
        let Some(saved) = saved else { return true };
        let most =
            SignedDuration::try_from(times.staleness_limit / PARTS).unwrap_or(SignedDuration::MAX);
        let aged = |(now, then): (Timestamp, Timestamp)| now.duration_since(then) >= most;
        self.is_news_after(saved)
            || self.object != saved.object
            || confirmed(&self.public).zip(confirmed(&saved.public)).is_some_and(aged)
            || confirmed(&self.private).zip(confirmed(&saved.private)).is_some_and(aged)
            || self
                .notices
                .iter()
                .zip(&saved.notices)
                .any(|(now, then)| aged((now.seen(), then.seen())))
            || found(self).zip(found(saved)).is_some_and(aged)
    }
}

fn said<T>(known: &Option<Known<T>>) -> Option<(&T, &[Finding])> {
    known.as_ref().map(|known| (&known.document, known.findings.as_slice()))
}

fn ended(exchange: &Option<Exchange>) -> Option<(ExchangeReason, &str)> {
    exchange.as_ref().map(|exchange| (exchange.reason, exchange.message.as_str()))
}

/// Returns what the notices say, except when they were last seen.
fn noticed(knowledge: &PeerKnowledge) -> impl Iterator<Item = (FindingReason, Timestamp, &str)> {
    knowledge.notices.iter().map(|notice| (notice.reason, notice.since, notice.message.as_str()))
}

/// A name, its addresses, and why the last lookup failed.
type Name<'a> = (&'a Hostname, &'a [IpAddr], Option<&'a str>);

fn names(knowledge: &PeerKnowledge) -> Vec<Name<'_>> {
    let said = |(name, known)| {
        let (addresses, failure) = LookedUp::said(known);
        (name, addresses, failure)
    };
    knowledge.names.iter().map(said).collect()
}

/// Returns when the last good answer for any name came.
fn found(knowledge: &PeerKnowledge) -> Option<Timestamp> {
    knowledge.names.values().filter_map(|known| known.found).max()
}

fn probed(dataplane: &Option<Dataplane>) -> Option<(DataplaneReason, &str)> {
    dataplane.as_ref().map(|dataplane| (dataplane.reason, dataplane.message.as_str()))
}

fn confirmed<T>(known: &Option<Known<T>>) -> Option<Timestamp> {
    known.as_ref().map(|known| known.confirmed)
}
