//! The stream of events that tells a page when to ask again.
//!
//! An event says that something has changed, not what: the page asks for the part that is visible.
//! So a stream costs the same with two peers and with two thousand.

use crate::feed::{Around, Feed};
use axum::response::sse::Event;
use fedgate_engine::in_force::InForce;
use futures_util::stream::{Stream, unfold};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The shortest time between two events of a stream.
const PACE: Duration = Duration::from_millis(500);
/// How often the page asks again without a change. Confirmations of documents are no change.
const REFRESH: Duration = Duration::from_secs(20);

struct State {
    feed: Feed,
    seen: Option<Seen>,
    ticks: tokio::time::Interval,
    sent: Instant,
    number: u64,
    stopped: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

/// What the last event was about. As long as it is held, no other value has its address.
struct Seen(Option<Arc<InForce>>, Arc<Around>);

impl Seen {
    fn of(feed: &Feed) -> Self {
        Self(feed.in_force(), feed.around())
    }

    fn is_same(&self, other: &Self) -> bool {
        let same = match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same && Arc::ptr_eq(&self.1, &other.1)
    }
}

/// The events of one page. Ends when the feed stops.
pub(crate) fn events(
    feed: Feed,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = feed.stopped();
    let sent = Instant::now();
    let state = State { feed, seen: None, ticks, sent, number: 0, stopped, _permit: permit };
    unfold(state, next)
}

async fn next(mut state: State) -> Option<(Result<Event, Infallible>, State)> {
    loop {
        tokio::select! {
            _ = state.stopped.wait_for(|stopped| *stopped) => return None,
            _ = state.ticks.tick() => {}
        }
        let now = Seen::of(&state.feed);
        let has_changed = state.seen.as_ref().is_none_or(|seen| !seen.is_same(&now));
        if has_changed || state.sent.elapsed() >= REFRESH {
            state.seen = Some(now);
            state.sent = Instant::now();
            state.number += 1;
            let event = Event::default().event("changed").data(state.number.to_string());
            return Some((Ok(event), state));
        }
    }
}
