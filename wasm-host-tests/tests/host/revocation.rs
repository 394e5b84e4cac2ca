//! A new table judges the open connections.

use crate::support::*;
use fedgate_core::{Callers, Mode};
use fedgate_wasm_host::{Client, ConnectionId, Ending, Proxy};

/// Connections that are no longer granted are closed within this time after the table's arrival.
const IN_TIME_MS: u64 = 2_000;

#[track_caller]
fn assert_revoked(proxy: &Proxy, connection: ConnectionId, reason: &str) {
    assert_eq!(
        proxy.stream(connection).ending(),
        Some(Ending::ByFilter),
        "{:?}",
        outcome_and_reason(proxy, connection)
    );
    assert_eq!(outcome_and_reason(proxy, connection), ("refused", reason));
}

#[test]
fn only_connections_without_a_grant_are_closed() {
    let standard = || Exports::standard(2);
    for (change, caller, reason) in [
        (standard().without_grant(DB, "gamma"), GAMMA, "not_granted"),
        (standard().without_export(DB), GAMMA, "unknown_service"),
        (standard().grant(DB, "gamma", callers("shop", "batch")), GAMMA, "caller_not_granted"),
        (without_peer(standard(), "gamma"), GAMMA, "unknown_peer"),
    ] {
        let mut proxy = gateway(&Exports::standard(1));
        let revoked = open(&mut proxy, DB, caller);
        let stays = open(&mut proxy, WEB, ALPHA);
        update(&mut proxy, &change);
        proxy.advance(IN_TIME_MS);
        assert_revoked(&proxy, revoked, reason);
        assert_eq!(proxy.stream(revoked).filter_state("wasm.fedgate.generation"), Some("2"));
        assert_eq!(proxy.metric("fedgate.revoked_connections"), Some(1));
        assert_passes(&proxy, stays, WEB);
        proxy.client_sends(stays, b" more");
        assert_eq!(proxy.stream(stays).at_server(), b"hello more");
        assert_refused_now(&mut proxy, DB, caller);
    }
}

fn without_peer(mut exports: Exports, name: &str) -> Exports {
    exports.peers.remove(name);
    exports.grants.values_mut().for_each(|grants| drop(grants.remove(name)));
    exports
}

#[track_caller]
fn assert_refused_now(proxy: &mut Proxy, service: &str, caller: &str) {
    let connection = call(proxy, client(service, caller));
    assert_eq!(outcome_and_reason(proxy, connection).0, "refused");
    assert_eq!(proxy.stream(connection).upstream(), None);
}

#[test]
fn a_revoked_connection_passes_no_byte_before_it_is_closed() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    update(&mut proxy, &Exports::standard(2).without_grant(WEB, "alpha"));
    // The tick that closes it has not come yet.
    proxy.client_sends(connection, b" secret");
    proxy.server_sends(connection, b"secret");
    assert_eq!(proxy.stream(connection).at_server(), b"hello");
    assert_eq!(proxy.stream(connection).at_client(), b"");
    proxy.advance(IN_TIME_MS);
    assert_revoked(&proxy, connection, "not_granted");
}

#[test]
fn an_equal_or_wider_table_closes_nothing() {
    for change in [Exports::standard(2), Exports::standard(2).grant(WEB, "gamma", Callers::Any)] {
        let mut proxy = gateway(&Exports::standard(1));
        let connections = [(WEB, ALPHA), (DB, ALPHA), (DB, GAMMA), (FEED, GAMMA)];
        let connections =
            connections.map(|(service, caller)| (open(&mut proxy, service, caller), service));
        update(&mut proxy, &change);
        proxy.advance(IN_TIME_MS);
        connections
            .iter()
            .for_each(|&(connection, service)| assert_passes(&proxy, connection, service));
        assert_eq!(proxy.metric("fedgate.revoked_connections"), None);
    }
}

#[test]
fn the_end_of_audit_mode_closes_connections_without_a_grant() {
    let mut proxy = gateway(&Exports::standard(1));
    let audited = open(&mut proxy, WEB, DELTA);
    update(&mut proxy, &Exports::standard(2).peer("delta", Mode::Enforce));
    proxy.advance(IN_TIME_MS);
    assert_revoked(&proxy, audited, "not_granted");
}

#[test]
fn a_change_to_audit_mode_closes_nothing() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, DB, ALPHA);
    let narrowed = Exports::standard(2).grant(DB, "alpha", callers("other", "*"));
    update(&mut proxy, &narrowed.peer("alpha", Mode::Audit));
    proxy.advance(IN_TIME_MS);
    assert_passes(&proxy, connection, DB);
}

#[test]
fn a_table_without_exports_closes_all_connections() {
    let mut proxy = gateway(&Exports::standard(1));
    let connections = [(WEB, ALPHA), (DB, GAMMA), (FEED, ALPHA)];
    let connections = connections.map(|(service, caller)| open(&mut proxy, service, caller));
    update(&mut proxy, &Exports::none(2));
    proxy.advance(IN_TIME_MS);
    connections
        .iter()
        .for_each(|&connection| assert_revoked(&proxy, connection, "unknown_service"));
}

#[test]
fn half_closed_connections_are_revoked() {
    let mut proxy = gateway(&Exports::standard(1));
    let [client_ended, server_ended] = [WEB, WEB].map(|service| open(&mut proxy, service, ALPHA));
    proxy.client_ends(client_ended);
    proxy.server_ends(server_ended);
    update(&mut proxy, &Exports::standard(2).without_grant(WEB, "alpha"));
    proxy.advance(IN_TIME_MS);
    assert_revoked(&proxy, client_ended, "not_granted");
    assert_revoked(&proxy, server_ended, "not_granted");
}

#[test]
fn a_revocation_stands_even_if_the_grant_returns_before_the_tick() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    update(&mut proxy, &Exports::standard(2).without_grant(WEB, "alpha"));
    update(&mut proxy, &Exports::standard(3));
    proxy.advance(IN_TIME_MS);
    assert!(!is_open(&proxy, connection));
    open(&mut proxy, WEB, ALPHA);
}

#[test]
fn half_of_ten_thousand_connections_are_revoked() {
    let mut proxy = gateway(&Exports::standard(1));
    let (alpha, gamma) = (certificate(ALPHA), certificate(GAMMA));
    let open = |proxy: &mut Proxy, service, certificate| {
        call(proxy, Client::calling(&sni(service)).with(certificate))
    };
    let (mut revoked, mut stay) = (Vec::new(), Vec::new());
    for _ in 0..5_000 {
        revoked.push(open(&mut proxy, FEED, &alpha));
        stay.push(open(&mut proxy, DB, &gamma));
    }
    assert_eq!(proxy.open_connections(), 10_000);

    update(&mut proxy, &Exports::standard(2).without_grant(FEED, "alpha"));
    proxy.advance(IN_TIME_MS);

    revoked.iter().for_each(|&connection| assert_revoked(&proxy, connection, "not_granted"));
    stay.iter().for_each(|&connection| assert_passes(&proxy, connection, DB));
    assert_eq!(proxy.metric("fedgate.revoked_connections"), Some(5_000));
    assert_eq!(proxy.open_connections(), 5_000);
    assert!(proxy.failures().is_empty());
    // Envoy nests each close in the one before: thousands in one callback would overflow its stack.
    assert!(proxy.most_deferred() <= 64, "{} closes in one callback", proxy.most_deferred());
    proxy.client_sends(stay[0], b" more");
    assert_eq!(proxy.stream(stay[0]).at_server(), b"hello more");
}

#[test]
fn memory_does_not_grow_with_ended_connections() {
    let mut proxy = gateway(&Exports::standard(1));
    let alpha = certificate(ALPHA);
    let rounds = |proxy: &mut Proxy| {
        for _ in 0..1_000 {
            let connection = call(proxy, Client::calling(&sni(WEB)).with(&alpha));
            proxy.client_disconnects(connection);
            proxy.advance(1);
            proxy.connect(LISTENER, Client::calling("outbound_.80_._.no.such.svc.beta.example"));
        }
        proxy.forget_ended();
        proxy.memory_bytes()
    };
    let first = rounds(&mut proxy);
    for _ in 0..4 {
        rounds(&mut proxy);
    }
    assert_eq!(rounds(&mut proxy), first);
}

#[test]
fn memory_does_not_grow_with_replaced_tables() {
    let mut proxy = gateway(&Exports::standard(0));
    let connection = open(&mut proxy, WEB, ALPHA);
    let rounds = |proxy: &mut Proxy, from: u64| {
        for generation in from..from + 50 {
            update(proxy, &Exports::standard(generation));
            proxy.advance(600);
        }
        proxy.memory_bytes()
    };
    let first = rounds(&mut proxy, 1);
    assert_eq!(rounds(&mut proxy, 100), first);
    assert_passes(&proxy, connection, WEB);
}
