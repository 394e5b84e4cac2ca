//! Counters and gauges, and the bound on their number.

mod support;

use fedgate_core::{Options, PeerName};
use fedgate_filter::metrics::OVERFLOW;
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
    let shown = |gateway: &Gateway| {
        ["generation", "rows"].map(|name| gateway.process.metric(&format!("fedgate.table.{name}")))
    };
    assert_eq!(shown(&gateway), [1, 2]);
    gateway.configure(
        "fedgate",
        &json(&table(7, PEERS, &["web.shop.svc.beta.example:80=alpha"]), Options::default()),
    );
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
    assert_eq!(
        (gateway.process.metric(granted), gateway.process.metric(&format!("{PER_PEER}alpha"))),
        (3, 3)
    );
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
    assert_eq!(found, ["_other", "a", "b.x"].map(|name| format!("{PER_PEER}{name}")));
    assert_eq!(gateway.process.metric(&format!("{PER_PEER}{OVERFLOW}")), 2);
}

#[test]
fn the_number_of_peer_counters_is_bounded_when_peers_change() {
    let mut gateway = Gateway::new();
    for generation in 1..=100 {
        let name = format!("peer-{generation}");
        gateway.configure("fedgate", &peers(std::slice::from_ref(&name), generation, 5)).unwrap();
        call(&mut gateway, &name);
    }
    let found: BTreeSet<_> = gateway.process.metric_names(PER_PEER).into_iter().collect();
    assert_eq!(found.len(), 5 * 4 + 1);
    assert_eq!(gateway.process.metric(&format!("{PER_PEER}{OVERFLOW}")), 80);
}

#[test]
fn with_a_limit_of_zero_no_peer_is_counted_by_name() {
    let mut gateway = Gateway::with(&peers(&["a".to_owned()], 1, 0));
    call(&mut gateway, "a");
    assert_eq!(gateway.process.metric_names(PER_PEER), [format!("{PER_PEER}{OVERFLOW}")]);
}

#[test]
fn a_peer_named_other_has_its_own_counter() {
    let names: Vec<String> = ["other", "zeta"].map(str::to_owned).to_vec();
    let mut gateway = Gateway::with(&peers(&names, 1, 1));
    for name in &names {
        call(&mut gateway, name);
    }
    let counted = |label: &str| gateway.process.metric(&format!("{PER_PEER}{label}"));
    assert_eq!((counted("other"), counted(OVERFLOW)), (1, 1));
}

/// Holds for every name that an operator can give a peer.
#[test]
fn the_overflow_label_is_not_a_valid_peer_name() {
    assert!(PeerName::parse(OVERFLOW).is_err() && PeerName::parse("other").is_ok());
}

mod threads {
    use super::*;
    use fedgate_filter::vm::threads::EXPIRY;
    use std::time::Duration;

    const LOOK: Duration = Duration::from_millis(500);

    fn threads(gateway: &Gateway) -> u64 {
        gateway.process.metric("fedgate.table.threads")
    }

    fn vms(json: &str, count: usize) -> Vec<Gateway> {
        let first = Gateway::with(json);
        let mut vms = vec![first];
        for _ in 1..count {
            let mut next = Gateway::beside(&vms[0].process);
            next.configure("fedgate", json).unwrap();
            vms.push(next);
        }
        vms
    }

    fn tick(vms: &mut [Gateway]) {
        vms.iter_mut().for_each(|vm| vm.tick_after(LOOK));
    }

    #[test]
    fn vms_count_as_threads_from_their_first_tick_except_the_trial_vm() {
        let mut vms = vms(&usual(), 4);
        let trial = vms.remove(0);
        assert_eq!((threads(&trial), trial.process.metric("fedgate.table.generation")), (0, 1));
        for (already, vm) in vms.iter_mut().enumerate() {
            assert_eq!(threads(&trial), already as u64);
            vm.tick_after(LOOK);
        }
        assert_eq!(threads(&trial), 3);
        (0..30).for_each(|_| tick(&mut vms));
        assert_eq!(threads(&trial), 3, "each counts once");
    }

    #[test]
    fn a_new_table_resets_the_thread_count() {
        let mut vms = vms(&usual(), 3);
        tick(&mut vms);
        assert_eq!(threads(&vms[0]), 3);
        Gateway::beside(&vms[0].process).configure("fedgate", &later()).unwrap();
        assert_eq!(
            (threads(&vms[0]), vms[0].process.metric("fedgate.table.generation")),
            (0, 2),
            "the trial VM has it"
        );
        vms[1].configure("fedgate", &later()).unwrap();
        vms[2].configure("fedgate", &later()).unwrap();
        (0..3).for_each(|_| tick(&mut vms));
        assert!(vms[0].call_as(GAMMA, WEB), "from the shared data");
        assert_eq!(
            threads(&vms[0]),
            2,
            "its thread may still use the old table for new connections"
        );
        vms[0].configure("fedgate", &later()).unwrap();
        tick(&mut vms);
        assert_eq!(threads(&vms[0]), 3);
    }

    #[test]
    fn an_ended_or_failed_vm_does_not_count_as_a_thread() {
        let mut vms = vms(&usual(), 3);
        tick(&mut vms);
        vms[2].end_newest_root();
        tick(&mut vms[..2]);
        assert_eq!(threads(&vms[0]), 2, "it has ended");
        let failed = vms.remove(1);
        for _ in 0..=EXPIRY.as_millis() / LOOK.as_millis() {
            tick(&mut vms[..1]);
        }
        assert_eq!(threads(&failed), 1, "its entry has expired");
    }

    #[test]
    fn the_thread_count_recovers_after_a_clock_jump() {
        let mut vms = vms(&usual(), 3);
        vms[0].process.pass(Duration::from_secs(1_000_000));
        tick(&mut vms);
        for now in [5_000_000, 3, 900_000] {
            vms[0].process.now.set(Duration::from_secs(now));
            (0..2).for_each(|_| tick(&mut vms));
            assert_eq!(threads(&vms[0]), 3, "at {now}");
        }
    }
}

const CALLERS: &str = "fedgate.callers.";

fn with_callers(generation: u64, named_callers: u32) -> String {
    let options = Options { named_callers, ..Options::default() };
    json(&table(generation, PEERS, &[&format!("{WEB}=alpha")]), options)
}

/// The names of the callers' counters, and what each has counted.
fn callers(gateway: &Gateway) -> Vec<(String, u64)> {
    let mut names = gateway.process.metric_names(CALLERS);
    names.sort();
    names.into_iter().map(|name| (name.clone(), gateway.process.metric(&name))).collect()
}

#[test]
fn callers_are_not_counted_by_name_unless_asked_for() {
    let mut gateway = Gateway::with(&with_callers(1, 0));
    call(&mut gateway, "alpha");
    assert_eq!(callers(&gateway), []);
    gateway.configure("fedgate", &with_callers(1, 5)).unwrap();
    call(&mut gateway, "alpha");
    let name = format!("{CALLERS}peer.alpha._namespace.shop._export.{WEB}");
    assert_eq!(callers(&gateway), [(name.clone(), 1)]);
    // A refused caller has not called.
    assert!(!gateway.call_as("spiffe://gamma.example/ns/shop/sa/web", WEB));
    assert_eq!(callers(&gateway), [(name, 1)]);
}

/// A peer chooses its namespaces.
#[test]
fn the_number_of_callers_counters_is_bounded() {
    let mut gateway = Gateway::with(&with_callers(1, 3));
    for generation in 1..=4 {
        gateway.configure("fedgate", &with_callers(generation, 3)).unwrap();
        for number in 0..100 {
            let caller = format!("spiffe://alpha.example/ns/n{generation}-{number}/sa/web");
            assert!(gateway.call_as(&caller, WEB));
        }
    }
    let counted = callers(&gateway);
    assert_eq!(counted.len(), 3 + 1, "{counted:?}");
    let other = format!("{CALLERS}peer.alpha._namespace.{OVERFLOW}._export.{OVERFLOW}");
    assert!(counted.contains(&(other, 400 - 3)), "{counted:?}");
}
