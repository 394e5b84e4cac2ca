//! A listener that passes TLS through, next to one that terminates it, with the same table.

use crate::support::*;
use fedgate_wasm_host::{Client, Ending, ListenerSettings, Proxy};

const LEGACY: &str = "legacy.shop.svc.beta.example:80";
/// A second chain; both have the same plugin.
const PASSING: &str = "passing";

fn both(exports: &Exports) -> Proxy {
    let mut proxy = gateway(exports);
    proxy.configure(PASSING, exports.plugin()).unwrap();
    let settings = ListenerSettings::current().passing_through("fedgate.passthrough", &sni(LEGACY));
    proxy.set_listener(PASSING, settings);
    proxy
}

#[test]
fn an_exported_passthrough_service_is_decided_by_its_server_name_alone() {
    let mut proxy = both(&Exports::standard(3).passing_through(LEGACY));
    let connection = proxy.connect(PASSING, Client::calling(&sni(LEGACY)));
    let stream = proxy.stream(connection);
    assert_eq!(
        (stream.ending(), stream.upstream()),
        (None, Some(sni(LEGACY).as_str())),
        "the chain's own cluster"
    );
    assert_eq!(outcome_and_reason(&proxy, connection), ("allowed", "granted"));
    proxy.server_accepts(connection);
    proxy.client_sends(connection, b"hello");
    assert_eq!(proxy.stream(connection).at_server(), b"hello");
    assert_eq!(decided(&proxy, "allowed", "granted"), 1);
    assert!(
        !proxy.metrics().keys().any(|name| name.contains("peer_connections")),
        "the caller is unknown"
    );
}

#[test]
fn only_passthrough_services_pass_on_a_passthrough_listener() {
    for service in
        [WEB, FEED, LONELY, "other.shop.svc.beta.example:80", "legacy.shop.svc.beta.example:81"]
    {
        let mut proxy = both(&Exports::standard(3).passing_through(LEGACY));
        let connection =
            proxy.connect(PASSING, Client::calling(&sni(service)).with(&certificate(ALPHA)));
        assert_refused(&proxy, connection, "unknown_service");
    }
}

#[test]
fn a_passthrough_service_is_unknown_on_a_terminating_listener() {
    let mut proxy = both(&Exports::standard(3).passing_through(LEGACY));
    let connection = proxy.connect(LISTENER, client(LEGACY, ALPHA));
    assert_refused(&proxy, connection, "unknown_service");
    open(&mut proxy, WEB, ALPHA);
}

#[test]
fn a_passthrough_connection_is_closed_within_two_seconds_of_its_withdrawal() {
    let mut proxy = both(&Exports::standard(3).passing_through(LEGACY));
    let connection = proxy.connect(PASSING, Client::calling(&sni(LEGACY)));
    let web = open(&mut proxy, WEB, ALPHA);
    // The same content in another table changes nothing.
    let same = Exports::standard(4).passing_through(LEGACY);
    for listener in [LISTENER, PASSING] {
        proxy.configure(listener, same.plugin()).unwrap();
    }
    proxy.advance(2_000);
    assert!(is_open(&proxy, connection));
    for listener in [LISTENER, PASSING] {
        proxy.configure(listener, Exports::standard(5).plugin()).unwrap();
    }
    proxy.advance(2_000);
    assert_eq!(proxy.stream(connection).ending(), Some(Ending::ByFilter));
    assert_eq!(outcome_and_reason(&proxy, connection), ("refused", "unknown_service"));
    assert_passes(&proxy, web, WEB);
}
