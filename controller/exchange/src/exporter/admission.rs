//! Decides which connections may stay when all places are taken.
//!
//! A new connection is always let in. When no place is left, an older connection makes room for it,
//! so holding connections open locks nobody out. There are three kinds of connections:
//!
//! - *strangers*: nothing is known about them;
//! - *known*: a peer showed a valid token from the same address within [`KNOWN_FOR`];
//! - *proven*: a peer showed a valid token on this connection. They count by peer, whatever their
//!   address.
//!
//! The last two are *trusted*. While they hold at most three quarters of the places, strangers make
//! room, if there are any. Otherwise a trusted connection makes room. Within a group, the source or
//! peer with the most connections gives up its oldest one.

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

/// All places, and the connections that hold them.
#[derive(Debug)]
pub(super) struct Admission {
    /// The number of places.
    most: usize,
    /// The number of places for each source. `None` if sources cannot be told apart.
    per_source: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In order of age, oldest first.
    open: BTreeMap<u64, Seat>,
    known: HashMap<ClusterUuid, VecDeque<(IpAddr, Instant)>>,
}

#[derive(Debug)]
struct Seat {
    source: IpAddr,
    kind: Kind,
    give_way: watch::Sender<Option<Dropped>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Stranger,
    Known,
    Proven(ClusterUuid),
}

/// One connection's place. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    id: u64,
    give_way: watch::Receiver<Option<Dropped>>,
}

impl Admission {
    pub(super) fn new(most: usize, per_source: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), per_source, state: Mutex::default() })
    }

    /// Gives a connection from `address` a place. A connection that has to make room is notified
    /// and no longer counts.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Place {
        let source = source_of(address);
        let mut state = self.state();
        state.make_room(source, self.most, self.per_source);
        let kind = if state.is_known(source) { Kind::Known } else { Kind::Stranger };
        let (sender, give_way) = watch::channel(None);
        let id = state.next;
        state.next += 1;
        state.open.insert(id, Seat { source, kind, give_way: sender });
        Place { admission: self.clone(), id, give_way }
    }

    /// Ends one connection to free its descriptor, by the same rules as when no place is left.
    pub(super) fn make_room(&self) {
        self.state().evict_one(self.most);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the connection has to make room for another, and returns the reason.
    pub(super) async fn lost(&self) -> Dropped {
        let mut give_way = self.give_way.clone();
        let reason = give_way.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        match reason {
            Some(reason) => reason,
            // The sender goes away with the seat: after it has sent a reason, or when this place is
            // dropped.
            None => std::future::pending().await,
        }
    }

    /// Records that the peer `cluster` has shown a valid token on this connection.
    pub(super) fn proven(&self, cluster: &ClusterUuid) {
        let mut state = self.admission.state();
        let Some(seat) = state.open.get_mut(&self.id) else { return };
        seat.kind = Kind::Proven(cluster.clone());
        let source = seat.source;
        state.remember(cluster, source);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.state().open.remove(&self.id);
    }
}

impl State {
    fn is_known(&self, source: IpAddr) -> bool {
        let lately = |at: &Instant| at.elapsed() < KNOWN_FOR;
        self.known.values().flatten().any(|(known, at)| *known == source && lately(at))
    }

    fn remember(&mut self, cluster: &ClusterUuid, source: IpAddr) {
        let addresses = self.known.entry(cluster.clone()).or_default();
        addresses.retain(|(known, at)| *known != source && at.elapsed() < KNOWN_FOR);
        addresses.push_back((source, Instant::now()));
        if addresses.len() > ADDRESSES_PER_PEER {
            addresses.pop_front();
        }
    }

    fn make_room(&mut self, source: IpAddr, most: usize, per_source: Option<usize>) {
        let own = || self.open.iter().filter(|(_, seat)| seat.source == source);
        if per_source.is_some_and(|share| own().count() >= share) {
            // The source gives up its own oldest connection, strangers before trusted ones.
            let oldest =
                own().min_by_key(|(id, seat)| (seat.is_trusted(), **id)).map(|(id, _)| *id);
            self.evict(oldest, Dropped::SourceLimit);
        } else if self.open.len() >= most {
            self.evict_one(most);
        }
    }

    fn evict_one(&mut self, most: usize) {
        let trusted = self.open.values().filter(|seat| seat.is_trusted()).count();
        let among_trusted = trusted * 4 > most * 3 || trusted == self.open.len();
        let victim = self.heaviest(|seat| seat.is_trusted() == among_trusted);
        self.evict(victim, Dropped::Crowded);
    }

    /// The oldest connection of whoever has the most. Counts by network first, because the owner of
    /// a large network has addresses without end.
    fn heaviest(&self, among: impl Fn(&Seat) -> bool) -> Option<u64> {
        let seats = || self.open.iter().filter(|(_, seat)| among(seat));
        let by_network = counts(seats().map(|(_, seat)| seat.network()));
        let by_holder = counts(seats().map(|(_, seat)| seat.holder()));
        let of = |seat: &Seat| (by_network.get(&seat.network()), by_holder.get(&seat.holder()));
        // `max_by_key` returns the last maximum. Reversed, from young to old, the last one is the
        // oldest.
        seats().rev().max_by_key(|(_, seat)| of(seat)).map(|(id, _)| *id)
    }

    fn evict(&mut self, id: Option<u64>, reason: Dropped) {
        if let Some(seat) = id.and_then(|id| self.open.remove(&id)) {
            seat.give_way.send_replace(Some(reason));
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

impl Seat {
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

    fn lost(place: &Place) -> Option<Dropped> {
        *place.give_way.borrow()
    }

    fn admit(
        admission: &Arc<Admission>,
        count: usize,
        address: impl Fn(usize) -> String,
    ) -> Vec<Place> {
        (0..count).map(|n| admission.admit(ip(&address(n)))).collect()
    }

    fn left(places: &[Place]) -> usize {
        places.iter().filter(|place| lost(place).is_none()).count()
    }

    #[test]
    fn a_source_displaces_its_own_beyond_its_share() {
        let admission = Admission::new(100, Some(2));
        let first = admission.admit(ip("192.0.2.1"));
        let second = admission.admit(ip("::ffff:192.0.2.1"));
        let other = admission.admit(ip("192.0.2.2"));
        let third = admission.admit(ip("192.0.2.1"));
        assert_eq!((lost(&first), lost(&second)), (Some(Dropped::SourceLimit), None));
        assert!(lost(&other).is_none() && lost(&third).is_none());
        let sites = Admission::new(100, Some(1));
        let (one, two) = (sites.admit(ip("2001:db8::1")), sites.admit(ip("2001:db8::ffff:2")));
        assert!(lost(&one).is_some() && lost(&two).is_none());
        let _elsewhere = sites.admit(ip("2001:db8:0:1::1"));
        assert!(lost(&two).is_none());
    }

    #[test]
    fn who_has_the_most_makes_room_and_not_who_came_first() {
        let admission = Admission::new(8, None);
        let single = admission.admit(ip("192.0.2.1"));
        let many = admit(&admission, 7, |_| "198.51.100.9".into());
        let _new = admission.admit(ip("203.0.113.5"));
        assert_eq!((lost(&single), lost(&many[0])), (None, Some(Dropped::Crowded)));
        assert_eq!(left(&many), 6);
        assert_eq!(admission.state().open.len(), 8);
    }

    #[test]
    fn who_has_a_large_network_is_one() {
        let admission = Admission::new(8, Some(64));
        let single = admission.admit(ip("2001:db8:1::1"));
        let many = admit(&admission, 7, |n| format!("2001:db8:2:{n}::1"));
        let again = admit(&admission, 20, |n| format!("2001:db8:2:{}::1", n + 100));
        assert!(lost(&single).is_none());
        assert_eq!(left(&many) + left(&again), 7);
    }

    #[test]
    fn strangers_do_not_displace_a_peer_nor_its_address() {
        let admission = Admission::new(8, None);
        let peer = admission.admit(ip("192.0.2.1"));
        peer.proven(&cluster('1'));
        let known = admission.admit(ip("192.0.2.1"));
        let strangers = admit(&admission, 1000, |n| format!("10.{}.{}.1", n / 256, n % 256));
        assert!(lost(&peer).is_none() && lost(&known).is_none());
        assert_eq!(left(&strangers), 6);
        // The counterpart: without a token, it is one of the strangers.
        let admission = Admission::new(8, None);
        let nobody = admission.admit(ip("192.0.2.1"));
        let _strangers = admit(&admission, 1000, |n| format!("10.{}.{}.1", n / 256, n % 256));
        assert!(lost(&nobody).is_some());
    }

    #[test]
    fn peers_leave_a_quarter_and_the_greediest_peer_makes_room() {
        let admission = Admission::new(8, None);
        let modest = admission.admit(ip("192.0.2.1"));
        modest.proven(&cluster('1'));
        let greedy: Vec<_> = admit(&admission, 40, |n| format!("10.0.{n}.1"));
        // Those that still have a place prove to belong to one peer.
        greedy.iter().for_each(|place| place.proven(&cluster('2')));
        let new = admission.admit(ip("203.0.113.5"));
        assert!(lost(&modest).is_none() && lost(&new).is_none());
        assert_eq!(left(&greedy), 6);
        let more = admit(&admission, 3, |n| format!("203.0.{n}.5"));
        assert_eq!((left(&greedy), lost(&modest)), (5, None), "the strangers have two places now");
        assert_eq!(left(&more), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peers_addresses_are_few_and_are_forgotten() {
        let admission = Admission::new(1000, None);
        for n in 0..20 {
            admission.admit(ip(&format!("192.0.2.{n}"))).proven(&cluster('1'));
        }
        let known = |n: u8| admission.state().is_known(ip(&format!("192.0.2.{n}")));
        assert!(!known(11) && known(12) && known(19));
        tokio::time::advance(KNOWN_FOR).await;
        assert!(!known(19));
    }

    #[test]
    fn nothing_stays_of_closed_connections() {
        let admission = Admission::new(100, None);
        drop(admit(&admission, 9, |n| format!("192.0.2.{n}")));
        assert!(admission.state().open.is_empty());
    }
}
