//! Lets a peer wait until its document changes, so that it learns of a change at once.
//!
//! Only requests with a valid token get here. Each peer has at most one that waits: a newer one
//! ends it and takes its place, because the older one's client is probably gone. So peers whose
//! connections were lost in silence find a place even if all are taken. No peer is answered more
//! often than every [`PAUSE`], so changes that come together become one answer.

use crate::counted::Counted;
use fedgate_federation::document::ClusterUuid;
use prometheus_client::metrics::gauge::Gauge;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep_until},
};

/// The shortest time between two answers to a peer that waits.
const PAUSE: Duration = Duration::from_millis(100);

/// The requests that wait.
pub(super) struct WaitingRoom {
    places: Arc<Semaphore>,
    waiting: Gauge,
    peers: Mutex<HashMap<ClusterUuid, Arc<Turns>>>,
}

/// One peer's requests.
#[derive(Default)]
struct Turns {
    /// The number of the newest one.
    newest: watch::Sender<u64>,
    /// When one was last answered.
    answered: Mutex<Option<Instant>>,
    /// The place of the one that waits.
    place: Mutex<Weak<OwnedSemaphorePermit>>,
}

/// A request that waits. Dropping it frees its place.
pub(super) struct Turn {
    turns: Arc<Turns>,
    number: u64,
    _place: Arc<OwnedSemaphorePermit>,
    _waiting: Counted,
}

impl WaitingRoom {
    /// A room with this many places.
    pub(super) fn new(places: usize, waiting: Gauge) -> Self {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self { places, waiting, peers: Mutex::default() }
    }

    /// Returns true if a request could wait.
    pub(super) fn has_place(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Lets a request of a peer wait, and ends an older one of the same peer. `None` if all places
    /// are taken. `is_peer` is asked from time to time, to forget peers that have been removed.
    pub(super) fn enter(
        &self,
        peer: &ClusterUuid,
        is_peer: impl Fn(&ClusterUuid) -> bool,
    ) -> Option<Turn> {
        let turns = self.turns_of(peer, is_peer);
        let place = self.place_of(&turns)?;
        let mut number = 0;
        turns.newest.send_modify(|newest| {
            *newest = newest.wrapping_add(1);
            number = *newest;
        });
        let _waiting = Counted::new(self.waiting.clone());
        Some(Turn { turns, number, _place: place, _waiting })
    }

    /// The place that the peer has, or a free one.
    fn place_of(&self, turns: &Turns) -> Option<Arc<OwnedSemaphorePermit>> {
        let mut own = turns.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = own.upgrade() {
            return Some(place);
        }
        let place = Arc::new(Arc::clone(&self.places).try_acquire_owned().ok()?);
        *own = Arc::downgrade(&place);
        Some(place)
    }

    fn turns_of(&self, peer: &ClusterUuid, is_peer: impl Fn(&ClusterUuid) -> bool) -> Arc<Turns> {
        let mut peers = self.peers();
        if let Some(turns) = peers.get(peer) {
            return turns.clone();
        }
        // A new peer is rare, so this is the time to look at all.
        peers.retain(|peer, _| is_peer(peer));
        peers.entry(peer.clone()).or_default().clone()
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<ClusterUuid, Arc<Turns>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until the peer sends a newer request that waits.
    pub(super) async fn superseded(&self) {
        let mut newest = self.turns.newest.subscribe();
        // The sender lives as long as this turn.
        let _ = newest.wait_for(|newest| *newest != self.number).await;
    }

    /// Waits until the peer may be answered again.
    pub(super) async fn pause(&self) {
        let answered = *self.answered();
        if let Some(answered) = answered {
            sleep_until(answered + PAUSE).await;
        }
    }

    /// Records that the request is answered now.
    pub(super) fn end(self) {
        *self.answered() = Some(Instant::now());
    }

    fn answered(&self) -> MutexGuard<'_, Option<Instant>> {
        self.turns.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::identity;
    use futures_util::FutureExt;

    #[test]
    fn places_are_limited_and_freed() {
        let room = WaitingRoom::new(2, Gauge::default());
        let [beta, gamma, delta] = [(); 3].map(|()| identity().cluster_uuid);
        let enter = |peer| room.enter(peer, |_| true);
        let (one, two) = (enter(&beta).unwrap(), enter(&gamma).unwrap());
        assert!(enter(&delta).is_none() && !room.has_place());
        assert_eq!(room.waiting.get(), 2);
        drop((one, two));
        assert!(enter(&delta).is_some() && room.has_place());
        assert_eq!(room.waiting.get(), 0);
    }

    /// Connections that were lost in silence hold their places until their time is up.
    #[test]
    fn a_peer_that_returns_takes_its_own_place() {
        let room = WaitingRoom::new(2, Gauge::default());
        let [beta, gamma, delta] = [(); 3].map(|()| identity().cluster_uuid);
        let enter = |peer| room.enter(peer, |_| true);
        let lost = [enter(&beta), enter(&gamma)];
        let back = [enter(&beta), enter(&gamma)];
        assert!(back.iter().all(Option::is_some));
        // The twin: another peer finds no place, not even when the lost ones end.
        assert!(enter(&delta).is_none());
        drop(lost);
        assert!(enter(&delta).is_none() && !room.has_place());
        drop(back);
        assert!(enter(&delta).is_some() && room.has_place());
    }

    #[test]
    fn a_newer_request_supersedes_the_same_peers_only() {
        let room = WaitingRoom::new(9, Gauge::default());
        let (beta, gamma) = (identity().cluster_uuid, identity().cluster_uuid);
        let enter = |peer| room.enter(peer, |_| true).unwrap();
        let (older, other) = (enter(&beta), enter(&gamma));
        assert!(older.superseded().now_or_never().is_none());
        let newer = enter(&beta);
        assert!(older.superseded().now_or_never().is_some());
        assert!(newer.superseded().now_or_never().is_none());
        assert!(other.superseded().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_answered_at_most_ten_times_a_second() {
        let room = WaitingRoom::new(9, Gauge::default());
        let (beta, began) = (identity().cluster_uuid, Instant::now());
        for _ in 0..11 {
            let turn = room.enter(&beta, |_| true).unwrap();
            turn.pause().await;
            turn.end();
        }
        assert_eq!(began.elapsed().as_millis(), 1000);
        // The counterpart: another peer does not wait for it.
        let turn = room.enter(&identity().cluster_uuid, |_| true).unwrap();
        assert!(turn.pause().now_or_never().is_some());
    }

    #[test]
    fn removed_peers_are_forgotten() {
        let room = WaitingRoom::new(9, Gauge::default());
        let (beta, gamma) = (identity().cluster_uuid, identity().cluster_uuid);
        room.enter(&beta, |_| true).unwrap();
        room.enter(&gamma, |peer| *peer != beta).unwrap();
        assert_eq!(room.peers().keys().collect::<Vec<_>>(), [&gamma]);
    }
}
