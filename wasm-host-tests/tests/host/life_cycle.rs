//! A connection's life: events that come in an unexpected order, or not at all.

use crate::support::*;
use fedgate_wasm_host::{Client, Ending, Handshake, ListenerSettings, Proxy};

/// The module exports no other callbacks of a connection.
const LIFE: [&str; 4] =
    ["on_context_create", "on_new_connection", "on_downstream_data", "on_delete"];

#[test]
fn callbacks_arrive_in_the_order_of_envoy() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    proxy.client_disconnects(connection);
    assert_eq!(proxy.stream(connection).callbacks(), LIFE);
    let refused = connect(&mut proxy, "secret.shop.svc.beta.example:80", ALPHA);
    assert_eq!(
        proxy.stream(refused).callbacks(),
        ["on_context_create", "on_new_connection", "on_delete"]
    );
}

#[test]
fn a_client_that_sends_only_a_client_hello_reaches_no_service() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = connect(&mut proxy, WEB, ALPHA);
    proxy.advance(10_000);
    assert!(is_open(&proxy, connection));
    assert_eq!(proxy.stream(connection).upstream(), None);
    // Ticks during the handshake have not decided anything.
    proxy.client_finishes_handshake(connection);
    proxy.client_sends(connection, b"hello");
    assert_passes(&proxy, connection, WEB);
}

/// Why the listener needs `max_early_data_bytes`: without it, nothing is read from the client, so
/// the handshake never ends.
#[test]
fn pausing_before_a_tcp_proxy_without_early_data_stalls_the_handshake() {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.set_listener(LISTENER, ListenerSettings::current().without_early_data());
    let connection = call(&mut proxy, client(WEB, ALPHA));
    proxy.advance(10_000);
    assert_eq!(proxy.stream(connection).handshake(), Handshake::Hello);
    proxy.advance(10_000);
    assert_refused(&proxy, connection, "no_identity");
}

#[test]
fn a_handshake_that_exceeds_the_timeout_is_refused() {
    let mut proxy =
        gateway(&Exports::standard(1).with(|options| options.identity_timeout_ms = 1_000));
    let slow = connect(&mut proxy, WEB, ALPHA);
    let silent = connect(&mut proxy, WEB, ALPHA);
    proxy.advance(900);
    proxy.client_finishes_handshake(slow);
    proxy.client_sends(slow, b"hello");
    proxy.advance(700);
    assert_passes(&proxy, slow, WEB);
    assert_refused(&proxy, silent, "no_identity");
}

#[test]
fn a_clock_correction_does_not_time_out_handshakes() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = connect(&mut proxy, WEB, ALPHA);
    proxy.advance(1_000);
    proxy.correct_clock(3_600_000);
    proxy.advance(1_000);
    proxy.correct_clock(-7_200_000);
    proxy.advance(1_000);
    assert!(is_open(&proxy, connection));
    proxy.advance(20_000);
    assert_refused(&proxy, connection, "no_identity");
}

#[test]
fn a_server_may_send_first() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = connect(&mut proxy, FEED, GAMMA);
    proxy.advance(50);
    proxy.client_finishes_handshake(connection);
    assert_eq!(proxy.stream(connection).upstream(), None);
    proxy.advance(25);
    assert_passes(&proxy, connection, FEED);
    assert_eq!(outcome_and_reason(&proxy, connection), ("allowed", "granted"));
    proxy.server_sends(connection, b"220 ready");
    assert_eq!(proxy.stream(connection).at_client(), b"220 ready");
    proxy.client_sends(connection, b"EHLO");
    assert_eq!(proxy.stream(connection).at_server(), b"EHLO");
}

#[test]
fn a_server_that_sends_first_is_not_reached_by_a_refused_client() {
    for (service, caller, reason) in [(FEED, STRANGER, "unknown_peer"), (WEB, GAMMA, "not_granted")]
    {
        let mut proxy = gateway(&Exports::standard(1));
        let connection = connect(&mut proxy, service, caller);
        proxy.client_finishes_handshake(connection);
        proxy.advance(50);
        assert_refused(&proxy, connection, reason);
    }
}

#[test]
fn a_finished_handshake_is_noticed_despite_new_connections() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = connect(&mut proxy, FEED, ALPHA);
    proxy.client_finishes_handshake(connection);
    // Setting the tick period at each new connection would postpone the tick forever.
    for _ in 0..50 {
        connect(&mut proxy, WEB, ALPHA);
        proxy.advance(1);
    }
    assert_passes(&proxy, connection, FEED);
}

#[test]
fn unfinished_handshakes_do_not_starve_other_connections() {
    let mut proxy = gateway(&Exports::standard(1));
    let certificate = certificate(ALPHA);
    for _ in 0..2_000 {
        proxy.connect(LISTENER, Client::calling(&sni(WEB)).with(&certificate));
    }
    proxy.advance(2_000);
    let connection = connect(&mut proxy, FEED, ALPHA);
    proxy.client_finishes_handshake(connection);
    proxy.advance(500);
    assert_passes(&proxy, connection, FEED);
    assert!(proxy.most_deferred() <= 64);
}

#[test]
fn a_client_may_half_close_before_the_decision() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = connect(&mut proxy, WEB, ALPHA);
    proxy.client_sends(connection, b"all of it");
    proxy.client_finishes_handshake(connection);
    proxy.client_ends(connection);
    assert_passes(&proxy, connection, WEB);
    assert_eq!(proxy.stream(connection).at_server(), b"all of it");
    assert!(proxy.stream(connection).end_at_server());
    proxy.server_sends(connection, b"answer");
    proxy.server_ends(connection);
    assert_eq!(proxy.stream(connection).at_client(), b"answer");
    assert_eq!(proxy.stream(connection).ending(), Some(Ending::ByServer));
    let end = ["on_upstream_data", "on_upstream_data", "on_delete"];
    assert!(
        proxy.stream(connection).callbacks().ends_with(&end),
        "{:?}",
        proxy.stream(connection).callbacks()
    );
}

#[test]
fn a_half_close_without_data_is_decided_like_data() {
    for (caller, passes) in [(ALPHA, true), (GAMMA, false)] {
        let mut proxy = gateway(&Exports::standard(1));
        let connection = connect(&mut proxy, WEB, caller);
        proxy.client_finishes_handshake(connection);
        proxy.client_ends(connection);
        match passes {
            true => assert!(proxy.stream(connection).end_at_server()),
            false => assert_refused(&proxy, connection, "not_granted"),
        }
    }
}

#[test]
fn a_server_may_half_close_first() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    proxy.server_ends(connection);
    assert!(is_open(&proxy, connection));
    proxy.client_sends(connection, b" more");
    assert_eq!(proxy.stream(connection).at_server(), b"hello more");
    proxy.client_ends(connection);
    assert_eq!(proxy.stream(connection).ending(), Some(Ending::ByServer));
}

#[test]
fn a_client_that_disconnects_while_paused_leaves_nothing_behind() {
    let mut proxy = gateway(&Exports::standard(1));
    let hello = connect(&mut proxy, WEB, ALPHA);
    let handshake = connect(&mut proxy, WEB, ALPHA);
    proxy.client_finishes_handshake(handshake);
    for connection in [hello, handshake] {
        proxy.client_disconnects(connection);
        assert_eq!(proxy.stream(connection).ending(), Some(Ending::ByClient));
    }
    assert_eq!(proxy.metric("fedgate.undecided_connections"), Some(2));
    assert_back_to_slow_ticks(&mut proxy);
    assert_eq!(decided(&proxy, "refused", "no_identity"), 0);
    open(&mut proxy, WEB, ALPHA);
}

#[test]
fn a_failed_handshake_leaves_nothing_behind() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = connect(&mut proxy, WEB, ALPHA);
    proxy.client_ends(connection);
    assert_eq!(proxy.stream(connection).ending(), Some(Ending::ByClient));
    assert_back_to_slow_ticks(&mut proxy);
}

#[track_caller]
fn assert_back_to_slow_ticks(proxy: &mut Proxy) {
    proxy.advance(1_000);
    let before = proxy.ticks();
    proxy.advance(10_000);
    assert_eq!(proxy.open_connections(), 0);
    assert!(
        (20..=25).contains(&(proxy.ticks() - before)),
        "{} ticks in 10 s",
        proxy.ticks() - before
    );
    assert!(proxy.failures().is_empty());
}

#[test]
fn ticks_are_slow_unless_a_connection_waits() {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.advance(10_000);
    assert!((20..=25).contains(&proxy.ticks()), "{}", proxy.ticks());
    let connection = open(&mut proxy, WEB, ALPHA);
    proxy.advance(1_000);
    let before = proxy.ticks();
    proxy.advance(10_000);
    assert!((20..=25).contains(&(proxy.ticks() - before)), "an open connection costs ticks");
    proxy.client_disconnects(connection);
    assert_back_to_slow_ticks(&mut proxy);
}

#[test]
fn a_reused_context_id_is_another_connection() {
    let mut proxy = gateway(&Exports::standard(1));
    let waiting = connect(&mut proxy, WEB, ALPHA);
    let number = proxy.stream(waiting).context();
    proxy.client_disconnects(waiting);
    proxy.set_next_context(number);
    let refused = call(&mut proxy, client(FEED, STRANGER));
    assert_eq!(proxy.stream(refused).context(), number);
    assert_refused(&proxy, refused, "unknown_peer");
    proxy.set_next_context(number);
    let passes = connect(&mut proxy, FEED, ALPHA);
    assert_eq!(proxy.stream(passes).context(), number);
    proxy.client_finishes_handshake(passes);
    proxy.advance(20_000);
    assert_passes(&proxy, passes, FEED);
}

#[test]
fn a_reused_context_id_inherits_no_revocation() {
    let mut proxy = gateway(&Exports::standard(1));
    let revoked = open(&mut proxy, WEB, ALPHA);
    let number = proxy.stream(revoked).context();
    update(&mut proxy, &Exports::standard(2).without_grant(WEB, "alpha"));
    assert!(is_open(&proxy, revoked), "closed in the callback that configures");
    proxy.client_disconnects(revoked);
    proxy.set_next_context(number);
    let granted = open(&mut proxy, DB, GAMMA);
    assert_eq!(proxy.stream(granted).context(), number);
    proxy.advance(2_000);
    assert_passes(&proxy, granted, DB);
}

#[test]
fn tcp_proxy_keeps_the_cluster_it_started_with() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = connect(&mut proxy, WEB, ALPHA);
    assert_eq!(proxy.stream(connection).filter_state("envoy.tcp_proxy.cluster"), None);
    proxy.client_finishes_handshake(connection);
    proxy.client_sends(connection, b"hello");
    let stream = proxy.stream(connection);
    assert_eq!(stream.filter_state("envoy.tcp_proxy.cluster"), Some(cluster(WEB).as_str()));
    assert_eq!(stream.upstream(), Some(cluster(WEB).as_str()));
}

#[test]
fn a_missing_cluster_ends_the_connection() {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.remove_cluster(&cluster(WEB));
    let connection = call(&mut proxy, client(WEB, ALPHA));
    assert_eq!(proxy.stream(connection).ending(), Some(Ending::NoCluster));
    assert_eq!(outcome_and_reason(&proxy, connection), ("allowed", "granted"));
}

#[test]
fn no_data_is_lost_while_the_server_is_slow_to_accept() {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.make_slow(&cluster(WEB));
    let connection = call(&mut proxy, client(WEB, ALPHA));
    proxy.client_sends(connection, b" again");
    proxy.advance(1_000);
    proxy.server_accepts(connection);
    assert_eq!(proxy.stream(connection).at_server(), b"hello again");
}

#[test]
fn a_new_table_judges_waiting_connections() {
    for (change, expected) in [
        (Exports::standard(2), ("allowed", "granted")),
        (Exports::standard(2).without_grant(WEB, "alpha"), ("refused", "not_granted")),
        (Exports::standard(2).without_export(WEB), ("refused", "unknown_service")),
    ] {
        let mut proxy = gateway(&Exports::standard(1));
        let connection = connect(&mut proxy, WEB, ALPHA);
        update(&mut proxy, &change);
        proxy.client_finishes_handshake(connection);
        proxy.client_sends(connection, b"hello");
        proxy.advance(10);
        assert_eq!(outcome_and_reason(&proxy, connection), expected);
        assert_eq!(proxy.stream(connection).filter_state("wasm.fedgate.generation"), Some("2"));
        let passes = expected.0 == "allowed";
        assert_eq!(proxy.stream(connection).upstream().is_some(), passes);
        assert_eq!(is_open(&proxy, connection), passes);
    }
}

#[test]
fn a_new_table_can_grant_waiting_connections() {
    let mut proxy = gateway(&Exports::standard(1).without_grant(WEB, "alpha"));
    let connection = connect(&mut proxy, WEB, ALPHA);
    update(&mut proxy, &Exports::standard(2));
    proxy.client_finishes_handshake(connection);
    proxy.client_sends(connection, b"hello");
    assert_passes(&proxy, connection, WEB);
}
