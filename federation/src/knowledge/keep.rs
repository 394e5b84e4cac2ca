//! Decides when a change must be reported, and when knowledge must be saved.

use super::{
    Dataplane, DataplaneReason, Exchange, ExchangeReason, Known, NameLookup, Notice, PeerKnowledge,
    Times, WARN_ABOVE,
};
use crate::bundle::Fingerprint;
use crate::document::GatewayAddress;
use crate::federate::SETTLING;
use crate::finding::Finding;
use jiff::{SignedDuration, Timestamp};

/// The times in saved knowledge lag by at most this fraction of the staleness limit.
const PARTS: u32 = 4;

impl PeerKnowledge {
    /// Returns true if anything but the times differs from `before`. Such a change calls for a new
    /// compilation and a report.
    pub fn differs_from(&self, before: &Self) -> bool {
        content(self) != content(before)
    }

    /// Returns true if something that was stale or expired at `then`, by the times in `before`, is
    /// fresher by those in `self`. Such a change calls for a new compilation too, if `then` is the
    /// time of the last one.
    pub fn is_fresher_than(&self, before: &Self, times: &Times, then: Timestamp) -> bool {
        let times = times.hinted(self.hint());
        let fresher =
            |(now, before): (Timestamp, Timestamp)| times.age(now, then) < times.age(before, then);
        let found = |of: &NameLookup| of.found;
        confirmed(&self.public).zip(confirmed(&before.public)).is_some_and(fresher)
            || confirmed(&self.private).zip(confirmed(&before.private)).is_some_and(fresher)
            || self.names.iter().any(|(name, now)| {
                let before = before.names.get(name).and_then(found);
                found(now).zip(before).is_some_and(fresher)
            })
    }

    /// Returns true if the knowledge must be saved, given what was saved last.
    ///
    /// That is so if the content has changed, or if the saved times of confirmation are too old. A
    /// peer that says the same for days would otherwise look, after a restart, as if it had been
    /// silent for days. Its knowledge would be dropped until the next fetch, just when the peer may
    /// be unreachable. How the peer sees us counts only if it tells an operator something else.
    pub fn needs_saving(&self, saved: Option<&Self>, times: &Times) -> bool {
        let Some(saved) = saved else { return true };
        let most =
            SignedDuration::try_from(times.staleness_limit / PARTS).unwrap_or(SignedDuration::MAX);
        let aged = |(now, then): (Timestamp, Timestamp)| now.duration_since(then) >= most;
        (self.differs_from(saved) && self.without_view().differs_from(&saved.without_view()))
            || self.is_seen_otherwise(saved)
            || self.object != saved.object
            || self.annotations != saved.annotations
            || confirmed(&self.public).zip(confirmed(&saved.public)).is_some_and(aged)
            || confirmed(&self.private).zip(confirmed(&saved.private)).is_some_and(aged)
            || self
                .notices
                .iter()
                .zip(&saved.notices)
                .any(|(now, then)| aged((now.last_seen(), then.last_seen())))
            || found(self).zip(found(saved)).is_some_and(aged)
    }
}

/// What the peer sees of us that an operator would act on.
struct Seen {
    /// Since when its requests to us, and its probes, fail.
    faults: [Option<Timestamp>; 2],
    /// Why they fail.
    reasons: (Option<ExchangeReason>, Option<DataplaneReason>),
    /// Whether our clock is off.
    is_skewed: bool,
    /// The gateways of ours that it knows.
    gateways: Vec<GatewayAddress>,
}

impl PeerKnowledge {
    /// Returns true if the peer sees a lasting fault of ours that it did not see in `saved`, or no
    /// longer sees one. On Kubernetes, `fedgate status` knows only what is saved.
    fn is_seen_otherwise(&self, saved: &Self) -> bool {
        let Some(now) = confirmed(&self.private) else { return false };
        let (is, was) = (self.seen(), saved.seen());
        let lasting = |seen: &Seen| {
            let faults = seen.faults.map(|fault| fault.filter(|since| lasts(*since, now)));
            faults.map(|fault| fault.is_some())
        };
        // The end of a fault that was saved is saved at once: nobody should look for it any more.
        let mended =
            was.faults.iter().zip(is.faults).any(|(was, is)| was.is_some() && is.is_none());
        let (is_lasting, was_lasting) = (lasting(&is), lasting(&was));
        mended
            || is_lasting != was_lasting
            || is_lasting.contains(&true) && is.reasons != was.reasons
            || (is.is_skewed, is.gateways) != (was.is_skewed, was.gateways)
    }

    fn seen(&self) -> Seen {
        let extension = self.private.as_ref().and_then(|known| known.document.extension.as_ref());
        let view = extension.and_then(|known| known.view.clone()).unwrap_or_default();
        let no_fault = [ExchangeReason::Succeeded, ExchangeReason::AwaitingPublic];
        let fetch = view.fetch.filter(|fetch| !no_fault.contains(&fetch.reason));
        let probe = view.probe.filter(|probe| probe.reason != DataplaneReason::Succeeded);
        let skew = view.clock_ahead.map(SignedDuration::from_secs);
        Seen {
            faults: [fetch.as_ref().map(|it| it.since), probe.as_ref().map(|it| it.since)],
            reasons: (fetch.map(|it| it.reason), probe.map(|it| it.reason)),
            is_skewed: skew.is_some_and(|skew| skew.abs() > WARN_ABOVE),
            gateways: view.gateways,
        }
    }

    /// Returns the same without how the peer sees us. After a restart of ours, this changes at every
    /// peer, twice, and is not worth a write each time: the peer says it again.
    fn without_view(&self) -> Self {
        let mut knowledge = self.clone();
        let private = knowledge.private.as_mut();
        if let Some(extension) = private.and_then(|known| known.document.extension.as_mut()) {
            extension.view = None;
        }
        // Its sequence leaves the view out, its hash does not.
        if let Some(signed) = knowledge.signed.as_mut().and_then(|signed| signed.private.as_mut()) {
            signed.digest = Fingerprint::of(&[]);
        }
        knowledge
    }
}

/// Returns true if a fault since then is more than a moment's, as after a restart of ours.
fn lasts(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= SETTLING
}

/// Returns what counts as a difference: everything but times, `object` and `annotations` (which this
/// cluster's operator writes) and `uuid_since` (which follows the public document).
fn content(knowledge: &PeerKnowledge) -> impl PartialEq {
    let PeerKnowledge {
        trust_domain,
        object: _,
        annotations: _,
        public,
        private,
        uuid_since: _,
        public_exchange,
        private_exchange,
        names,
        dataplane,
        clock,
        clock_read,
        held,
        held_trust,
        signed,
        accepted_key,
        used_approval,
        notices,
    } = knowledge;
    let lookups: Vec<_> = names.iter().map(|(name, known)| (name, known.content())).collect();
    let notices: Vec<_> = notices.iter().map(Notice::content).collect();
    (
        trust_domain,
        (document(public), document(private)),
        (exchanged(public_exchange), exchanged(private_exchange)),
        lookups,
        probed(dataplane),
        (clock, clock_read),
        held.as_ref().map(|held| (&held.why, &held.id)),
        (held_trust, signed, accepted_key, used_approval),
        notices,
    )
}

fn document<T>(known: &Option<Known<T>>) -> Option<(&T, &[Finding])> {
    known.as_ref().map(|known| (&known.document, known.findings.as_slice()))
}

fn exchanged(exchange: &Option<Exchange>) -> Option<(ExchangeReason, &str)> {
    exchange.as_ref().map(|exchange| (exchange.reason, exchange.message.as_str()))
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
