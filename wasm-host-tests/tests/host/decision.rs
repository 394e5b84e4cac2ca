//! Every row of the decision table: each refusal next to a similar call that passes.

use crate::support::*;
use fedgate_wasm_host::{Certificate, Client};

/// Asserts a refusal right after the ClientHello, before any byte of a certificate is read.
#[track_caller]
fn assert_refused_early(client: Client, reason: &str) {
    let mut proxy = gateway(&Exports::standard(7));
    let connection = proxy.connect(LISTENER, client);
    assert_refused(&proxy, connection, reason);
    assert_eq!(decided(&proxy, "refused", reason), 1);
    assert_eq!(proxy.stream(connection).filter_state("wasm.fedgate.generation"), Some("7"));
    assert_eq!(proxy.stream(connection).filter_state("wasm.fedgate.peer"), None);
    assert!(!proxy.metrics().keys().any(|name| name.contains("peer_connections")));
}

/// Asserts a refusal after the handshake.
#[track_caller]
fn assert_refused_late(client: Client, reason: &str, peer: Option<&str>) {
    let mut proxy = gateway(&Exports::standard(7));
    let connection = proxy.connect(LISTENER, client);
    assert!(
        is_open(&proxy, connection),
        "refused before the handshake: {:?}",
        outcome_and_reason(&proxy, connection)
    );
    proxy.client_finishes_handshake(connection);
    proxy.client_sends(connection, b"hello");
    assert_refused(&proxy, connection, reason);
    assert_eq!(decided(&proxy, "refused", reason), 1);
    assert_eq!(proxy.stream(connection).filter_state("wasm.fedgate.peer"), peer);
    assert_eq!(decided_for(&proxy, "refused", peer.unwrap_or("_other")), u64::from(peer.is_some()));
}

#[track_caller]
fn assert_allowed(client: Client, service: &str, peer: &str) {
    let mut proxy = gateway(&Exports::standard(7));
    let connection = call(&mut proxy, client);
    assert_passes(&proxy, connection, service);
    assert_eq!(outcome_and_reason(&proxy, connection), ("allowed", "granted"));
    let stream = proxy.stream(connection);
    assert_eq!(stream.at_server(), b"hello");
    assert_eq!(stream.filter_state("wasm.fedgate.peer"), Some(peer));
    assert_eq!(stream.filter_state("wasm.fedgate.service"), Some(service));
    assert_eq!(stream.filter_state("wasm.fedgate.generation"), Some("7"));
    assert_eq!(decided(&proxy, "allowed", "granted"), 1);
    assert_eq!(decided_for(&proxy, "allowed", peer), 1);
}

fn named(server_name: &str) -> Client {
    Client::calling(server_name).with(&certificate(ALPHA))
}

#[test]
fn a_granted_connection_passes() {
    assert_allowed(client(WEB, ALPHA), WEB, "alpha");
    assert_allowed(client(DB, GAMMA), DB, "gamma");
}

#[test]
fn a_client_without_server_name_is_refused() {
    assert_refused_early(Client::without_server_name().with(&certificate(ALPHA)), "no_sni");
    assert_allowed(named(&sni(WEB)), WEB, "alpha");
}

#[test]
fn a_server_name_of_another_form_is_refused() {
    for name in [
        "web.shop.svc.beta.example",
        "outbound_.80_.web.shop.svc.beta.example",
        "outbound_.080_._.web.shop.svc.beta.example",
        "outbound|80||web.shop.svc.beta.example",
        "outbound_.80_._.web.shop.svc.beta.example ",
        "outbound_.99999999999999999999_._.web.shop.svc.beta.example",
        &format!("outbound_.80_._.{}", "a".repeat(60_000)),
        "\u{1f4a9}",
    ] {
        assert_refused_early(named(name), "bad_sni");
    }
    assert_allowed(named("outbound_.80_._.web.shop.svc.beta.example"), WEB, "alpha");
}

#[test]
fn case_and_subset_of_a_server_name_do_not_matter() {
    assert_allowed(named("outbound_.80_._.WEB.shop.SVC.beta.Example"), WEB, "alpha");
    assert_allowed(named("outbound_.80_.v1_.web.shop.svc.beta.example"), WEB, "alpha");
}

#[test]
fn a_service_that_is_not_exported_is_refused() {
    for service in [
        "secret.shop.svc.beta.example:80",
        "web.shop.svc.beta.example:81",
        "web.shop.svc.beta.example.evil:80",
    ] {
        assert_refused_early(client(service, ALPHA), "unknown_service");
    }
    assert_allowed(client(WEB, ALPHA), WEB, "alpha");
}

#[test]
fn the_access_log_names_a_refused_service_only_if_its_server_name_is_well_formed() {
    let mut proxy = gateway(&Exports::standard(1));
    let unknown = connect(&mut proxy, "secret.shop.svc.beta.example:80", ALPHA);
    let bad = proxy.connect(LISTENER, named("x\ny: forged log line"));
    let service = |id| proxy.stream(id).filter_state("wasm.fedgate.service");
    assert_eq!(service(unknown), Some("secret.shop.svc.beta.example:80"));
    assert_eq!(service(bad), None);
}

#[test]
fn a_client_without_certificate_is_refused() {
    assert_refused_late(Client::calling(&sni(WEB)), "no_identity", None);
    assert_refused_late(
        Client::calling(&sni(WEB)).with(&Certificate::new(&[])),
        "no_identity",
        None,
    );
    assert_allowed(client(WEB, ALPHA), WEB, "alpha");
}

#[test]
fn a_uri_san_that_is_not_a_workload_identity_is_refused() {
    for uri in [
        "https://alpha.example/ns/shop/sa/web-1",
        "spiffe://alpha.example",
        "spiffe://alpha.example/",
        "spiffe://ALPHA.example/ns/shop/sa/web-1",
        "spiffe://user@alpha.example/ns/shop/sa/web-1",
        "spiffe://alpha.example:443/ns/shop/sa/web-1",
        "spiffe://alpha.example/ns/shop/sa/../../../x%2Fy",
        "spiffe://alpha.example/ns/shop/sa/web-1,spiffe://gamma.example/ns/shop/sa/web-1",
        &format!("spiffe://alpha.example/{}", "a".repeat(20_000)),
    ] {
        assert_refused_late(client(WEB, uri), "bad_identity", None);
    }
    assert_allowed(client(WEB, "spiffe://alpha.example/any/path"), WEB, "alpha");
}

#[test]
fn a_second_uri_san_is_refused_even_if_the_first_would_pass() {
    let both = |first, second| Certificate::new(&[first, second]);
    let calls = |certificate: &Certificate| Client::calling(&sni(WEB)).with(certificate);
    assert_refused_late(calls(&both(ALPHA, GAMMA)), "bad_identity", None);
    assert_refused_late(calls(&both(ALPHA, ALPHA)), "bad_identity", None);
    assert_refused_late(calls(&both(GAMMA, ALPHA)), "bad_identity", None);
    assert_refused_late(calls(&both(ALPHA, "https://alpha.example")), "bad_identity", None);
    assert_allowed(calls(&certificate(ALPHA)), WEB, "alpha");
}

#[test]
fn an_identity_of_an_unknown_trust_domain_is_refused() {
    assert_refused_late(client(WEB, STRANGER), "unknown_peer", None);
    assert_refused_late(
        client(WEB, "spiffe://alpha.example.evil/ns/shop/sa/web-1"),
        "unknown_peer",
        None,
    );
    // The gateway's own trust domain does not belong to a peer either.
    assert_refused_late(
        client(WEB, "spiffe://beta.example/ns/shop/sa/web-1"),
        "unknown_peer",
        None,
    );
    assert_allowed(client(WEB, ALPHA), WEB, "alpha");
}

#[test]
fn a_peer_without_a_grant_on_the_service_is_refused() {
    assert_refused_late(client(WEB, GAMMA), "not_granted", Some("gamma"));
    assert_refused_late(client(LONELY, ALPHA), "not_granted", Some("alpha"));
    assert_allowed(client(WEB, ALPHA), WEB, "alpha");
    assert_allowed(client(DB, GAMMA), DB, "gamma");
}

#[test]
fn callers_outside_the_grant_are_refused() {
    assert_refused_late(client(DB, ALPHA_OTHER), "caller_not_granted", Some("alpha"));
    assert_refused_late(
        client(DB, "spiffe://alpha.example/ns/other/sa/web-1"),
        "caller_not_granted",
        Some("alpha"),
    );
    assert_refused_late(
        client(DB, "spiffe://alpha.example/some/path"),
        "caller_not_granted",
        Some("alpha"),
    );
    assert_allowed(client(DB, ALPHA), DB, "alpha");
}

#[test]
fn a_gateway_without_a_table_refuses_all() {
    let mut proxy = proxy();
    proxy.configure(LISTENER, fedgate_wasm_host::Plugin::new("fedgate", "")).unwrap();
    let connection = connect(&mut proxy, WEB, ALPHA);
    assert_refused(&proxy, connection, "no_table");
    assert_eq!(proxy.stream(connection).filter_state("wasm.fedgate.generation"), None);
    update(&mut proxy, &Exports::standard(1));
    open(&mut proxy, WEB, ALPHA);
}

#[test]
fn a_table_without_exports_refuses_all() {
    let mut proxy = gateway(&Exports::none(1));
    let connection = connect(&mut proxy, WEB, ALPHA);
    assert_refused(&proxy, connection, "unknown_service");
}

#[test]
fn an_audited_peer_passes_and_is_reported() {
    for (service, reason) in [(WEB, "not_granted"), (DB, "caller_not_granted")] {
        let mut proxy = gateway(&Exports::standard(1));
        let connection = call(&mut proxy, client(service, DELTA));
        assert_passes(&proxy, connection, service);
        assert_eq!(outcome_and_reason(&proxy, connection), ("audited", reason));
        assert_eq!(decided(&proxy, "audited", reason), 1);
        assert_eq!(decided_for(&proxy, "audited", "delta"), 1);
        assert_eq!(proxy.stream(connection).at_server(), b"hello");
    }
}

#[test]
fn audit_mode_does_not_overrule_the_owner() {
    assert_refused_late(client(FEED, DELTA), "not_granted", Some("delta"));
    assert_refused_late(client(LONELY, DELTA), "not_granted", Some("delta"));
    assert_refused_early(client("secret.shop.svc.beta.example:80", DELTA), "unknown_service");
}

#[test]
fn a_granted_connection_of_an_audited_peer_is_allowed() {
    assert_allowed(client(DB, "spiffe://delta.example/ns/shop/sa/web-7"), DB, "delta");
}
