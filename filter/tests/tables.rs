//! Tables come and go while connections are open.

mod support;

use fedgate_core::Options;
use fedgate_filter::host::Level;
use fedgate_filter::shared::{configuration_key, version_key};
use std::time::Duration;
use support::*;

/// A connection that has passed.
fn open(gateway: &mut Gateway, uri_san: &str, service: &str) -> u32 {
    let client = gateway.connect(service);
    gateway.handshake(client, uri_san);
    assert!(gateway.downstream_data(client));
    client
}

#[test]
fn a_new_table_closes_what_it_no_longer_grants() {
    let mut gateway = Gateway::with(&usual());
    let (web, db) = (open(&mut gateway, ALPHA, WEB), open(&mut gateway, ALPHA, DB));
    gateway.configure("fedgate", &later()).unwrap();
    // Even before the tick that closes it, nothing of it passes.
    assert!(!gateway.downstream_data(web) && !gateway.upstream_data(web));
    gateway.tick();
    assert!(!gateway.is_open(web) && gateway.is_open(db));
    assert_eq!(gateway.reason(web), "not_granted");
    assert_eq!(gateway.filter_state(web, "generation").as_deref(), Some("2"));
    assert_eq!(gateway.filter_state(web, "outcome").as_deref(), Some("refused"));
    assert_eq!(gateway.process.metric("fedgate.revoked_connections"), 1);
    assert_eq!(gateway.process.metric("fedgate.connections.outcome.refused.reason.not_granted"), 0, "counted apart");
    assert!(gateway.downstream_data(db));
    assert!(gateway.call_as(GAMMA, WEB) && !gateway.call_as(ALPHA, WEB));
}

#[test]
fn the_same_grants_in_a_new_table_close_nothing() {
    let mut gateway = Gateway::with(&usual());
    let client = open(&mut gateway, ALPHA, WEB);
    let exports = ["web.shop.svc.beta.example:80=alpha", "db.shop.svc.beta.example:3306=gamma"];
    gateway.configure("fedgate", &json(&table(2, PEERS, &exports), Options::default())).unwrap();
    gateway.tick();
    assert!(gateway.downstream_data(client));
}

#[test]
fn a_connection_that_waits_is_judged_by_the_newest_table() {
    let mut gateway = Gateway::with(&usual());
    let clients = [ALPHA, GAMMA].map(|uri_san| (gateway.connect(WEB), uri_san));
    gateway.configure("fedgate", &later()).unwrap();
    for (client, uri_san) in clients {
        gateway.handshake(client, uri_san);
        assert_eq!(gateway.downstream_data(client), uri_san == GAMMA, "{uri_san}");
    }
}

#[test]
fn a_connection_that_waits_for_a_service_that_is_no_longer_exported_is_closed() {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(DB);
    gateway.configure("fedgate", &json(&table(2, PEERS, &[]), Options::default())).unwrap();
    gateway.tick();
    assert!(!gateway.is_open(client));
    assert_eq!(gateway.reason(client), "unknown_service");
    assert_eq!(gateway.process.metric("fedgate.revoked_connections"), 0, "it had not passed");
}

#[test]
fn a_broken_configuration_changes_nothing() {
    let mut gateway = Gateway::with(&usual());
    let client = open(&mut gateway, ALPHA, WEB);
    let good = later();
    for broken in ["{", "null", &good.replace("\"generation\":2", "\"generation\":3"), &good[..good.len() - 40]] {
        assert_eq!(gateway.configure("fedgate", broken), None);
        gateway.tick();
        assert!(gateway.downstream_data(client) && gateway.call_as(ALPHA, WEB) && !gateway.call_as(GAMMA, WEB));
    }
    assert_eq!(gateway.log(Level::Error).len(), 4);
    assert!(gateway.log(Level::Error).iter().all(|line| line.contains("the last good table stays in force")));
    assert_eq!(gateway.process.metric("fedgate.table.generation"), 1);
}

/// Envoy remembers what its trial VM said of a configuration. A worker that says otherwise goes on without the filter.
#[test]
fn an_empty_configuration_is_always_accepted_and_never_takes_a_table_away() {
    let mut gateway = Gateway::with("");
    let client = gateway.connect(WEB);
    assert!(!gateway.is_open(client));
    assert_eq!((gateway.reason(client).as_str(), gateway.filter_state(client, "generation")), ("no_table", None));

    gateway.configure("fedgate", &usual()).unwrap();
    gateway.configure("fedgate", "").unwrap();
    assert!(gateway.call_as(ALPHA, WEB) && !gateway.call_as(GAMMA, WEB));

    let mut beside = Gateway::beside(&gateway.process);
    beside.configure("fedgate", "").unwrap();
    assert!(beside.call_as(ALPHA, WEB) && !beside.call_as(GAMMA, WEB));
}

#[test]
fn audit_lets_through_what_is_not_granted_and_says_so() {
    let peers = ["alpha:audit=alpha.example", "gamma=gamma.example"];
    let exports = ["web.shop.svc.beta.example:80=alpha()+gamma()", "db.shop.svc.beta.example:3306=gamma"];
    let mut gateway = Gateway::with(&json(&table(1, &peers, &exports), Options::default()));
    let client = open(&mut gateway, ALPHA, WEB);
    assert_eq!(gateway.filter_state(client, "outcome").as_deref(), Some("audited"));
    assert_eq!(gateway.reason(client), "not_granted");
    assert_eq!(gateway.process.metric("fedgate.connections.outcome.audited.reason.not_granted"), 1);
    assert_eq!(gateway.process.metric("fedgate.peer_connections.outcome.audited.peer.alpha"), 1);
    assert!(!gateway.call_as(GAMMA, WEB), "in force for the others");
    assert!(!gateway.call_as(ALPHA, DB), "the owner does not admit it");

    let enforced = json(&table(2, PEERS, &["web.shop.svc.beta.example:80=alpha()"]), Options::default());
    gateway.configure("fedgate", &enforced).unwrap();
    gateway.tick();
    assert!(!gateway.is_open(client), "audit has ended");
}

mod root_contexts {
    use super::*;

    #[test]
    fn the_newest_ticks_for_all_and_hands_over_at_its_end() {
        let mut gateway = Gateway::with(&usual());
        let old = gateway.connect(DB);
        gateway.configure("fedgate", &later()).unwrap();
        let new = gateway.connect(DB);
        let [first, second] = gateway.roots()[..] else { panic!("the old one has a connection") };
        gateway.tick();
        gateway.tick();
        assert!(gateway.context(first).unwrap().tick_period.is_zero());
        for client in [old, new] {
            gateway.handshake(client, ALPHA);
        }
        gateway.tick_after(Duration::from_millis(20));
        assert!(gateway.upstream(old).is_some() && gateway.upstream(new).is_some());

        // The old one ends first.
        gateway.hang_up(old);
        assert_eq!(gateway.roots(), [second]);
        assert_eq!(gateway.context(second).unwrap().tick_period, Duration::from_millis(500));
    }

    #[test]
    fn an_older_one_takes_over_when_the_newest_ends() {
        let mut gateway = Gateway::with(&usual());
        let old = gateway.connect(DB);
        gateway.configure("fedgate", &later()).unwrap();
        gateway.tick();
        gateway.end_newest_root();
        assert_eq!(gateway.roots().len(), 1);
        gateway.handshake(old, ALPHA);
        gateway.tick_after(Duration::from_millis(20));
        assert!(gateway.upstream(old).is_some());
    }

    #[test]
    fn two_plugins_of_one_vm_leave_each_other_alone() {
        let mut gateway = Gateway::with(&usual());
        let mine = open(&mut gateway, ALPHA, WEB);
        let waiting = gateway.connect(WEB);
        let none = json(&table(9, PEERS, &[]), Options::default());
        gateway.configure("another", &none).unwrap();
        let theirs = gateway.connect(WEB);
        assert!(!gateway.is_open(theirs), "theirs has no exports");
        gateway.handshake(waiting, ALPHA);
        gateway.tick();
        assert!(gateway.downstream_data(mine) && gateway.upstream(waiting).is_some());
        gateway.configure("fedgate", &later()).unwrap();
        gateway.tick();
        assert!(!gateway.is_open(mine));
    }
}

mod vms {
    use super::*;

    /// What an update of a WasmPlugin does: the new VM is configured, the old one keeps its connections.
    #[test]
    fn an_old_vm_hears_of_the_new_table() {
        let mut old = Gateway::with(&usual());
        let (web, db) = (open(&mut old, ALPHA, WEB), open(&mut old, ALPHA, DB));
        let waiting = old.connect(WEB);
        let mut new = Gateway::beside(&old.process);
        new.configure("fedgate", &later()).unwrap();
        assert_eq!(old.period(), Duration::from_millis(5), "it waits for somebody");
        old.tick();
        assert!(!old.is_open(web) && old.is_open(db));
        old.handshake(waiting, GAMMA);
        assert!(old.downstream_data(waiting));
    }

    #[test]
    fn another_plugins_table_is_none_of_ours() {
        let mut gateway = Gateway::with(&usual());
        let client = open(&mut gateway, ALPHA, WEB);
        Gateway::beside(&gateway.process).configure("another", &later()).unwrap();
        gateway.tick();
        assert!(gateway.is_open(client));
    }

    #[test]
    fn a_half_written_table_is_not_adopted() {
        let mut gateway = Gateway::with(&usual());
        let client = open(&mut gateway, ALPHA, WEB);
        let (small, large) = (version_key("fedgate"), configuration_key("fedgate"));
        let process = gateway.process.clone();
        let shared = || process.shared.borrow_mut();
        let before = shared().clone();
        Gateway::beside(&gateway.process).configure("fedgate", &later()).unwrap();
        let after = shared().clone();

        // Only the large half is there.
        *shared() = before.clone();
        shared().insert(large.clone(), after[&large].clone());
        gateway.tick();
        assert!(gateway.is_open(client));
        // Only the small half is there, or the large one is cut off, or is another's.
        for broken in [&before[&large][..], &after[&large][..after[&large].len() / 2], b""] {
            *shared() = after.clone();
            shared().insert(large.clone(), broken.to_vec());
            gateway.tick();
            assert!(gateway.is_open(client));
        }
        // Once it is whole, with a newer version, it is taken.
        *shared() = after;
        let third = json(&table(3, PEERS, &["web.shop.svc.beta.example:80=gamma"]), Options::default());
        Gateway::beside(&gateway.process).configure("fedgate", &third).unwrap();
        assert!(shared()[&small].starts_with(b"3 "));
        gateway.tick();
        assert!(!gateway.is_open(client));
        assert_eq!(gateway.log(Level::Warn).len(), 1, "what is not usable is told once");
    }

    /// Two VMs have written at the same time: the halves are both good, and don't belong together.
    #[test]
    fn a_table_of_another_version_is_not_adopted() {
        let mut gateway = Gateway::with(&usual());
        let client = open(&mut gateway, ALPHA, WEB);
        Gateway::beside(&gateway.process).configure("fedgate", &later()).unwrap();
        let another = json(&table(5, PEERS, &[]), Options::default());
        gateway.process.shared.borrow_mut().insert(configuration_key("fedgate"), another.into_bytes());
        gateway.tick();
        assert!(gateway.is_open(client) && gateway.call_as(ALPHA, WEB));
    }

    /// Workers are configured one after the other. One that is late must not put an old table back.
    #[test]
    fn a_late_worker_takes_the_newest_table() {
        let mut quick = Gateway::with(&usual());
        quick.configure("fedgate", &later()).unwrap();
        let client = open(&mut quick, GAMMA, WEB);
        let mut late = Gateway::beside(&quick.process);
        late.configure("fedgate", &usual()).unwrap();
        assert!(late.call_as(GAMMA, WEB) && !late.call_as(ALPHA, WEB));
        quick.tick();
        assert!(quick.is_open(client));
        late.configure("fedgate", &later()).unwrap();
        assert!(late.call_as(GAMMA, WEB));
    }

    /// A controller that lost its state counts from 1 again, and is the one to follow.
    #[test]
    fn a_lower_generation_is_not_an_older_table() {
        let exports = ["web.shop.svc.beta.example:80=gamma"];
        let mut gateway = Gateway::with(&json(&table(700, PEERS, &exports), Options::default()));
        let mut old = Gateway::beside(&gateway.process);
        old.configure("fedgate", &json(&table(700, PEERS, &exports), Options::default())).unwrap();
        gateway.configure("fedgate", &usual()).unwrap();
        old.tick();
        for gateway in [&mut gateway, &mut old] {
            assert!(gateway.call_as(ALPHA, WEB) && !gateway.call_as(GAMMA, WEB));
        }
    }

    #[test]
    fn other_options_are_another_version() {
        let mut old = Gateway::with(&usual());
        let client = old.connect(WEB);
        let exports = ["web.shop.svc.beta.example:80=alpha", "db.shop.svc.beta.example:3306=alpha"];
        let hasty = Options { identity_timeout_ms: 100, ..Options::default() };
        Gateway::beside(&old.process).configure("fedgate", &json(&table(1, PEERS, &exports), hasty)).unwrap();
        for _ in 0..30 {
            old.tick();
        }
        assert!(!old.is_open(client), "timed out by the new options");
    }
}

/// A callback that closes calls the filter again, on top of the ones before: Envoy's stack has an end.
#[test]
fn ten_thousand_connections_are_closed_a_few_at_a_time() {
    let mut gateway = Gateway::with(&usual());
    let mut clients: Vec<u32> = (0..5_000).map(|_| open(&mut gateway, ALPHA, WEB)).collect();
    let others: Vec<u32> = (0..5_000).map(|_| open(&mut gateway, ALPHA, DB)).collect();
    gateway.most_closes = 0;
    gateway.configure("fedgate", &later()).unwrap();
    assert_eq!(gateway.period(), Duration::from_millis(1));
    let before = gateway.process.now.get();
    gateway.tick_until_calm();
    assert!(gateway.most_closes <= 64, "{} closes in one callback", gateway.most_closes);
    assert!(gateway.process.now.get() - before < Duration::from_millis(500));
    clients.retain(|&client| gateway.is_open(client));
    assert_eq!(clients, Vec::<u32>::new());
    assert!(others.iter().all(|&client| gateway.is_open(client)));
    assert_eq!(gateway.process.metric("fedgate.revoked_connections"), 5_000);
}

#[test]
fn a_connection_that_ends_before_it_is_closed_is_not_closed_again() {
    let mut gateway = Gateway::with(&usual());
    let client = open(&mut gateway, ALPHA, WEB);
    gateway.configure("fedgate", &later()).unwrap();
    gateway.hang_up(client);
    gateway.reuse(client);
    let other = gateway.connect(WEB);
    gateway.tick();
    assert!(gateway.is_open(other));
}

/// Handshakes that nobody finishes are cheap, however many there are.
#[test]
fn only_so_many_are_looked_at_in_one_tick() {
    let mut gateway = Gateway::with(&usual());
    for _ in 0..1_000 {
        gateway.connect(WEB);
    }
    for _ in 0..200 {
        gateway.take_calls();
        gateway.tick();
        let calls = gateway.take_calls().len();
        assert!(calls <= 64 * 2 + 4, "{calls} host calls in one tick");
    }
}

#[test]
fn those_that_are_awaited_long_are_looked_at_seldom() {
    let mut gateway = Gateway::with(&usual());
    for _ in 0..10 {
        gateway.connect(WEB);
    }
    let mut looks_in_a_second = || {
        gateway.take_calls();
        (0..200).for_each(|_| gateway.tick());
        gateway.take_calls().iter().filter(|&&call| call == "property").count() / 10
    };
    let (first, second) = (looks_in_a_second(), looks_in_a_second());
    assert!((15..=30).contains(&first) && (2..=5).contains(&second), "{first} and {second}");
}

/// Nobody is overlooked for the others.
#[test]
fn a_server_that_speaks_first_is_found_among_many() {
    let mut gateway = Gateway::with(&usual());
    for _ in 0..2_000 {
        gateway.connect(WEB);
    }
    (0..40).for_each(|_| gateway.tick());
    let client = gateway.connect(DB);
    gateway.handshake(client, ALPHA);
    (0..40).for_each(|_| gateway.tick());
    assert!(gateway.upstream(client).is_some(), "200 ms later");
}
