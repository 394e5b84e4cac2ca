//! What this cluster tells a peer of how it sees the peer.

use super::{Candidate, Inputs};
use crate::document::{Outcome, View};
use jiff::Timestamp;

/// Returns the view of a peer; `None` for a peer that would not read it.
///
/// It holds only what stays the same as long as nothing happens: a change of it wakes the peer.
pub(super) fn of_peer(inputs: &Inputs<'_>, candidate: &Candidate<'_>) -> Option<View> {
    candidate.public(inputs)?.extension.as_ref()?;
    let knowledge = candidate.knowledge?;
    let private = candidate.private(inputs);
    let gateways = private.map(|document| View::listed(&document.gateways)).unwrap_or_default();
    let fetch = knowledge.private_exchange.as_ref();
    // A probe from before says nothing once there is no gateway to probe.
    let probe = knowledge.dataplane.as_ref().filter(|_| !gateways.is_empty());
    Some(View {
        sequence: private
            .and_then(|document| document.extension.as_ref())
            .map(|extension| extension.sequence),
        fetch: fetch.map(|fetch| outcome(fetch.reason, fetch.since)),
        probe: probe.map(|probe| outcome(probe.reason, probe.since)),
        clock_ahead: knowledge.clock_skew().map(|skew| skew.as_secs()),
        gateways,
    })
}

fn outcome<T>(reason: T, since: Timestamp) -> Outcome<T> {
    let seconds = Timestamp::from_second(since.as_second());
    Outcome { reason, since: seconds.unwrap_or(since) }
}
