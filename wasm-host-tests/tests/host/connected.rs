//! The fallback for Envoys before 1.37: tcp_proxy has no early data, so it must start at once.

use crate::support::*;
use fedgate_core::WaitForIdentity;
use fedgate_wasm_host::{Client, Ending, Handshake, ListenerSettings, Proxy};

fn old_envoy(wait: WaitForIdentity) -> Proxy {
    let mut proxy = gateway(&Exports::standard(1).with(|options| options.wait_for_identity = wait));
    proxy.set_listener(LISTENER, ListenerSettings::envoy_1_36());
    proxy
}

/// The trap that the fallback is for: nobody reads from the client, so the handshake never ends.
#[test]
fn pausing_before_a_tcp_proxy_without_early_data_stalls_the_handshake() {
    let mut proxy = old_envoy(WaitForIdentity::Paused);
    let connection = call(&mut proxy, client(WEB, ALPHA));
    proxy.advance(10_000);
    assert_eq!(proxy.stream(connection).handshake(), Handshake::Hello);
    proxy.advance(10_000);
    assert_refused(&proxy, connection, "no_identity");
}

#[test]
fn the_named_service_is_connected_at_once_and_gets_no_byte_before_the_decision() {
    let mut proxy = old_envoy(WaitForIdentity::Connected);
    let connection = connect(&mut proxy, WEB, ALPHA);
    assert_passes(&proxy, connection, WEB);
    proxy.client_finishes_handshake(connection);
    assert_eq!(verdict(&proxy, connection), ("-", "-"));
    proxy.client_sends(connection, b"hello");
    assert_eq!(verdict(&proxy, connection), ("allowed", "granted"));
    assert_eq!(proxy.stream(connection).at_server(), b"hello");
    proxy.server_sends(connection, b"hi");
    assert_eq!(proxy.stream(connection).at_client(), b"hi");
}

#[test]
fn a_refused_client_exchanges_no_byte() {
    for (caller, reason) in [(GAMMA, "not_granted"), (STRANGER, "unknown_peer")] {
        let mut proxy = old_envoy(WaitForIdentity::Connected);
        let connection = call(&mut proxy, client(WEB, caller));
        let stream = proxy.stream(connection);
        assert_eq!(verdict(&proxy, connection), ("refused", reason));
        assert_eq!(stream.ending(), Some(Ending::ByFilter));
        assert_eq!((stream.at_server(), stream.at_client()), (&b""[..], &b""[..]));
    }
}

#[test]
fn a_service_that_is_not_exported_is_not_touched() {
    let mut proxy = old_envoy(WaitForIdentity::Connected);
    let connection = call(&mut proxy, client("secret.shop.svc.beta.example:80", ALPHA));
    assert_refused(&proxy, connection, "unknown_service");
}

#[test]
fn a_server_that_speaks_before_the_handshake_loses_the_connection() {
    for shows_certificate in [false, true] {
        let mut proxy = old_envoy(WaitForIdentity::Connected);
        let connection = connect(&mut proxy, FEED, ALPHA);
        if shows_certificate {
            proxy.client_shows_certificate(connection);
        }
        proxy.server_sends(connection, b"220 ready");
        let stream = proxy.stream(connection);
        assert_eq!(verdict(&proxy, connection), ("refused", "no_identity"));
        assert_eq!(stream.ending(), Some(Ending::ByFilter));
        assert_eq!((stream.at_client(), stream.lost_to_client()), (&b""[..], 9));
    }
}

/// These Envoys have no way to tell a filter that the handshake is finished, so it does not help the server to be late.
#[test]
fn a_server_that_speaks_before_its_client_loses_the_connection() {
    let mut proxy = old_envoy(WaitForIdentity::Connected);
    let connection = connect(&mut proxy, FEED, ALPHA);
    proxy.client_finishes_handshake(connection);
    proxy.server_sends(connection, b"220 ready");
    assert_eq!(verdict(&proxy, connection), ("refused", "no_identity"));
    assert_eq!(proxy.stream(connection).at_client(), b"");
}

#[test]
fn a_server_that_speaks_after_the_handshake_is_heard_where_that_can_be_known() {
    for settings in
        [ListenerSettings::envoy_1_40(), ListenerSettings::envoy_1_37().telling_of_handshakes("fedgate.handshake")]
    {
        let mut proxy = old_envoy(WaitForIdentity::Connected);
        proxy.set_listener(LISTENER, settings);
        let connection = connect(&mut proxy, FEED, ALPHA);
        proxy.client_finishes_handshake(connection);
        proxy.server_sends(connection, b"220 ready");
        assert_eq!(verdict(&proxy, connection), ("allowed", "granted"));
        assert_eq!(proxy.stream(connection).at_client(), b"220 ready");
    }
}

#[test]
fn a_silent_client_is_refused_in_the_end() {
    let mut proxy = old_envoy(WaitForIdentity::Connected);
    let connection = proxy.connect(LISTENER, Client::calling(&sni(WEB)));
    proxy.advance(20_000);
    assert_eq!(verdict(&proxy, connection), ("refused", "no_identity"));
    assert_eq!(proxy.stream(connection).ending(), Some(Ending::ByFilter));
}

#[test]
fn a_slow_server_holds_up_the_handshake_and_no_more() {
    let mut proxy = old_envoy(WaitForIdentity::Connected);
    proxy.make_slow(&cluster(WEB));
    let connection = call(&mut proxy, client(WEB, ALPHA));
    proxy.advance(1_000);
    assert_eq!(proxy.stream(connection).handshake(), Handshake::Hello);
    proxy.server_accepts(connection);
    assert_eq!(proxy.stream(connection).at_server(), b"hello");
}

#[test]
fn a_connection_keeps_the_way_of_waiting_that_it_came_with() {
    let mut proxy = gateway(&Exports::standard(1));
    let paused = connect(&mut proxy, FEED, ALPHA);
    update(&mut proxy, &Exports::standard(2).with(|options| options.wait_for_identity = WaitForIdentity::Connected));
    let connected = connect(&mut proxy, FEED, ALPHA);
    assert_eq!(proxy.stream(paused).upstream(), None);
    assert_eq!(proxy.stream(connected).upstream(), Some(cluster(FEED).as_str()));
    for connection in [paused, connected] {
        proxy.client_finishes_handshake(connection);
    }
    proxy.advance(1_000);
    for connection in [paused, connected] {
        assert_passes(&proxy, connection, FEED);
        assert_eq!(verdict(&proxy, connection), ("allowed", "granted"));
    }
}
