//! What one connection costs the proxy: each entry into the VM, and each call back out of it.
//!
//! On Envoy some of them take as long as the decision itself. So these lists are exact. To add to
//! one, say in the same commit what that is worth. `docs/cost.md` repeats them.

use crate::support::*;
use fedgate_wasm_host::{Callback, Proxy};

const NEW: &[&str] = &[
    "get_property connection.requested_server_name",
    // The first of the connections that wait makes the ticks fast.
    "set_effective_context",
    "set_tick_period_milliseconds",
];
const IDENTITY: &str = "get_property filter_state.fedgate.handshake";
const CLUSTER: &str = "call_foreign_function set_envoy_filter_state";
/// What the access log needs.
const LOG: &[&str] = &[
    "set_property fedgate.outcome",
    "set_property fedgate.reason",
    "set_property fedgate.peer",
    "set_property fedgate.service",
    "set_property fedgate.generation",
];
/// One counter by reason, and one by peer.
const COUNTERS: &[&str] = &["increment_metric", "increment_metric"];

/// Records one connection, after two of the same kind: these define the metrics, and ticks drop what
/// is left of them.
fn trace(mut live: impl FnMut(&mut Proxy)) -> Vec<Callback> {
    let mut proxy = gateway(&Exports::standard(1));
    for _ in 0..2 {
        live(&mut proxy);
        proxy.advance(1_000);
    }
    proxy.start_trace();
    live(&mut proxy);
    let trace = proxy.take_trace();
    for callback in &trace {
        println!("{:>6} fuel  {} {:?}", callback.fuel, callback.name, callback.calls);
    }
    trace
}

#[track_caller]
fn assert_costs(trace: &[Callback], expected: &[(&str, &[&[&str]])]) {
    let found: Vec<(&str, Vec<&str>)> = trace
        .iter()
        .map(|callback| (callback.name, callback.calls.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<_> = expected.iter().map(|(name, calls)| (*name, calls.concat())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_granted_connection() {
    let trace = trace(|proxy| {
        let connection = open(proxy, WEB, ALPHA);
        proxy.server_sends(connection, b"hello");
        proxy.client_sends(connection, b"bye");
        proxy.client_disconnects(connection);
    });
    assert_costs(
        &trace,
        &[
            ("on_context_create", &[]),
            ("on_new_connection", &[NEW]),
            ("on_downstream_data", &[&[IDENTITY, CLUSTER], LOG, COUNTERS]),
            ("on_upstream_data", &[]),
            ("on_downstream_data", &[]),
            ("on_delete", &[]),
        ],
    );
}

#[test]
fn a_connection_that_is_refused_before_the_handshake() {
    let trace = trace(|proxy| {
        let connection = connect(proxy, "secret.shop.svc.beta.example:80", ALPHA);
        assert_refused(proxy, connection, "unknown_service");
    });
    let log = [LOG[0], LOG[1], LOG[3], LOG[4]];
    assert_costs(
        &trace,
        &[
            ("on_context_create", &[]),
            ("on_new_connection", &[&NEW[..1], &log, &["increment_metric", "close_stream"]]),
            ("on_delete", &[]),
        ],
    );
}

#[test]
fn a_connection_that_is_refused_after_the_handshake() {
    let trace = trace(|proxy| {
        let connection = call(proxy, client(WEB, GAMMA));
        assert_refused(proxy, connection, "not_granted");
    });
    assert_costs(
        &trace,
        &[
            ("on_context_create", &[]),
            ("on_new_connection", &[NEW]),
            ("on_downstream_data", &[&[IDENTITY], LOG, COUNTERS, &["close_stream"]]),
            ("on_delete", &[]),
        ],
    );
}

/// The client waits, so ticks have to look for the end of the handshake.
#[test]
fn a_connection_whose_server_speaks_first() {
    let trace = trace(|proxy| {
        let connection = connect(proxy, FEED, ALPHA);
        proxy.client_finishes_handshake(connection);
        proxy.advance(6);
        assert_passes(proxy, connection, FEED);
        proxy.client_disconnects(connection);
    });
    let tick = ["get_current_time_nanoseconds", "set_effective_context", IDENTITY, CLUSTER];
    let slow_again = ["set_effective_context", "set_tick_period_milliseconds"];
    assert_costs(
        &trace,
        &[
            ("on_context_create", &[]),
            ("on_new_connection", &[NEW]),
            ("on_tick", &[&tick, LOG, COUNTERS, &["continue_stream"], &slow_again]),
            ("on_delete", &[]),
        ],
    );
}
