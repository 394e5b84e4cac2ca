//! Decides which connections may stay when all slots are taken.
//!
//! A new connection is always let in. When no slot is left, an older connection makes room for it,
//! so holding connections open locks nobody out. There are three kinds of connections:
//!
//! - *strangers*: nothing is known about them;
//! - *known*: a peer showed a valid token from the same address within [`KNOWN_FOR`];
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

use super::metrics::Dropped;
use fedgate_federation::document::ClusterUuid;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// How long an address stays known after the peer's last valid token from there.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many addresses are remembered for each peer. The limit keeps a peer from making the whole
/// Internet known.
const ADDRESSES_PER_PEER: usize = 8;

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
    /// The addresses that each peer has proven itself from, the latest last.
    known: HashMap<ClusterUuid, VecDeque<IpAddr>>,
    /// The same by address.
    addresses: HashMap<IpAddr, Address>,
}

/// An address that is remembered for at least one peer.
#[derive(Debug)]
struct Address {
    /// How many peers it is remembered for.
    peers: usize,
    /// When one of them last proved itself from there.
    proven: Instant,
}

#[derive(Debug)]
struct Occupant {
    source: IpAddr,
    kind: Kind,
    /// The peer whose seat it has.
    seat: Option<ClusterUuid>,
    eviction: watch::Sender<Option<Dropped>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Stranger,
    Known,
    Proven(ClusterUuid),
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
        let kind = if state.is_known(source) { Kind::Known } else { Kind::Stranger };
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
        state.remember(cluster, source);
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

    fn is_known(&self, source: IpAddr) -> bool {
        self.addresses.get(&source).is_some_and(|address| address.proven.elapsed() < KNOWN_FOR)
    }

    fn remember(&mut self, cluster: &ClusterUuid, source: IpAddr) {
        let proven = Instant::now();
        let address = self.addresses.entry(source).or_insert(Address { peers: 0, proven });
        address.proven = proven;
        let own = self.known.entry(cluster.clone()).or_default();
        match own.iter().position(|known| *known == source) {
            Some(place) => drop(own.remove(place)),
            None => address.peers += 1,
        }
        own.push_back(source);
        if own.len() > ADDRESSES_PER_PEER
            && let Some(oldest) = own.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// One peer less is remembered at this address.
    fn forget(&mut self, source: IpAddr) {
        if let Some(address) = self.addresses.get_mut(&source) {
            address.peers -= 1;
            if address.peers == 0 {
                self.addresses.remove(&source);
            }
        }
    }

    /// How many peers are known at an address.
    fn peers_at(&self, source: IpAddr) -> usize {
        let known = self.addresses.get(&source).filter(|_| self.is_known(source));
        known.map_or(0, |address| address.peers)
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
        if per_source.is_some_and(|share| own().count() >= share + self.peers_at(source)) {
            // The source gives up its own oldest connection, strangers before trusted ones.
            let oldest =
                own().min_by_key(|(id, occupant)| (occupant.is_trusted(), **id)).map(|(id, _)| *id);
            self.evict(oldest, Dropped::SourceLimit);
        } else {
            // With the new one.
            let trusted = self.count_trusted() + usize::from(self.is_known(source));
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

/// The owner that a connection is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Source(IpAddr),
    Network(IpAddr),
    Peer(ClusterUuid),
}

impl Occupant {
    fn is_trusted(&self) -> bool {
        self.kind != Kind::Stranger
    }

    fn holder(&self) -> Holder {
        match &self.kind {
            Kind::Proven(cluster) => Holder::Peer(cluster.clone()),
            _ => Holder::Source(self.source),
        }
    }

    fn network(&self) -> Holder {
        match &self.kind {
            Kind::Proven(cluster) => Holder::Peer(cluster.clone()),
            _ => Holder::Network(network_of(self.source)),
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

/// One IPv6 subscriber owns at least 2^64 addresses, so an IPv6 /64 counts as one source.
fn source_of(address: IpAddr) -> IpAddr {
    masked(address, 32, 64)
}

/// A block that often has a single owner: an IPv4 /24 or an IPv6 /48 (RFC 6177).
fn network_of(source: IpAddr) -> IpAddr {
    masked(source, 24, 48)
}

fn masked(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (32 - v4))).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - v6))).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn cluster(digit: char) -> ClusterUuid {
        let digits = |count| String::from(digit).repeat(count);
        ClusterUuid::parse(&[digits(8), digits(4), digits(4), digits(4), digits(12)].join("-"))
            .unwrap()
    }

    fn numbered(number: usize) -> ClusterUuid {
        ClusterUuid::parse(&format!("{number:08x}-aaaa-4aaa-8aaa-111111111111")).unwrap()
    }

    fn lost(slot: &Slot) -> Option<Dropped> {
        *slot.eviction.borrow()
    }

    fn acquire_many(
        pool: &Arc<SlotPool>,
        count: usize,
        address: impl Fn(usize) -> String,
    ) -> Vec<Slot> {
        (0..count).map(|n| pool.acquire(ip(&address(n)))).collect()
    }

    fn left(slots: &[Slot]) -> usize {
        slots.iter().filter(|slot| lost(slot).is_none()).count()
    }

    #[test]
    fn a_source_beyond_its_share_displaces_its_own_oldest() {
        let pool = SlotPool::new(100, Some(2), 0);
        let first = pool.acquire(ip("192.0.2.1"));
        let second = pool.acquire(ip("::ffff:192.0.2.1"));
        let other = pool.acquire(ip("192.0.2.2"));
        let third = pool.acquire(ip("192.0.2.1"));
        assert_eq!((lost(&first), lost(&second)), (Some(Dropped::SourceLimit), None));
        assert!(lost(&other).is_none() && lost(&third).is_none());
        let sites = SlotPool::new(100, Some(1), 0);
        let (one, two) = (sites.acquire(ip("2001:db8::1")), sites.acquire(ip("2001:db8::ffff:2")));
        assert!(lost(&one).is_some() && lost(&two).is_none());
        let _elsewhere = sites.acquire(ip("2001:db8:0:1::1"));
        assert!(lost(&two).is_none());
    }

    #[test]
    fn the_source_with_the_most_connections_makes_room() {
        let pool = SlotPool::new(8, None, 0);
        let single = pool.acquire(ip("192.0.2.1"));
        let many = acquire_many(&pool, 7, |_| "198.51.100.9".into());
        let _new = pool.acquire(ip("203.0.113.5"));
        assert_eq!((lost(&single), lost(&many[0])), (None, Some(Dropped::Crowded)));
        assert_eq!(left(&many), 6);
        assert_eq!(pool.state().open.len(), 8);
    }

    #[test]
    fn a_large_network_counts_as_one_source() {
        let pool = SlotPool::new(8, Some(64), 0);
        let single = pool.acquire(ip("2001:db8:1::1"));
        let many = acquire_many(&pool, 7, |n| format!("2001:db8:2:{n}::1"));
        let again = acquire_many(&pool, 20, |n| format!("2001:db8:2:{}::1", n + 100));
        assert!(lost(&single).is_none());
        assert_eq!(left(&many) + left(&again), 7);
    }

    #[test]
    fn strangers_displace_neither_a_peer_nor_its_address() {
        let pool = SlotPool::new(8, None, 0);
        let peer = pool.acquire(ip("192.0.2.1"));
        peer.mark_proven(&cluster('1'));
        let known = pool.acquire(ip("192.0.2.1"));
        let strangers = acquire_many(&pool, 1000, |n| format!("10.{}.{}.1", n / 256, n % 256));
        assert!(lost(&peer).is_none() && lost(&known).is_none());
        assert_eq!(left(&strangers), 6);
        // The counterpart: without a token, it is one of the strangers.
        let pool = SlotPool::new(8, None, 0);
        let nobody = pool.acquire(ip("192.0.2.1"));
        let _strangers = acquire_many(&pool, 1000, |n| format!("10.{}.{}.1", n / 256, n % 256));
        assert!(lost(&nobody).is_some());
    }

    #[test]
    fn peers_leave_a_quarter_to_strangers_and_the_largest_peer_makes_room() {
        let pool = SlotPool::new(8, None, 0);
        let modest = pool.acquire(ip("192.0.2.1"));
        modest.mark_proven(&cluster('1'));
        let greedy: Vec<_> = acquire_many(&pool, 40, |n| format!("10.0.{n}.1"));
        // Those that still have a slot prove to belong to one peer.
        greedy.iter().for_each(|slot| slot.mark_proven(&cluster('2')));
        let new = pool.acquire(ip("203.0.113.5"));
        assert!(lost(&modest).is_none() && lost(&new).is_none());
        assert_eq!(left(&greedy), 6);
        let more = acquire_many(&pool, 3, |n| format!("203.0.{n}.5"));
        assert_eq!((left(&greedy), lost(&modest)), (5, None), "the strangers have two slots now");
        assert_eq!(left(&more), 2);
    }

    #[test]
    fn a_seated_connection_neither_counts_nor_makes_room() {
        let pool = SlotPool::new(4, Some(2), 0);
        let waits = pool.acquire(ip("192.0.2.1"));
        waits.mark_proven(&cluster('1'));
        waits.take_seat(&cluster('1'));
        let same = acquire_many(&pool, 2, |_| "192.0.2.1".into());
        assert!(waits.is_seated() && left(&same) == 2);
        let many = acquire_many(&pool, 100, |n| format!("10.0.{n}.1"));
        assert_eq!((lost(&waits), left(&many), left(&same)), (None, 2, 2));
        // Its next one takes the seat, and it counts again, as the oldest of its source.
        let next = pool.acquire(ip("192.0.2.1"));
        next.mark_proven(&cluster('1'));
        next.take_seat(&cluster('1'));
        assert!(!waits.is_seated() && next.is_seated());
        let again = acquire_many(&pool, 2, |_| "192.0.2.1".into());
        assert_eq!((lost(&waits), lost(&next)), (Some(Dropped::SourceLimit), None));
        drop((waits, next, again));
        assert!(pool.state().seated.is_empty() && pool.state().seats.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn known_addresses_of_a_peer_are_limited_and_expire() {
        let pool = SlotPool::new(1000, None, 0);
        for n in 0..20 {
            pool.acquire(ip(&format!("192.0.2.{n}"))).mark_proven(&cluster('1'));
        }
        let known = |n: u8| pool.state().is_known(ip(&format!("192.0.2.{n}")));
        assert!(!known(11) && known(12) && known(19));
        assert_eq!(pool.state().addresses.len(), ADDRESSES_PER_PEER);
        // Another peer at one of them keeps it known.
        pool.acquire(ip("192.0.2.12")).mark_proven(&cluster('2'));
        for n in 20..28 {
            pool.acquire(ip(&format!("192.0.2.{n}"))).mark_proven(&cluster('1'));
        }
        assert!(known(12) && !known(13) && known(27));
        assert_eq!(pool.state().addresses.len(), ADDRESSES_PER_PEER + 1);
        for n in 12..20 {
            pool.acquire(ip(&format!("192.0.2.{n}"))).mark_proven(&cluster('1'));
        }
        tokio::time::advance(KNOWN_FOR).await;
        assert!(!known(19));
    }

    /// Each from its own address, or all from one.
    #[test]
    fn known_peers_that_return_together_displace_nobody() {
        let everywhere = |n: usize| format!("10.{}.{}.1", n / 200, n % 200);
        for address in [everywhere as fn(usize) -> String, |_| "192.0.2.1".to_owned()] {
            let pool = SlotPool::new(8, Some(2), 200);
            for n in 0..200 {
                let peer = pool.acquire(ip(&address(n)));
                peer.mark_proven(&numbered(n));
            }
            let strangers = acquire_many(&pool, 2, |n| format!("203.0.{n}.5"));
            let back = acquire_many(&pool, 200, address);
            assert_eq!((left(&back), left(&strangers)), (200, 2));
            // Strangers keep a quarter, and get no seat.
            let more = acquire_many(&pool, 20, |n| format!("198.51.{n}.5"));
            assert_eq!((left(&back), left(&more)), (200, 2));
            for (n, slot) in back.iter().enumerate() {
                slot.mark_proven(&numbered(n));
                slot.take_seat(&numbered(n));
            }
            assert_eq!(pool.state().open.len(), 2);
            drop(back);
            assert!(pool.state().seated.is_empty() && pool.state().seats.is_empty());
        }
    }

    /// The twin: without free seats, and from an address where fewer are known.
    #[test]
    fn known_addresses_have_no_more_than_their_seats_and_their_peers() {
        let pool = SlotPool::new(8, None, 3);
        pool.acquire(ip("192.0.2.1")).mark_proven(&cluster('1'));
        assert_eq!(left(&acquire_many(&pool, 100, |_| "192.0.2.1".into())), 8 + 3);
        let pool = SlotPool::new(100, Some(4), 100);
        pool.acquire(ip("192.0.2.1")).mark_proven(&cluster('1'));
        assert_eq!(left(&acquire_many(&pool, 50, |_| "192.0.2.1".into())), 4 + 1);
        assert_eq!(left(&acquire_many(&pool, 50, |_| "192.0.2.2".into())), 4);
    }

    #[test]
    fn closed_connections_free_their_slots() {
        let pool = SlotPool::new(100, None, 0);
        drop(acquire_many(&pool, 9, |n| format!("192.0.2.{n}")));
        assert!(pool.state().open.is_empty());
    }
}
