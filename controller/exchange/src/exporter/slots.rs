//! Decides which connections may stay when all slots are taken.
//!
//! A new connection is always let in. When no slot is left, an older connection makes room for it,
//! so holding connections open locks nobody out. There are three kinds of connections:
//!
//! - *strangers*: nothing is known about them;
//! - *known*: a peer showed a valid token from the same address within [`known::KNOWN_FOR`];
//! - *proven*: a peer showed a valid token on this connection. They count by peer, whatever their
//!   address.
//!
//! A proven connection on which its peer waits for a change has a *seat*: it counts nowhere below,
//! and makes room for no other. Each peer has at most one seat.
//!
//! The last two are *trusted*. While they hold at most three quarters of the slots, strangers make
//! room, if there are any. Otherwise a trusted connection makes room. Within a group, the source or
//! peer with the most connections gives up its oldest one.
//!
//! When all peers reconnect at once, as after a restart of something in between, their seats are
//! free. So trusted connections beyond three quarters of the slots use seats that no peer has, and a
//! source may have a connection more for each peer that is known there. Nobody is displaced on the
//! way to its seat.

mod known;
mod occupant;

use super::metrics::Dropped;
use fedgate_federation::document::ClusterUuid;
use known::KnownAddresses;
use occupant::{Kind, Occupant, source_of};
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// How much room there is.
#[derive(Debug, Clone, Copy)]
struct Size {
    slots: usize,
    seats: usize,
}

/// All slots, and the connections that hold them.
#[derive(Debug)]
pub(super) struct SlotPool {
    size: Size,
    /// The number of slots for each source. `None` if sources cannot be told apart.
    per_source: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Connections without a seat, in order of age, oldest first.
    open: BTreeMap<u64, Occupant>,
    seated: HashMap<u64, Occupant>,
    /// Each peer's seated connection.
    seats: HashMap<ClusterUuid, u64>,
    known: KnownAddresses,
}

/// One connection's slot. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct Slot {
    pool: Arc<SlotPool>,
    id: u64,
    eviction: watch::Receiver<Option<Dropped>>,
}

impl SlotPool {
    pub(super) fn new(slots: usize, per_source: Option<usize>, seats: usize) -> Arc<Self> {
        let size = Size { slots: slots.max(1), seats };
        Arc::new(Self { size, per_source, state: Mutex::default() })
    }

    /// Gives a connection from `address` a slot. A connection that has to make room is notified
    /// and no longer counts.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Slot {
        self.acquire_within(address, self.per_source)
    }

    /// Gives a connection a slot whose source is not known yet. `address` is the balancer's, which
    /// may have all slots.
    pub(super) fn acquire_unnamed(self: &Arc<Self>, address: IpAddr) -> Slot {
        self.acquire_within(address, None)
    }

    fn acquire_within(self: &Arc<Self>, address: IpAddr, per_source: Option<usize>) -> Slot {
        let source = source_of(address);
        let mut state = self.state();
        state.make_room(source, self.size, per_source);
        let kind = if state.known.contains(source) { Kind::Known } else { Kind::Stranger };
        let (sender, eviction) = watch::channel(None);
        let id = state.next;
        state.next += 1;
        state.open.insert(id, Occupant { source, kind, seat: None, eviction: sender });
        Slot { pool: self.clone(), id, eviction }
    }

    /// Ends one connection to free its descriptor, by the same rules as when no slot is left.
    pub(super) fn evict_one(&self) {
        self.state().evict_one(self.size);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Waits until the connection has to make room for another, and returns the reason.
    pub(super) async fn evicted(&self) -> Dropped {
        let mut eviction = self.eviction.clone();
        let reason = eviction.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        match reason {
            Some(reason) => reason,
            // The sender ends with the occupant: after it has sent a reason, or when this slot is
            // dropped.
            None => std::future::pending().await,
        }
    }

    /// Records that the peer `cluster` has shown a valid token on this connection.
    pub(super) fn mark_proven(&self, cluster: &ClusterUuid) {
        let mut state = self.pool.state();
        let Some(occupant) = state.occupant(self.id) else { return };
        if occupant.kind != Kind::Proven(cluster.clone()) {
            occupant.kind = Kind::Proven(cluster.clone());
        }
        let source = occupant.source;
        state.known.remember(cluster, source);
    }

    /// Gives this connection the seat of `cluster`, which has proven itself on it. A connection
    /// that had the seat before counts again.
    pub(super) fn take_seat(&self, cluster: &ClusterUuid) {
        self.pool.state().seat(self.id, cluster);
    }

    /// Returns true if a peer waits, or has waited, on this connection.
    pub(super) fn is_seated(&self) -> bool {
        self.pool.state().seated.contains_key(&self.id)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.open.remove(&self.id);
        if let Some(seat) = state.seated.remove(&self.id).and_then(|occupant| occupant.seat) {
            state.seats.remove(&seat);
        }
    }
}

impl State {
    fn occupant(&mut self, id: u64) -> Option<&mut Occupant> {
        self.open.get_mut(&id).or_else(|| self.seated.get_mut(&id))
    }

    fn seat(&mut self, id: u64, cluster: &ClusterUuid) {
        let Some(occupant) = self.open.remove(&id) else { return };
        self.seated.insert(id, Occupant { seat: Some(cluster.clone()), ..occupant });
        let before = self.seats.insert(cluster.clone(), id);
        if let Some((id, occupant)) = before.and_then(|id| self.seated.remove_entry(&id)) {
            self.open.insert(id, Occupant { seat: None, ..occupant });
        }
    }

    fn count_trusted(&self) -> usize {
        self.open.values().filter(|occupant| occupant.is_trusted()).count()
    }

    /// How many of so many trusted connections use seats that no peer has.
    fn in_seats(&self, trusted: usize, size: Size) -> usize {
        let free = size.seats.saturating_sub(self.seated.len());
        trusted.saturating_sub(size.slots * 3 / 4).min(free)
    }

    fn make_room(&mut self, source: IpAddr, size: Size, per_source: Option<usize>) {
        let own = || self.open.iter().filter(|(_, occupant)| occupant.source == source);
        if per_source.is_some_and(|share| own().count() >= share + self.known.peers_at(source)) {
            // The source gives up its own oldest connection, strangers before trusted ones.
            let oldest =
                own().min_by_key(|(id, occupant)| (occupant.is_trusted(), **id)).map(|(id, _)| *id);
            self.evict(oldest, Dropped::SourceLimit);
        } else {
            // With the new one.
            let trusted = self.count_trusted() + usize::from(self.known.contains(source));
            if self.open.len() + 1 - self.in_seats(trusted, size) > size.slots {
                self.evict_one(size);
            }
        }
    }

    fn evict_one(&mut self, size: Size) {
        let trusted = self.count_trusted();
        let in_slots = trusted - self.in_seats(trusted, size);
        let among_trusted = in_slots * 4 > size.slots * 3 || trusted == self.open.len();
        let victim = self.heaviest(|occupant| occupant.is_trusted() == among_trusted);
        self.evict(victim, Dropped::Crowded);
    }

    /// The oldest connection of whoever has the most. Counts by network first, because the owner of
    /// a large network has addresses without end.
    fn heaviest(&self, among: impl Fn(&Occupant) -> bool) -> Option<u64> {
        let occupants = || self.open.iter().filter(|(_, occupant)| among(occupant));
        let by_network = counts(occupants().map(|(_, occupant)| occupant.network()));
        let by_holder = counts(occupants().map(|(_, occupant)| occupant.holder()));
        let of = |occupant: &Occupant| {
            (by_network.get(&occupant.network()), by_holder.get(&occupant.holder()))
        };
        // `max_by_key` returns the last maximum. Reversed, from young to old, the last one is the
        // oldest.
        occupants().rev().max_by_key(|(_, occupant)| of(occupant)).map(|(id, _)| *id)
    }

    fn evict(&mut self, id: Option<u64>, reason: Dropped) {
        if let Some(occupant) = id.and_then(|id| self.open.remove(&id)) {
            occupant.eviction.send_replace(Some(reason));
        }
    }
}

fn counts<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut counts = HashMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
