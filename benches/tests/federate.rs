//! The cost of a compilation in allocations: the same on every machine, and limited.
//!
//! If a test here fails, a change of one peer costs more than before. Either undo that, or raise
//! the limit in the same commit and explain why.

use fedgate_benches::ManyPeers;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts this thread's allocations; the test harness has threads of its own.
struct Counting;

// SAFETY: every call is forwarded unchanged to the system allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of a compilation, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    allocations: usize,
    bytes: usize,
}

fn cost(work: impl FnOnce()) -> Cost {
    let before = (ALLOCATIONS.get(), BYTES.get());
    work();
    Cost { allocations: ALLOCATIONS.get() - before.0, bytes: BYTES.get() - before.1 }
}

const EXPORTS: usize = 10;

/// The first compilation, and one after a change of one peer.
fn measure(peers: usize, services: usize) -> (Cost, Cost) {
    let mut cluster = ManyPeers::new(peers, services, EXPORTS);
    let first = cost(|| drop(cluster.federate()));
    cluster.change_one_service();
    let next = cost(|| drop(cluster.federate()));
    println!("{peers} peers, {services} services each: {first:?}, after a change {next:?}");
    (first, next)
}

/// Measured: 7.1 for each import, 100 for each peer, and 600 for ten exports and the rest.
const FOR_AN_IMPORT: usize = 8;
const FOR_A_PEER: usize = 115;
const FOR_THE_REST: usize = 1_000;

#[test]
fn the_first_compilation_is_linear_in_peers_and_imports() {
    for (peers, services) in [(10, 10), (10, 1_000), (200, 100)] {
        let (first, _) = measure(peers, services);
        let limit = peers * services * FOR_AN_IMPORT + peers * FOR_A_PEER + FOR_THE_REST;
        assert!(first.allocations <= limit, "{first:?}, at most {limit} allocations");
    }
}

/// A compilation reports on all peers, but repeats the imports of the changed one only.
#[test]
fn a_change_of_one_peer_does_not_cost_what_the_others_offer() {
    for (peers, services) in [(200, 10), (200, 300)] {
        let (_, next) = measure(peers, services);
        let limit = services * FOR_AN_IMPORT + peers * FOR_A_PEER + FOR_THE_REST;
        assert!(next.allocations <= limit, "{next:?}, at most {limit} allocations");
    }
}

#[test]
fn costs_are_reproducible() {
    let mut cluster = ManyPeers::new(20, 20, EXPORTS);
    let mut again = || {
        cluster.forget();
        cost(|| drop(cluster.federate()))
    };
    again();
    assert_eq!(again(), again());
}
