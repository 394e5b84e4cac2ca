//! Failures around the filter: of its VM, or of single host functions.

use crate::support::*;
use fedgate_wasm_host::abi::Status;
use fedgate_wasm_host::{Ending, FailurePolicy, Proxy};

/// All host functions that the filter may call.
const FUNCTIONS: [&str; 16] = [
    "proxy_log",
    "proxy_get_log_level",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_buffer_bytes",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_continue_stream",
    "proxy_close_stream",
    "proxy_set_effective_context",
    "proxy_call_foreign_function",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
];

#[test]
fn a_failing_host_function_neither_grants_nor_traps() {
    for function in FUNCTIONS {
        for status in
            [Status::InternalFailure, Status::NotFound, Status::BadArgument, Status::Unimplemented]
        {
            let mut proxy = gateway(&Exports::standard(1));
            let before = open(&mut proxy, WEB, ALPHA);
            proxy.refuse_calls(function, Some(status));
            let refused = [
                (WEB, GAMMA),
                (WEB, STRANGER),
                (LONELY, ALPHA),
                ("no.such.svc.beta.example:80", ALPHA),
            ];
            let refused =
                refused.map(|(service, caller)| call(&mut proxy, client(service, caller)));
            let silent = connect(&mut proxy, FEED, ALPHA);
            proxy.client_shows_certificate(silent);
            let granted = call(&mut proxy, client(WEB, ALPHA));
            proxy.client_disconnects(granted);
            let _ = proxy
                .configure(LISTENER, Exports::standard(2).without_grant(WEB, "alpha").plugin());
            proxy.advance(3_000);
            proxy.client_sends(before, b"more");
            for connection in refused.into_iter().chain([silent]) {
                assert_eq!(proxy.stream(connection).upstream(), None, "{function} {status:?}");
            }
            assert!(proxy.failures().is_empty(), "{function} {status:?}: {:?}", proxy.failures());

            // Once it works again, so does everything else.
            proxy.refuse_calls(function, None);
            let _ = proxy.configure(LISTENER, Exports::standard(3).plugin());
            open(&mut proxy, WEB, ALPHA);
            let refused = call(&mut proxy, client(WEB, GAMMA));
            assert_refused(&proxy, refused, "not_granted");
        }
    }
}

#[test]
fn a_connection_whose_cluster_cannot_be_set_is_closed() {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.refuse_calls("proxy_call_foreign_function", Some(Status::NotFound));
    let by_data = call(&mut proxy, client(WEB, ALPHA));
    let by_tick = connect(&mut proxy, FEED, ALPHA);
    proxy.client_finishes_handshake(by_tick);
    proxy.advance(100);
    for connection in [by_data, by_tick] {
        assert_refused(&proxy, connection, "no_route");
    }
    assert_eq!(proxy.metric("fedgate.route_failures"), Some(2));
    assert_eq!(decided(&proxy, "allowed", "granted"), 0);
}

#[test]
fn a_refused_connection_that_cannot_be_closed_passes_no_data() {
    let mut proxy = gateway(&Exports::standard(1));
    proxy.refuse_calls("proxy_close_stream", Some(Status::Unimplemented));
    let early = connect(&mut proxy, "no.such.svc.beta.example:80", ALPHA);
    let late = call(&mut proxy, client(WEB, GAMMA));
    for connection in [early, late] {
        proxy.client_finishes_handshake(connection);
        proxy.client_sends(connection, b"more");
        proxy.advance(20_000);
        assert!(is_open(&proxy, connection));
        assert_eq!(proxy.stream(connection).upstream(), None);
    }
}

fn failed(policy: FailurePolicy) -> (Proxy, fedgate_wasm_host::ConnectionId) {
    let mut proxy = proxy();
    proxy.configure(LISTENER, Exports::standard(1).plugin().failing(policy)).unwrap();
    let connection = open(&mut proxy, WEB, ALPHA);
    proxy.fail_vms();
    (proxy, connection)
}

#[test]
fn a_failed_vm_is_replaced_with_fail_reload() {
    let (mut proxy, old) = failed(FailurePolicy::Reload);
    let new = open(&mut proxy, WEB, ALPHA);
    assert_eq!(proxy.stream(new).filter_state("wasm.fedgate.generation"), Some("1"));
    let refused = call(&mut proxy, client(WEB, GAMMA));
    assert_refused(&proxy, refused, "not_granted");
    // Connections of the failed VM end with their next data.
    proxy.client_sends(old, b"more");
    assert_eq!(proxy.stream(old).ending(), Some(Ending::ByFailedVm));
    assert_eq!(proxy.stream(old).at_server(), b"hello");

    // At most once per second.
    proxy.fail_vms();
    let too_soon = connect(&mut proxy, WEB, ALPHA);
    assert_eq!(proxy.stream(too_soon).ending(), Some(Ending::ByFailedVm));
    proxy.advance(1_000);
    open(&mut proxy, WEB, ALPHA);
}

#[test]
fn a_vm_that_replaces_a_failed_one_has_the_newest_table() {
    let (mut proxy, _) = failed(FailurePolicy::Reload);
    update(&mut proxy, &Exports::standard(2).without_grant(WEB, "alpha"));
    let connection = call(&mut proxy, client(WEB, ALPHA));
    assert_refused(&proxy, connection, "not_granted");
}

#[test]
fn a_failed_vm_stays_failed_with_fail_closed() {
    let (mut proxy, _) = failed(FailurePolicy::Closed);
    for _ in 0..3 {
        proxy.advance(5_000);
        let connection = connect(&mut proxy, WEB, ALPHA);
        assert_eq!(proxy.stream(connection).ending(), Some(Ending::ByFailedVm));
    }
    // A new configuration creates a new VM.
    update(&mut proxy, &Exports::standard(2));
    open(&mut proxy, WEB, ALPHA);
}
