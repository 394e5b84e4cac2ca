//! Counters with a bounded number of names, whatever peers there are.

use crate::support::*;
use fedgate_core::{Callers, Mode};
use fedgate_wasm_host::{Client, Proxy};

/// A table whose only service is granted to peers `p<from>` to `p<to>`.
fn many_peers(generation: u64, peers: std::ops::Range<u32>) -> Exports {
    peers.fold(Exports::none(generation).export(WEB), |exports, number| {
        let name = format!("p{number:05}");
        exports.peer(&name, Mode::Enforce).grant(WEB, &name, Callers::Any)
    })
}

fn call_as_all(proxy: &mut Proxy, peers: std::ops::Range<u32>) {
    for number in peers {
        let certificate = certificate(&format!("spiffe://p{number:05}.example/ns/shop/sa/web"));
        let connection = call(proxy, Client::calling(&sni(WEB)).with(&certificate));
        assert_passes(proxy, connection, WEB);
        proxy.client_disconnects(connection);
    }
}

fn peer_counters(proxy: &Proxy) -> usize {
    proxy.metrics().keys().filter(|name| name.starts_with("fedgate.peer_connections.")).count()
}

#[test]
fn thousands_of_peers_share_a_hundred_counters_and_an_overflow() {
    let mut proxy = gateway(&many_peers(1, 0..3_000));
    call_as_all(&mut proxy, 0..3_000);
    assert_eq!(peer_counters(&proxy), 101);
    assert_eq!(decided_for(&proxy, "allowed", "p00000"), 1);
    assert_eq!(decided_for(&proxy, "allowed", "p00099"), 1);
    assert_eq!(decided_for(&proxy, "allowed", "_other"), 2_900);
    assert_eq!(decided(&proxy, "allowed", "granted"), 3_000);
}

#[test]
fn the_operator_sets_how_many_peers_are_named() {
    for (named, expected) in [(0, 1), (5, 6)] {
        let mut proxy = gateway(&many_peers(1, 0..20).with(|options| options.named_peers = named));
        call_as_all(&mut proxy, 0..20);
        assert_eq!(peer_counters(&proxy), expected);
    }
}

#[test]
fn the_number_of_counters_is_bounded_when_peers_change() {
    let mut proxy = gateway(&many_peers(1, 0..10).with(|options| options.named_peers = 10));
    for generation in 1..40_u32 {
        let peers = generation * 10..generation * 10 + 10;
        let exports = many_peers(u64::from(generation) + 1, peers.clone())
            .with(|options| options.named_peers = 10);
        update(&mut proxy, &exports);
        call_as_all(&mut proxy, peers);
    }
    assert!(peer_counters(&proxy) <= 41, "{}", peer_counters(&proxy));
    assert_eq!(decided(&proxy, "allowed", "granted"), 390);
}

#[test]
fn a_name_sent_by_a_stranger_creates_no_counter() {
    let mut proxy = gateway(&Exports::standard(1));
    for number in 0..50 {
        call(&mut proxy, client(WEB, &format!("spiffe://stranger{number}.example/ns/a/sa/b")));
        connect(&mut proxy, &format!("no{number}.such.svc.beta.example:80"), ALPHA);
        proxy.connect(LISTENER, Client::calling(&format!("no-form-{number}")));
    }
    let names = proxy.metrics();
    assert_eq!(peer_counters(&proxy), 0);
    assert!(names.len() <= 6, "{names:?}");
    assert_eq!(decided(&proxy, "refused", "unknown_peer"), 50);
    assert_eq!(decided(&proxy, "refused", "unknown_service"), 50);
    assert_eq!(decided(&proxy, "refused", "bad_sni"), 50);
}

#[test]
fn every_decision_is_counted_once() {
    let mut proxy = gateway(&Exports::standard(1));
    for _ in 0..3 {
        let connection = open(&mut proxy, WEB, ALPHA);
        proxy.client_sends(connection, b"more");
        proxy.server_sends(connection, b"more");
        proxy.advance(1_000);
        proxy.client_ends(connection);
        proxy.server_ends(connection);
    }
    assert_eq!(decided(&proxy, "allowed", "granted"), 3);
    assert_eq!(decided_for(&proxy, "allowed", "alpha"), 3);
    assert_eq!(proxy.metric("fedgate.undecided_connections"), None);
}
