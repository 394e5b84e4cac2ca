//! The cost of a compilation in allocations: the same on every machine, and limited.
//!
//! If a test here fails, a change of one peer costs more than before. Either undo that, or raise
//! the limit in the same commit and explain why.

use fedgate_benches::{Allocated, CountingAllocator, ManyPeers};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const EXPORTS: usize = 10;

/// The first compilation, and one after a change of one peer.
fn measure(peers: usize, services: usize) -> (Allocated, Allocated) {
    let mut cluster = ManyPeers::new(peers, services, EXPORTS);
    let first = Allocated::by(|| drop(cluster.federate()));
    cluster.change_one_service();
    let next = Allocated::by(|| drop(cluster.federate()));
    println!("{peers} peers, {services} services each: {first:?}, after a change {next:?}");
    (first, next)
}

/// Measured: 7.1 for each import, 113 for each peer that says what it sees, and 600 for ten exports
/// and the rest.
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
        Allocated::by(|| drop(cluster.federate()))
    };
    again();
    assert_eq!(again(), again());
}
