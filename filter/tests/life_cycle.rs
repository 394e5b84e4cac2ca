//! One connection, from its ClientHello to its end.

mod support;

use fedgate_core::{Options, Reason};
use fedgate_filter::host::Level;
use std::time::Duration;
use support::*;

const WEB_CLUSTER: &str = "outbound|80||web.shop.svc.beta.example";
const DB_CLUSTER: &str = "outbound|3306||db.shop.svc.beta.example";

#[test]
fn a_granted_caller_reaches_its_service() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    assert!(gateway.clients[&client].paused, "tcp_proxy must not start before the decision");
    gateway.handshake(client, ALPHA);
    assert!(gateway.downstream_data(client));
    assert_eq!(gateway.upstream(client).as_deref(), Some(WEB_CLUSTER));
    assert!(gateway.upstream_data(client));
}

#[test]
fn a_server_may_send_first() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(DB);
    gateway.tick();
    assert_eq!(gateway.upstream(client), None, "before the handshake");
    gateway.handshake(client, ALPHA);
    gateway.tick();
    assert_eq!(gateway.upstream(client).as_deref(), Some(DB_CLUSTER));
    assert!(gateway.upstream_data(client) && gateway.downstream_data(client));
}

#[test]
fn a_server_that_sends_first_is_not_reached_without_a_grant() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(DB);
    gateway.handshake(client, GAMMA);
    gateway.tick();
    assert!(!gateway.is_open(client));
    assert_eq!(gateway.reason(client), "not_granted");
}

/// Every row of the decision, with its entries in the access log.
#[test]
fn each_refusal_reports_its_reason() {
    let early = |server_name: &str, reason: Reason, service: Option<&str>| {
        let mut gateway = Gateway::with(&usual());
        let client = gateway.connect_by_name(server_name);
        assert!(!gateway.is_open(client), "{server_name}");
        assert_refused(&gateway, client, reason, service, None);
    };
    early("", Reason::NoSni, None);
    early("web.shop.svc.beta.example", Reason::BadSni, None);
    early(
        "outbound_.80_._.other.shop.svc.beta.example",
        Reason::UnknownService,
        Some("other.shop.svc.beta.example:80"),
    );
    early(
        "outbound_.81_._.web.shop.svc.beta.example",
        Reason::UnknownService,
        Some("web.shop.svc.beta.example:81"),
    );

    let callers = usual_with("web.shop.svc.beta.example:80=alpha(shop/*)");
    let late = |json: &str, uri_san: &str, reason: Reason, peer: Option<&str>| {
        let mut gateway = Gateway::with(json);
        let client = gateway.connect(WEB);
        gateway.handshake(client, uri_san);
        assert!(!gateway.downstream_data(client) && !gateway.is_open(client), "{uri_san}");
        assert_refused(&gateway, client, reason, Some(WEB), peer);
    };
    late(&usual(), "", Reason::NoIdentity, None);
    late(&usual(), "https://alpha.example/ns/shop/sa/web", Reason::BadIdentity, None);
    late(&usual(), "spiffe://alpha.example/ns/shop/sa/web\u{fffd}", Reason::BadIdentity, None);
    late(&usual(), "spiffe://delta.example/ns/shop/sa/web", Reason::UnknownPeer, None);
    late(&usual(), GAMMA, Reason::NotGranted, Some("gamma"));
    late(
        &callers,
        "spiffe://alpha.example/ns/other/sa/web",
        Reason::CallerNotGranted,
        Some("alpha"),
    );

    let mut gateway = Gateway::with(&callers);
    let client = gateway.connect(WEB);
    gateway.handshake(client, ALPHA);
    assert!(gateway.downstream_data(client));
    assert_eq!(gateway.filter_state(client, "outcome").as_deref(), Some("allowed"));
    assert_eq!(gateway.filter_state(client, "peer").as_deref(), Some("alpha"));
}

fn usual_with(export: &str) -> String {
    json(&table(1, PEERS, &[export]), Options::default())
}

fn assert_refused(
    gateway: &Gateway,
    client: u32,
    reason: Reason,
    service: Option<&str>,
    peer: Option<&str>,
) {
    let state = |name| gateway.filter_state(client, name);
    assert_eq!(state("outcome").as_deref(), Some("refused"));
    assert_eq!(state("reason").as_deref(), Some(reason.word()));
    assert_eq!(state("service").as_deref(), service, "{reason}");
    assert_eq!(state("peer").as_deref(), peer, "{reason}");
    assert_eq!(state("generation").as_deref(), Some("1"));
    let counter = format!("fedgate.connections.outcome.refused.reason.{reason}");
    assert_eq!(gateway.process.metric(&counter), 1);
    assert_eq!(
        gateway.log(Level::Debug).iter().filter(|line| line.starts_with("connection ")).count(),
        1
    );
}

#[test]
fn a_server_name_that_is_not_utf8_is_refused_and_not_logged() {
    let mut gateway = Gateway::with(&usual());
    let root = gateway.roots()[0];
    let client = gateway.connect_at(root, b"outbound_.80_._.web\xff\n.shop.svc.beta.example");
    assert!(!gateway.is_open(client));
    assert_eq!(
        (gateway.reason(client).as_str(), gateway.filter_state(client, "service")),
        ("bad_sni", None)
    );
}

/// A certificate is public. Until its key has been used, anyone may have sent it.
#[test]
fn a_certificate_without_proof_of_its_key_is_not_an_identity() {
    let mut gateway = Gateway::with(&usual());
    let (silent, speaks) = (gateway.connect(DB), gateway.connect(DB));
    for client in [silent, speaks] {
        gateway.show_certificate(client, ALPHA);
    }
    for _ in 0..100 {
        gateway.tick();
    }
    assert_eq!((gateway.upstream(silent), gateway.upstream(speaks)), (None, None));
    // Data does not change that while the listener has recorded nothing.
    assert!(!gateway.downstream_data(speaks) && !gateway.is_open(speaks));
    assert_eq!(gateway.reason(speaks), "no_identity");

    gateway.handshake(silent, ALPHA);
    gateway.tick_after(Duration::from_millis(500));
    assert_eq!(gateway.upstream(silent).as_deref(), Some(DB_CLUSTER));
}

#[test]
fn a_handshake_that_exceeds_the_timeout_is_refused() {
    let options = Options { identity_timeout_ms: 300, ..Options::default() };
    let mut gateway =
        Gateway::with(&json(&table(1, PEERS, &["web.shop.svc.beta.example:80=alpha"]), options));
    let silent = gateway.connect(WEB);
    let shows = gateway.connect(WEB);
    gateway.show_certificate(shows, ALPHA);
    for _ in 0..59 {
        gateway.tick();
    }
    assert!(gateway.is_open(silent) && gateway.is_open(shows), "after 295 ms");
    for _ in 0..40 {
        gateway.tick();
    }
    for client in [silent, shows] {
        assert!(!gateway.is_open(client));
        assert_eq!(gateway.reason(client), "no_identity");
    }
}

#[test]
fn a_clock_correction_does_not_time_out_connections() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.tick();
    gateway.tick_after(Duration::from_secs(86_400));
    assert!(gateway.is_open(client));
}

#[test]
fn a_half_close_is_decided_like_data() {
    for (uri_san, passes) in [(ALPHA, true), (GAMMA, false)] {
        let mut gateway = Gateway::with(&usual());
        let client = gateway.connect(WEB);
        gateway.handshake(client, uri_san);
        // An end of stream without data invokes the same callback of the ABI.
        assert_eq!(gateway.downstream_data(client), passes);
        assert_eq!(gateway.is_open(client), passes);
    }
}

#[test]
fn a_client_that_disconnects_before_the_decision_is_forgotten() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.hang_up(client);
    gateway.tick();
    assert_eq!(gateway.process.metric("fedgate.undecided_connections"), 1);
    assert_eq!(gateway.period(), Duration::from_millis(500), "no connection waits any more");
    // Its number now belongs to another connection.
    gateway.reuse(client);
    let other = gateway.connect(WEB);
    assert_eq!(other, client);
    gateway.handshake(other, ALPHA);
    gateway.tick();
    assert_eq!(gateway.upstream(other).as_deref(), Some(WEB_CLUSTER));
    gateway.hang_up(other);
    assert_eq!(gateway.process.metric("fedgate.undecided_connections"), 1, "this one was decided");
}

#[test]
fn data_after_the_decision_costs_no_host_call() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.handshake(client, ALPHA);
    gateway.downstream_data(client);
    gateway.take_calls();
    for _ in 0..10 {
        assert!(gateway.downstream_data(client) && gateway.upstream_data(client));
    }
    assert_eq!(gateway.take_calls(), Vec::<&str>::new());
}

#[test]
fn upstream_data_is_held_back_before_the_decision() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.handshake(client, ALPHA);
    assert!(!gateway.upstream_data(client));
    assert!(gateway.is_open(client), "held back, not closed");
    assert!(gateway.downstream_data(client) && gateway.upstream_data(client));
}

#[test]
fn an_allowed_connection_is_closed_if_its_cluster_cannot_be_set() {
    let mut gateway = Gateway::with(&usual());
    gateway.fail("call_foreign_function");
    let clients = [gateway.connect(WEB), gateway.connect(WEB), gateway.connect(WEB)];
    for client in clients {
        gateway.handshake(client, ALPHA);
        assert!(!gateway.downstream_data(client));
        assert!(!gateway.is_open(client), "never to tcp_proxy's own cluster");
        assert_eq!(gateway.reason(client), "no_route");
        assert_eq!(gateway.filter_state(client, "outcome").as_deref(), Some("refused"));
        assert_eq!(gateway.log(Level::Error).len(), 1, "at the first failure, and only then");
    }
    assert_eq!(gateway.process.metric("fedgate.route_failures"), 3);
    assert_eq!(gateway.process.metric("fedgate.connections.outcome.allowed.reason.granted"), 0);
}

#[test]
fn a_server_that_sends_first_is_not_reached_if_its_cluster_cannot_be_set() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(DB);
    gateway.handshake(client, ALPHA);
    gateway.fail("call_foreign_function");
    gateway.tick();
    assert!(!gateway.is_open(client));
}
