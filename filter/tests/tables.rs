//! Tables change while connections are open.

mod support;

use fedgate_core::Options;
use fedgate_filter::host::Level;
use fedgate_filter::vm::shared::{LATE, key};
use std::time::Duration;
use support::*;

/// Opens a connection that passes.
fn open(gateway: &mut Gateway, uri_san: &str, service: &str) -> u32 {
    let client = gateway.connect(service);
    gateway.handshake(client, uri_san);
    assert!(gateway.downstream_data(client));
    client
}

#[test]
fn a_new_table_closes_connections_that_it_no_longer_grants() {
    let mut gateway = Gateway::with(&usual());
    let (web, db) = (open(&mut gateway, ALPHA, WEB), open(&mut gateway, ALPHA, DB));
    gateway.configure("fedgate", &later()).unwrap();
    // Nothing passes, even before the tick that closes it.
    assert!(!gateway.downstream_data(web) && !gateway.upstream_data(web));
    gateway.tick();
    assert!(!gateway.is_open(web) && gateway.is_open(db));
    assert_eq!(gateway.reason(web), "not_granted");
    assert_eq!(gateway.filter_state(web, "generation").as_deref(), Some("2"));
    assert_eq!(gateway.filter_state(web, "outcome").as_deref(), Some("refused"));
    assert_eq!(gateway.process.metric("fedgate.revoked_connections"), 1);
    assert_eq!(
        gateway.process.metric("fedgate.connections.outcome.refused.reason.not_granted"),
        0,
        "counted apart"
    );
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
fn a_waiting_connection_is_judged_by_the_newest_table() {
    let mut gateway = Gateway::with(&usual());
    let clients = [ALPHA, GAMMA].map(|uri_san| (gateway.connect(WEB), uri_san));
    gateway.configure("fedgate", &later()).unwrap();
    for (client, uri_san) in clients {
        gateway.handshake(client, uri_san);
        assert_eq!(gateway.downstream_data(client), uri_san == GAMMA, "{uri_san}");
    }
}

#[test]
fn a_waiting_connection_is_closed_if_its_service_is_no_longer_exported() {
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
    for broken in [
        "{",
        "null",
        &good.replace("\"generation\":2", "\"generation\":3"),
        &good[..good.len() - 40],
    ] {
        assert_eq!(gateway.configure("fedgate", broken), None);
        gateway.tick();
        assert!(
            gateway.downstream_data(client)
                && gateway.call_as(ALPHA, WEB)
                && !gateway.call_as(GAMMA, WEB)
        );
    }
    assert_eq!(gateway.log(Level::Error).len(), 4);
    assert!(
        gateway
            .log(Level::Error)
            .iter()
            .all(|line| line.contains("the last good table stays in force"))
    );
    assert_eq!(gateway.process.metric("fedgate.table.generation"), 1);
}

/// Envoy remembers its trial VM's answer to a configuration. A worker that answers differently runs
/// without the filter.
#[test]
fn an_empty_configuration_is_accepted_and_keeps_the_last_table() {
    let mut gateway = Gateway::with("");
    let client = gateway.connect(WEB);
    assert!(!gateway.is_open(client));
    assert_eq!(
        (gateway.reason(client).as_str(), gateway.filter_state(client, "generation")),
        ("no_table", None)
    );

    gateway.configure("fedgate", &usual()).unwrap();
    gateway.configure("fedgate", "").unwrap();
    assert!(gateway.call_as(ALPHA, WEB) && !gateway.call_as(GAMMA, WEB));

    let mut beside = Gateway::beside(&gateway.process);
    beside.configure("fedgate", "").unwrap();
    assert!(beside.call_as(ALPHA, WEB) && !beside.call_as(GAMMA, WEB));
}

#[test]
fn audit_mode_passes_and_reports_connections_without_a_grant() {
    let peers = ["alpha:audit=alpha.example", "gamma=gamma.example"];
    let exports =
        ["web.shop.svc.beta.example:80=alpha()+gamma()", "db.shop.svc.beta.example:3306=gamma"];
    let mut gateway = Gateway::with(&json(&table(1, &peers, &exports), Options::default()));
    let client = open(&mut gateway, ALPHA, WEB);
    assert_eq!(gateway.filter_state(client, "outcome").as_deref(), Some("audited"));
    assert_eq!(gateway.reason(client), "not_granted");
    assert_eq!(gateway.process.metric("fedgate.connections.outcome.audited.reason.not_granted"), 1);
    assert_eq!(gateway.process.metric("fedgate.peer_connections.outcome.audited.peer.alpha"), 1);
    assert!(!gateway.call_as(GAMMA, WEB), "in force for the others");
    assert!(!gateway.call_as(ALPHA, DB), "the owner does not admit it");

    let enforced =
        json(&table(2, PEERS, &["web.shop.svc.beta.example:80=alpha()"]), Options::default());
    gateway.configure("fedgate", &enforced).unwrap();
    gateway.tick();
    assert!(!gateway.is_open(client), "audit has ended");
}

mod root_contexts {
    use super::*;

    #[test]
    fn the_newest_root_ticks_for_all_connections() {
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
    fn an_older_root_takes_over_the_ticks_when_the_newest_ends() {
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
    fn two_plugins_of_one_vm_do_not_affect_each_other() {
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

    /// The longest time until a tick looks at the shared data.
    const LOOK: Duration = Duration::from_millis(500);

    /// As in an update of a WasmPlugin: the new VM is configured, and the old one keeps its
    /// connections.
    #[test]
    fn an_old_vm_adopts_the_new_table() {
        let mut old = Gateway::with(&usual());
        let (web, db) = (open(&mut old, ALPHA, WEB), open(&mut old, ALPHA, DB));
        let waiting = old.connect(WEB);
        let mut new = Gateway::beside(&old.process);
        new.configure("fedgate", &later()).unwrap();
        assert_eq!(old.period(), Duration::from_millis(5), "a connection waits");
        old.tick_after(LOOK);
        assert!(!old.is_open(web) && old.is_open(db));
        old.handshake(waiting, GAMMA);
        assert!(old.downstream_data(waiting));
    }

    #[test]
    fn the_table_of_another_plugin_is_ignored() {
        let mut gateway = Gateway::with(&usual());
        let client = open(&mut gateway, ALPHA, WEB);
        Gateway::beside(&gateway.process).configure("another", &later()).unwrap();
        gateway.tick();
        assert!(gateway.is_open(client));
    }

    /// Any plugin can write to the shared data. Only a complete table of the stated version is
    /// adopted.
    #[test]
    fn a_broken_shared_table_is_not_adopted() {
        let mut gateway = Gateway::with(&usual());
        let client = open(&mut gateway, ALPHA, WEB);
        let process = gateway.process.clone();
        let before = process.shared(&key("fedgate"));
        Gateway::beside(&process).configure("fedgate", &later()).unwrap();
        let after = process.shared(&key("fedgate"));
        let json = |value: &[u8]| {
            value[value.windows(2).position(|two| two == b"\n\n").unwrap() + 2..].to_vec()
        };
        let head = |value: &[u8]| value[..value.len() - json(value).len()].to_vec();

        let other_content = [head(&after), json(&before)].concat();
        let cut_off = after[..after.len() / 2].to_vec();
        for broken in
            [other_content, cut_off, head(&after), b"\n\n".to_vec(), b"x".to_vec(), Vec::new()]
        {
            process.set_shared(&key("fedgate"), &broken, 0).unwrap();
            gateway.tick_after(LOOK);
            gateway.tick_after(LOOK);
            assert!(gateway.is_open(client), "{}", String::from_utf8_lossy(&broken));
        }
        assert_eq!(gateway.log(Level::Warn).len(), 4, "each is logged once");
        process.set_shared(&key("fedgate"), &after, 0).unwrap();
        gateway.tick_after(LOOK);
        assert!(!gateway.is_open(client), "as soon as it is whole");
    }

    #[test]
    fn a_vm_without_a_clock_adopts_the_new_table() {
        for waits in [false, true] {
            let mut old = Gateway::with(&usual());
            let client = open(&mut old, ALPHA, WEB);
            if waits {
                old.connect(WEB);
            }
            Gateway::beside(&old.process).configure("fedgate", &later()).unwrap();
            (0..100).for_each(|_| old.tick_after(Duration::ZERO));
            assert!(!old.is_open(client), "while another one waits: {waits}");
        }
    }

    /// The table can have a megabyte, and a tick may come every millisecond.
    #[test]
    fn shared_data_is_read_twice_a_second() {
        let mut gateway = Gateway::with(&usual());
        gateway.connect(WEB);
        gateway.take_calls();
        (0..400).for_each(|_| gateway.tick());
        let looks = gateway.take_calls().iter().filter(|&&call| call == "shared_data").count();
        assert!((8..=20).contains(&looks), "{looks} reads in two seconds");
    }

    /// A worker's connections wait while it is configured.
    #[test]
    fn shared_data_is_read_once_for_a_configuration() {
        let first = Gateway::with(&usual());
        for table in [usual(), later()] {
            let mut worker = Gateway::beside(&first.process);
            worker.take_calls();
            worker.configure("fedgate", &table).unwrap();
            let looks = worker.take_calls().iter().filter(|&&call| call == "shared_data").count();
            assert_eq!(looks, 1, "it is new: {}", table != usual());
            assert!(worker.call_as(if table == usual() { ALPHA } else { GAMMA }, WEB));
        }
    }

    /// Workers are configured one after the other. A late one must not bring back an old table.
    #[test]
    fn a_late_worker_takes_the_newest_table() {
        let mut quick = Gateway::with(&usual());
        quick.configure("fedgate", &later()).unwrap();
        let client = open(&mut quick, GAMMA, WEB);
        let mut late = Gateway::beside(&quick.process);
        late.configure("fedgate", &usual()).unwrap();
        assert!(late.call_as(GAMMA, WEB) && !late.call_as(ALPHA, WEB));
        quick.tick_after(LOOK);
        assert!(quick.is_open(client));
        late.configure("fedgate", &later()).unwrap();
        assert!(late.call_as(GAMMA, WEB));
    }

    /// It can come from a controller that lost its state and whose clock went back.
    #[test]
    fn a_lower_generation_is_not_an_older_table() {
        let exports = ["web.shop.svc.beta.example:80=gamma"];
        let mut gateway = Gateway::with(&json(&table(700, PEERS, &exports), Options::default()));
        let mut old = Gateway::beside(&gateway.process);
        old.configure("fedgate", &json(&table(700, PEERS, &exports), Options::default())).unwrap();
        gateway.configure("fedgate", &usual()).unwrap();
        old.tick_after(LOOK);
        for gateway in [&mut gateway, &mut old] {
            assert!(gateway.call_as(ALPHA, WEB) && !gateway.call_as(GAMMA, WEB));
        }
    }

    #[test]
    fn a_table_with_changed_options_is_a_new_version() {
        let mut old = Gateway::with(&usual());
        let client = old.connect(WEB);
        let exports = ["web.shop.svc.beta.example:80=alpha", "db.shop.svc.beta.example:3306=alpha"];
        let hasty = Options { identity_timeout_ms: 100, ..Options::default() };
        Gateway::beside(&old.process)
            .configure("fedgate", &json(&table(1, PEERS, &exports), hasty))
            .unwrap();
        old.tick_after(LOOK);
        for _ in 0..30 {
            old.tick();
        }
        assert!(!old.is_open(client), "timed out by the new options");
        let mut late = Gateway::beside(&old.process);
        late.configure("fedgate", &usual()).unwrap();
        assert_eq!(
            version(&late).split(' ').nth(3),
            Some("15000"),
            "going back to the former options is no late worker"
        );
    }

    /// A table replaces another of the same generation, as two controllers at once could produce.
    /// The one that is new here is taken, and a late worker does not bring back the other.
    #[test]
    fn an_equal_generation_with_other_content_is_a_new_table() {
        let gamma =
            json(&table(1, PEERS, &["web.shop.svc.beta.example:80=gamma"]), Options::default());
        let mut quick = Gateway::with(&usual());
        quick.configure("fedgate", &gamma).unwrap();
        let mut late = Gateway::beside(&quick.process);
        for json in [&usual(), &gamma] {
            late.configure("fedgate", json).unwrap();
            quick.tick_after(LOOK);
            for gateway in [&mut late, &mut quick] {
                assert!(gateway.call_as(GAMMA, WEB) && !gateway.call_as(ALPHA, WEB));
            }
        }
    }

    /// No worker is minutes late. A table that was replaced long ago and comes again is what the
    /// operator wants, for example after restoring a backup.
    #[test]
    fn a_table_replaced_long_ago_can_be_restored() {
        let mut gateway = Gateway::with(&usual());
        let mut other = Gateway::beside(&gateway.process);
        gateway.configure("fedgate", &later()).unwrap();
        other.configure("fedgate", &later()).unwrap();
        gateway.process.pass(LATE);
        gateway.configure("fedgate", &usual()).unwrap();
        other.tick_after(LOOK);
        for gateway in [&mut gateway, &mut other] {
            assert!(gateway.call_as(ALPHA, WEB) && !gateway.call_as(GAMMA, WEB));
        }
    }

    /// A worker stalled while hundreds of tables came. It still has all of them to process, one
    /// after the other.
    #[test]
    fn all_workers_end_with_the_newest_table_if_one_is_hundreds_late() {
        let tables = || {
            (1..=300).map(|generation| {
                peers_of(generation, if generation == 300 { "gamma" } else { "alpha" })
            })
        };
        let mut quick = Gateway::new();
        tables().for_each(|json| assert!(quick.configure("fedgate", &json).is_some()));
        let mut late = Gateway::beside(&quick.process);
        for json in tables() {
            late.configure("fedgate", &json).unwrap();
            quick.tick_after(LOOK);
        }
        for gateway in [&mut late, &mut quick] {
            assert!(gateway.call_as(GAMMA, WEB) && !gateway.call_as(ALPHA, WEB));
        }
        let size = quick.process.shared(&key("fedgate")).len();
        assert!(size < 16 << 10, "{size} bytes with 300 tables replaced");
    }

    fn peers_of(generation: u64, peer: &str) -> String {
        json(&table(generation, PEERS, &[&format!("{WEB}={peer}")]), Options::default())
    }

    /// Two workers write at the same time, and between any two calls of one, the other gets in
    /// first. Tested with an existing table, and with the very first, for which there is no number
    /// to compare.
    #[test]
    fn workers_that_write_at_the_same_time_end_with_the_newest_table() {
        let newest = || peers_of(3, "gamma");
        for calls in 0..8 {
            for (slow, first) in [
                (usual(), Some(usual())),
                (later(), Some(usual())),
                (usual(), None),
                (later(), None),
            ] {
                let mut worker = first.as_deref().map_or_else(Gateway::new, Gateway::with);
                let process = worker.process.clone();
                let elsewhere = process.clone();
                let act = move || {
                    let mut quick = Gateway::beside(&elsewhere);
                    for json in [usual(), later(), newest()] {
                        quick.configure("fedgate", &json).unwrap();
                    }
                };
                process.elsewhere.replace(Some((calls, Box::new(act))));
                worker.configure("fedgate", &slow).unwrap();
                if process.elsewhere.take().is_some() {
                    continue;
                }
                worker.tick_after(LOOK);
                let stored = process.shared(&key("fedgate"));
                assert!(
                    stored.ends_with(newest().as_bytes()) && stored.starts_with(b"3 "),
                    "after {calls} calls"
                );
                assert!(
                    worker.call_as(GAMMA, WEB) && !worker.call_as(ALPHA, WEB),
                    "after {calls} calls"
                );
                assert_eq!(worker.log(Level::Warn), Vec::<String>::new());
            }
        }
    }

    /// A table that the proxy did not store at first is offered again, and no older one replaces
    /// it.
    #[test]
    fn a_table_that_could_not_be_stored_is_offered_again() {
        let mut gateway = Gateway::with(&usual());
        let mut other = Gateway::beside(&gateway.process);
        other.configure("fedgate", &usual()).unwrap();
        gateway.fail("set_shared_data");
        gateway.configure("fedgate", &later()).unwrap();
        gateway.tick_after(LOOK);
        assert!(gateway.call_as(GAMMA, WEB) && other.call_as(ALPHA, WEB));
        gateway.succeed("set_shared_data");
        gateway.tick_after(LOOK);
        other.tick_after(LOOK);
        for gateway in [&mut gateway, &mut other] {
            assert!(gateway.call_as(GAMMA, WEB) && !gateway.call_as(ALPHA, WEB));
        }
    }

    fn version(gateway: &Gateway) -> String {
        let stored = gateway.process.shared(&key("fedgate"));
        String::from_utf8(stored).unwrap().lines().next().unwrap().to_owned()
    }
}

/// A callback that closes calls the filter again, nested in the earlier calls, and Envoy's stack is
/// finite.
#[test]
fn one_tick_closes_a_bounded_number_of_connections() {
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
fn a_revoked_connection_that_ended_by_itself_is_not_closed_again() {
    let mut gateway = Gateway::with(&usual());
    let client = open(&mut gateway, ALPHA, WEB);
    gateway.configure("fedgate", &later()).unwrap();
    gateway.hang_up(client);
    gateway.reuse(client);
    let other = gateway.connect(WEB);
    gateway.tick();
    assert!(gateway.is_open(other));
}

/// The cost of unfinished handshakes does not grow with their number.
#[test]
fn one_tick_checks_a_bounded_number_of_connections() {
    let mut gateway = Gateway::with(&usual());
    for _ in 0..1_000 {
        gateway.connect(WEB);
    }
    for _ in 0..200 {
        gateway.take_calls();
        gateway.tick();
        let calls = gateway.take_calls().len();
        assert!(calls <= 64 * 2 + 8, "{calls} host calls in one tick");
    }
}

#[test]
fn long_waiting_connections_are_checked_less_often() {
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

#[test]
fn a_finished_handshake_is_noticed_among_many_waiting_connections() {
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

#[test]
fn an_old_waiting_connection_does_not_delay_the_look_at_a_new_one() {
    let mut gateway = Gateway::with(&usual());
    let old = gateway.connect(DB);
    for _ in 0..50 {
        gateway.tick_after(Duration::from_millis(20));
    }
    for round in 0..60 {
        let new = gateway.connect(DB);
        (0..=round % 3).for_each(|_| gateway.tick());
        gateway.handshake(new, ALPHA);
        gateway.tick();
        assert!(gateway.upstream(new).is_some());
    }
    assert!(gateway.is_open(old));
}
