//! What is counted, and that it stays bounded.

mod support;

use fedgate_core::Options;
use std::collections::BTreeSet;
use support::*;

const PER_PEER: &str = "fedgate.peer_connections.outcome.allowed.peer.";

fn peers(names: &[String], generation: u64, named_peers: u32) -> String {
    let peers: Vec<String> = names.iter().map(|name| format!("{name}={name}.example")).collect();
    let export = format!("{WEB}={}", names.join("+"));
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    json(&table(generation, &peers, &[&export]), Options { named_peers, ..Options::default() })
}

fn call(gateway: &mut Gateway, peer: &str) {
    assert!(gateway.call_as(&format!("spiffe://{peer}.example/ns/shop/sa/web"), WEB));
}

#[test]
fn gauges_show_the_table_in_force() {
    let mut gateway = Gateway::with(&usual());
    let shown =
        |gateway: &Gateway| ["generation", "rows"].map(|name| gateway.process.metric(&format!("fedgate.table.{name}")));
    assert_eq!(shown(&gateway), [1, 2]);
    gateway.configure("fedgate", &json(&table(7, PEERS, &["web.shop.svc.beta.example:80=alpha"]), Options::default()));
    assert_eq!(shown(&gateway), [7, 1]);
}

#[test]
fn counters_are_defined_at_their_first_use() {
    let mut gateway = Gateway::with(&usual());
    assert_eq!(gateway.process.metric_names("fedgate.connections."), Vec::<String>::new());
    for _ in 0..3 {
        call(&mut gateway, "alpha");
    }
    let granted = "fedgate.connections.outcome.allowed.reason.granted";
    assert_eq!(gateway.process.metric_names("fedgate.connections."), [granted]);
    assert_eq!((gateway.process.metric(granted), gateway.process.metric(&format!("{PER_PEER}alpha"))), (3, 3));
}

#[test]
fn only_the_first_peers_have_their_own_counter() {
    let names: Vec<String> = ["d", "b.x", "a", "c"].map(str::to_owned).to_vec();
    let mut gateway = Gateway::with(&peers(&names, 1, 2));
    for name in &names {
        call(&mut gateway, name);
    }
    let mut found = gateway.process.metric_names(PER_PEER);
    found.sort();
    assert_eq!(found, ["a", "b.x", "other"].map(|name| format!("{PER_PEER}{name}")));
    assert_eq!(gateway.process.metric(&format!("{PER_PEER}other")), 2);
}

#[test]
fn peers_that_come_and_go_do_not_add_up() {
    let mut gateway = Gateway::new();
    for generation in 1..=100 {
        let name = format!("peer-{generation}");
        gateway.configure("fedgate", &peers(std::slice::from_ref(&name), generation, 5)).unwrap();
        call(&mut gateway, &name);
    }
    let found: BTreeSet<_> = gateway.process.metric_names(PER_PEER).into_iter().collect();
    assert_eq!(found.len(), 5 * 4 + 1);
    assert_eq!(gateway.process.metric(&format!("{PER_PEER}other")), 80);
}

#[test]
fn no_peer_at_all_may_be_named() {
    let mut gateway = Gateway::with(&peers(&["a".to_owned()], 1, 0));
    call(&mut gateway, "a");
    assert_eq!(gateway.process.metric_names(PER_PEER), [format!("{PER_PEER}other")]);
}
