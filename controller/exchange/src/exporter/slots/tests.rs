use super::known::{ADDRESSES_PER_PEER, KNOWN_FOR};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cluster(digit: char) -> ClusterUuid {
    let digits = |count| String::from(digit).repeat(count);
    ClusterUuid::parse(&[digits(8), digits(4), digits(4), digits(4), digits(12)].join("-")).unwrap()
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
    let known = |n: u8| pool.state().known.contains(ip(&format!("192.0.2.{n}")));
    assert!(!known(11) && known(12) && known(19));
    assert_eq!(pool.state().known.len(), ADDRESSES_PER_PEER);
    // Another peer at one of them keeps it known.
    pool.acquire(ip("192.0.2.12")).mark_proven(&cluster('2'));
    for n in 20..28 {
        pool.acquire(ip(&format!("192.0.2.{n}"))).mark_proven(&cluster('1'));
    }
    assert!(known(12) && !known(13) && known(27));
    assert_eq!(pool.state().known.len(), ADDRESSES_PER_PEER + 1);
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
