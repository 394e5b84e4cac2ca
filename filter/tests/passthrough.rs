//! Connections whose TLS the listener passes through.

mod support;

use fedgate_core::Options;
use std::time::Duration;
use support::*;

const LEGACY: &str = "legacy.shop.svc.beta.example:80";

fn tables() -> (String, String) {
    let both =
        json(&table(1, PEERS, &["web.shop.svc.beta.example:80=alpha", LEGACY]), Options::default());
    let without =
        json(&table(2, PEERS, &["web.shop.svc.beta.example:80=alpha"]), Options::default());
    (both, without)
}

#[test]
fn a_passthrough_connection_passes_at_once_to_the_listeners_own_cluster() {
    let mut gateway = Gateway::with(&tables().0);
    let client = gateway.connect_passing_through(LEGACY);
    assert_eq!(
        gateway.upstream(client).as_deref(),
        Some("black-hole"),
        "the cluster must be left as the chain has it"
    );
    assert!(gateway.downstream_data(client) && gateway.upstream_data(client));
    assert_eq!(
        (gateway.filter_state(client, "outcome").as_deref(), gateway.reason(client).as_str()),
        (Some("allowed"), "granted")
    );
    assert_eq!(gateway.filter_state(client, "service").as_deref(), Some(LEGACY));
    assert_eq!(gateway.filter_state(client, "peer"), None);
}

#[test]
fn a_service_not_exported_as_passthrough_is_unknown_on_a_passthrough_chain() {
    for service in [WEB, "other.shop.svc.beta.example:80", "legacy.shop.svc.beta.example:81"] {
        let mut gateway = Gateway::with(&tables().0);
        let client = gateway.connect_passing_through(service);
        assert!(!gateway.is_open(client), "{service}");
        assert_eq!(
            (gateway.reason(client).as_str(), gateway.upstream(client)),
            ("unknown_service", None)
        );
    }
    let mut gateway = Gateway::new();
    gateway.configure("fedgate", "").unwrap();
    let client = gateway.connect_passing_through(LEGACY);
    assert_eq!(gateway.reason(client), "no_table");
}

#[test]
fn a_passthrough_service_is_unknown_on_a_terminating_chain() {
    let mut gateway = Gateway::with(&tables().0);
    let client = gateway.connect(LEGACY);
    assert!(!gateway.is_open(client));
    assert_eq!(
        (gateway.reason(client).as_str(), gateway.upstream(client)),
        ("unknown_service", None)
    );
    assert!(gateway.call_as(ALPHA, WEB), "the others go on");
}

#[test]
fn a_new_table_closes_passthrough_connections_that_it_no_longer_exports() {
    let terminated = json(
        &table(2, PEERS, &["web.shop.svc.beta.example:80=alpha", &format!("{LEGACY}=alpha")]),
        Options::default(),
    );
    for next in [tables().1, terminated] {
        let mut gateway = Gateway::with(&tables().0);
        let (legacy, web) = (gateway.connect_passing_through(LEGACY), gateway.connect(WEB));
        gateway.handshake(web, ALPHA);
        assert!(gateway.downstream_data(web));
        gateway.configure("fedgate", &next).unwrap();
        gateway.tick_until_calm();
        assert!(!gateway.is_open(legacy) && gateway.is_open(web));
        assert_eq!(gateway.reason(legacy), "unknown_service");
    }
}

#[test]
fn an_equal_table_keeps_passthrough_connections_open() {
    let mut gateway = Gateway::with(&tables().0);
    let client = gateway.connect_passing_through(LEGACY);
    gateway.configure("fedgate", &json(&table(2, PEERS, &[LEGACY]), Options::default())).unwrap();
    gateway.tick_after(Duration::from_secs(60));
    assert!(gateway.is_open(client) && gateway.downstream_data(client));
    gateway.hang_up(client);
}
