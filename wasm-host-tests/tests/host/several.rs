//! Several VMs, several plugins in one VM, several root contexts of one plugin.

use crate::support::*;
use fedgate_wasm_host::{FilterModule, Metering, Plugin, Proxy};

fn alpha_loses_web(generation: u64) -> Exports {
    Exports::standard(generation).without_grant(WEB, "alpha")
}

/// An update of a WasmPlugin on Istio: the new table goes to a new VM, and the old one is never
/// configured again.
#[test]
fn an_old_vm_closes_connections_that_the_new_table_does_not_grant() {
    let mut proxy = proxy();
    proxy.configure(LISTENER, Exports::standard(1).plugin().of_version("1")).unwrap();
    let revoked = open(&mut proxy, WEB, ALPHA);
    let stays = open(&mut proxy, DB, GAMMA);
    let waits = connect(&mut proxy, WEB, ALPHA);
    let waits_for_export = connect(&mut proxy, LONELY, ALPHA);

    let table = alpha_loses_web(2).without_export(LONELY);
    proxy.configure(LISTENER, table.plugin().of_version("2")).unwrap();
    assert_eq!(proxy.vm_count(), 2);
    proxy.advance(2_000);

    assert!(!is_open(&proxy, revoked));
    assert_eq!(outcome_and_reason(&proxy, revoked), ("refused", "not_granted"));
    assert_eq!(proxy.stream(revoked).filter_state("wasm.fedgate.generation"), Some("2"));
    assert_refused(&proxy, waits_for_export, "unknown_service");
    assert_passes(&proxy, stays, DB);
    proxy.client_finishes_handshake(waits);
    proxy.client_sends(waits, b"hello");
    assert_refused(&proxy, waits, "not_granted");

    // When its last connection ends, the old VM ends, too.
    proxy.client_disconnects(stays);
    assert_eq!(proxy.vm_count(), 1);
    open(&mut proxy, DB, GAMMA);
}

#[test]
fn an_old_vm_adopts_every_update() {
    let mut proxy = proxy();
    proxy.configure(LISTENER, Exports::standard(1).plugin().of_version("1")).unwrap();
    let oldest = open(&mut proxy, DB, GAMMA);
    for generation in 2..12 {
        let exports = Exports::standard(generation);
        proxy.configure(LISTENER, exports.plugin().of_version(&generation.to_string())).unwrap();
        proxy.advance(700);
        assert_passes(&proxy, oldest, DB);
    }
    let last = Exports::standard(12).without_grant(DB, "gamma");
    proxy.configure(LISTENER, last.plugin().of_version("12")).unwrap();
    proxy.advance(2_000);
    assert!(!is_open(&proxy, oldest));
    assert_eq!(proxy.vm_count(), 1);
}

#[test]
fn a_refused_update_in_a_new_vm_changes_nothing_in_the_old_one() {
    let mut proxy = proxy();
    proxy.configure(LISTENER, Exports::standard(1).plugin().of_version("1")).unwrap();
    let connection = open(&mut proxy, WEB, ALPHA);
    proxy.configure(LISTENER, Plugin::new("fedgate", "broken").of_version("2")).unwrap_err();
    proxy.advance(2_000);
    assert_passes(&proxy, connection, WEB);
    open(&mut proxy, WEB, ALPHA);
}

/// Shared data belongs to a `vm_id`. Giving each version its own `vm_id` disables revocation.
#[test]
fn another_vm_id_shares_nothing() {
    let mut proxy = proxy();
    proxy.configure(LISTENER, Exports::standard(1).plugin().in_vm("one")).unwrap();
    let connection = open(&mut proxy, WEB, ALPHA);
    proxy.configure(LISTENER, alpha_loses_web(2).plugin().in_vm("two")).unwrap();
    proxy.advance(2_000);
    assert_passes(&proxy, connection, WEB);
}

#[test]
fn every_worker_gets_the_table() {
    let mut proxy = Proxy::with_workers(FilterModule::shared(Metering::Fuel), 4);
    proxy.configure(LISTENER, Exports::standard(1).plugin()).unwrap();
    let connections: Vec<_> = (0..4)
        .map(|worker| {
            let connection = proxy.connect_on(worker, LISTENER, client(WEB, ALPHA));
            proxy.client_finishes_handshake(connection);
            proxy.client_sends(connection, b"hello");
            connection
        })
        .collect();
    connections.iter().for_each(|&connection| assert_passes(&proxy, connection, WEB));
    assert_eq!(decided(&proxy, "allowed", "granted"), 4);
    update(&mut proxy, &alpha_loses_web(2));
    proxy.advance(2_000);
    connections.iter().for_each(|&connection| assert!(!is_open(&proxy, connection)));
    assert_eq!(proxy.metric("fedgate.revoked_connections"), Some(4));
}

/// Counts made while a VM is configured would be made once per VM, so configuring must not count.
#[test]
fn configuring_changes_no_counter() {
    let mut proxy = Proxy::with_workers(FilterModule::shared(Metering::Fuel), 4);
    proxy.configure(LISTENER, Exports::standard(1).plugin()).unwrap();
    update(&mut proxy, &Exports::standard(2));
    let names: Vec<String> = proxy.metrics().into_keys().collect();
    assert_eq!(names, ["fedgate.table.generation", "fedgate.table.rows", "fedgate.table.threads"]);
    assert_eq!(proxy.metric("fedgate.table.threads"), Some(0), "none of them has ticked");
}

/// The trial VM receives every table first. That does not show whether the workers have it.
#[test]
fn a_thread_counts_once_it_uses_the_table() {
    let mut proxy = Proxy::with_workers(FilterModule::shared(Metering::Fuel), 4);
    let shown = |proxy: &Proxy| {
        ["generation", "threads"]
            .map(|name| proxy.metric(&format!("fedgate.table.{name}")).unwrap())
    };
    proxy.configure(LISTENER, Exports::standard(1).plugin()).unwrap();
    proxy.advance(1_000);
    assert_eq!(shown(&proxy), [1, 4]);
    proxy.rehearse(&Exports::standard(2).plugin()).unwrap();
    assert_eq!(shown(&proxy), [2, 0], "the trial VM alone has it");
    proxy.advance(1_000);
    assert_eq!(shown(&proxy), [2, 0], "adopted from the shared data, which does not count");
    update(&mut proxy, &Exports::standard(2));
    proxy.advance(1_000);
    assert_eq!(shown(&proxy), [2, 4]);
    proxy.advance(60_000);
    assert_eq!(shown(&proxy), [2, 4]);
}

#[test]
fn a_worker_whose_vm_has_failed_does_not_count() {
    let mut proxy = Proxy::with_workers(FilterModule::shared(Metering::Fuel), 2);
    proxy.configure(LISTENER, Exports::standard(1).plugin()).unwrap();
    proxy.advance(1_000);
    proxy.fail_vms_of(1);
    proxy.advance(15_000);
    assert_eq!(proxy.metric("fedgate.table.threads"), Some(1));
}

/// A worker receives table 1. Between two of its calls, another worker receives tables 1 and 2.
#[test]
fn a_worker_that_is_overtaken_during_a_callback_ends_with_the_newest_table() {
    for first_is_new in [false, true] {
        for calls in 0..8 {
            let mut late = if first_is_new { proxy() } else { gateway(&Exports::standard(0)) };
            let mut quick = late.beside();
            late.interleave(calls, move || {
                quick.configure(LISTENER, Exports::standard(1).plugin()).unwrap();
                quick.configure(LISTENER, alpha_loses_web(2).plugin()).unwrap();
            });
            late.configure(LISTENER, Exports::standard(1).plugin()).unwrap();
            if !late.stop_interleaving() {
                continue;
            }
            late.advance(1_000);
            let refused = call(&mut late, client(WEB, ALPHA));
            assert_refused(&late, refused, "not_granted");
            let stored = late.shared_data("", "fedgate.table.fedgate").unwrap();
            assert!(stored.starts_with(b"2 "), "after {calls} calls");
        }
    }
}

const OTHER: &str = "other";

/// Two listeners of one gateway, each with its plugin, in one VM. They share Rust's statics.
fn two_plugins() -> Proxy {
    let mut proxy = gateway(&Exports::standard(1));
    let other = Exports::none(70).peer("gamma", fedgate_core::Mode::Enforce).export(WEB);
    let other = other.grant(WEB, "gamma", fedgate_core::Callers::Any);
    proxy.configure(OTHER, Plugin::new("other", other.json())).unwrap();
    assert_eq!((proxy.vm_count(), proxy.root_count()), (1, 2));
    proxy
}

#[test]
fn two_plugins_in_one_vm_judge_by_their_own_tables() {
    let mut proxy = two_plugins();
    for (listener, caller, expected) in [
        (LISTENER, ALPHA, ("allowed", "granted")),
        (LISTENER, GAMMA, ("refused", "not_granted")),
        (OTHER, GAMMA, ("allowed", "granted")),
        (OTHER, ALPHA, ("refused", "unknown_peer")),
    ] {
        let by_data = proxy.connect(listener, client(WEB, caller));
        let by_tick = proxy.connect(listener, client(WEB, caller));
        proxy.client_finishes_handshake(by_data);
        proxy.client_finishes_handshake(by_tick);
        proxy.client_sends(by_data, b"hello");
        proxy.advance(100);
        assert_eq!(outcome_and_reason(&proxy, by_data), expected);
        assert_eq!(outcome_and_reason(&proxy, by_tick), expected);
        let generation = if listener == LISTENER { "1" } else { "70" };
        assert_eq!(proxy.stream(by_tick).filter_state("wasm.fedgate.generation"), Some(generation));
    }
}

#[test]
fn an_update_of_one_plugin_does_not_affect_the_other() {
    let mut proxy = two_plugins();
    let mine = open(&mut proxy, WEB, ALPHA);
    let others = proxy.connect(OTHER, client(WEB, GAMMA));
    proxy.client_finishes_handshake(others);
    proxy.client_sends(others, b"hello");
    update(&mut proxy, &alpha_loses_web(2));
    proxy.advance(2_000);
    assert!(!is_open(&proxy, mine));
    assert_passes(&proxy, others, WEB);

    proxy.configure(OTHER, Plugin::new("other", Exports::none(71).json())).unwrap();
    proxy.advance(2_000);
    assert!(!is_open(&proxy, others));
}

#[test]
fn removing_one_plugin_does_not_affect_the_other() {
    let mut proxy = two_plugins();
    proxy.remove(OTHER);
    assert_eq!(proxy.root_count(), 1);
    proxy.advance(2_000);
    let waits = connect(&mut proxy, FEED, ALPHA);
    proxy.client_finishes_handshake(waits);
    proxy.advance(100);
    assert_passes(&proxy, waits, FEED);
    assert!(proxy.failures().is_empty());
}

#[test]
fn old_connections_keep_their_root_context_and_get_the_new_table() {
    let mut proxy = gateway(&Exports::standard(1));
    let old = open(&mut proxy, DB, GAMMA);
    let old_waits = connect(&mut proxy, FEED, ALPHA);
    update(&mut proxy, &Exports::standard(2));
    assert_eq!(proxy.root_count(), 2);
    let new = open(&mut proxy, DB, GAMMA);
    update(&mut proxy, &Exports::standard(3).without_grant(DB, "gamma"));
    proxy.advance(2_000);
    assert!(!is_open(&proxy, old) && !is_open(&proxy, new));
    // The newest root's ticks look at the waiting connection, although it belongs to another root.
    proxy.client_finishes_handshake(old_waits);
    proxy.advance(5_000);
    assert_passes(&proxy, old_waits, FEED);
    assert_eq!(proxy.stream(old_waits).filter_state("wasm.fedgate.generation"), Some("3"));
    proxy.client_disconnects(old_waits);
    assert_eq!(proxy.root_count(), 1);
    open(&mut proxy, WEB, ALPHA);
}

#[test]
fn the_newest_root_context_may_end_first() {
    let mut proxy = gateway(&Exports::standard(1));
    let old = connect(&mut proxy, FEED, ALPHA);
    update(&mut proxy, &Exports::standard(2));
    // The listener is removed, and with it the newest root context, which has no connections.
    proxy.remove(LISTENER);
    assert_eq!(proxy.root_count(), 1);
    proxy.client_finishes_handshake(old);
    proxy.advance(1_000);
    assert_passes(&proxy, old, FEED);
}

#[test]
fn ticks_do_not_multiply_with_updates() {
    let mut proxy = gateway(&Exports::standard(1));
    let connections: Vec<_> = (2..12)
        .map(|generation| {
            let connection = open(&mut proxy, WEB, ALPHA);
            update(&mut proxy, &Exports::standard(generation));
            connection
        })
        .collect();
    assert_eq!(proxy.root_count(), 11);
    proxy.advance(1_000);
    let before = proxy.ticks();
    proxy.advance(10_000);
    assert!(proxy.ticks() - before <= 25, "{} ticks in 10 s", proxy.ticks() - before);
    connections.iter().for_each(|&connection| assert_passes(&proxy, connection, WEB));
}

/// Envoy keeps a timer running after its root context has ended.
#[test]
fn an_ended_root_context_leaves_no_timer_behind() {
    let mut proxy = gateway(&Exports::standard(1));
    for generation in 2..12 {
        let connection = open(&mut proxy, WEB, ALPHA);
        update(&mut proxy, &Exports::standard(generation));
        proxy.advance(1_000);
        proxy.client_disconnects(connection);
        proxy.advance(1_000);
        assert_eq!((proxy.root_count(), proxy.timers()), (1, 1));
    }
    proxy.remove(LISTENER);
    assert_eq!((proxy.root_count(), proxy.timers()), (0, 0));
}

#[test]
fn an_unchanged_configuration_is_not_an_update() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    update(&mut proxy, &Exports::standard(1));
    assert_eq!(proxy.root_count(), 1);
    assert_passes(&proxy, connection, WEB);
}

#[test]
fn a_lower_generation_from_a_new_controller_is_accepted() {
    let mut proxy = gateway(&Exports::standard(100));
    let connection = open(&mut proxy, WEB, ALPHA);
    update(&mut proxy, &alpha_loses_web(1));
    proxy.advance(2_000);
    assert!(!is_open(&proxy, connection));
}

/// A worker can be late with a configuration that the others have already replaced.
#[test]
fn a_configuration_that_was_replaced_does_not_come_back() {
    let mut proxy = proxy();
    proxy.configure(LISTENER, Exports::standard(1).plugin().of_version("1")).unwrap();
    proxy.configure(LISTENER, alpha_loses_web(2).plugin().of_version("2")).unwrap();
    proxy.configure(LISTENER, Exports::standard(1).plugin().of_version("late")).unwrap();
    let connection = call(&mut proxy, client(WEB, ALPHA));
    assert_refused(&proxy, connection, "not_granted");
    assert_eq!(proxy.stream(connection).filter_state("wasm.fedgate.generation"), Some("2"));
}

/// Shared data with a blank `vm_id` is open to every other plugin of the gateway.
#[test]
fn invalid_shared_data_is_ignored() {
    let mut proxy = gateway(&Exports::standard(1));
    let connection = open(&mut proxy, WEB, ALPHA);
    let keys = proxy.shared_data_keys("");
    assert!(!keys.is_empty());
    for rubbish in [&b""[..], b"\xff\xff", b"99 sha256:00 paused 1 1", b"99", &[b'9'; 100_000]] {
        for key in &keys {
            proxy.set_shared_data("", key, rubbish);
            proxy.advance(1_000);
        }
        assert_passes(&proxy, connection, WEB);
        let new = open(&mut proxy, WEB, ALPHA);
        assert_eq!(proxy.stream(new).filter_state("wasm.fedgate.generation"), Some("1"));
        let refused = call(&mut proxy, client(WEB, GAMMA));
        assert_refused(&proxy, refused, "not_granted");
    }
    assert!(proxy.failures().is_empty());
    update(&mut proxy, &alpha_loses_web(2));
    proxy.advance(2_000);
    assert!(!is_open(&proxy, connection));
}
