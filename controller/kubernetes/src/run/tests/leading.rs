//! Tests who leads, and what a replica does when it begins or stops leading.

use super::super::importer_settings;
use super::*;
use crate::leader::election::{DURATION, Election};
use crate::replica::{Certificates, Outcomes, Replica};
use crate::sinks::outputs::Outputs;
use crate::sources::{Sources, Wakes};
use fedgate_engine::confirmations::Confirmations;
use fedgate_process::tasks::Tasks;
use tokio::sync::mpsc;

#[tokio::test(start_paused = true)]
async fn a_leader_writes_everything_once() {
    let site = Site::new();
    site.export("web");
    site.peer("beta");
    let replica = site.lead("a").await;
    until(|| !site.status("beta").is_null()).await;
    assert!(site.state().is_some() && replica.serves().is_some());
    assert!(site.holder().await.starts_with("a_"));
    sleep(Duration::from_secs(60)).await;
    let writes = site.server.calls(writes_objects);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(site.server.calls(writes_objects), writes, "nothing is written that is so already");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_leader_hands_over_at_once_and_a_dead_one_after_the_lease() {
    let site = Site::new();
    let (first, second) = (site.lead("a").await, site.start("b"));
    second.until_ready().await;
    assert!(site.holder().await.starts_with("a_"));
    assert_eq!(second.serves(), first.serves(), "any of them answers");
    assert_eq!(site.server.calls(|call| call.who == "b" && writes_objects(call)), 0);
    first.stop().await;
    let stopped = Instant::now();
    while !site.holder().await.starts_with("b_") {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(stopped.elapsed() < Duration::from_secs(3));
    let third = site.start("c");
    third.until_ready().await;
    drop(second);
    let died = Instant::now();
    while !site.holder().await.starts_with("c_") {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(
        died.elapsed() >= DURATION - Duration::from_secs(2)
            && died.elapsed() < DURATION + Duration::from_secs(4)
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_and_writes_nothing_later() {
    let site = Site::new();
    let first = site.lead("a").await;
    let second = site.start("b");
    second.until_ready().await;
    // Its requests are lost without an error, so the Lease is not renewed.
    site.server.fail(usize::MAX, Fault::Swallowed, |call| call.who == "a");
    site.export("web");
    let before = site.table();
    until(|| site.table() != before).await;
    assert!(site.holder().await.starts_with("b_"));
    let written = site.server.calls(|call| call.who == "a" && writes_objects(call));
    site.server.mend();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(site.server.calls(|call| call.who == "a" && writes_objects(call)), written);
    assert!(first.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_does_not_serve_what_it_has_not_stored() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let (before, state) = (replica.serves(), site.state());
    site.server.fail(usize::MAX, Fault::Swallowed, of_lease);
    site.server.fail(usize::MAX, Fault::LateAnswer(Duration::from_secs(9)), |call| {
        call.name == TABLE && call.writes()
    });
    site.export("web");
    site.new_root();
    for _ in 0..300 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!((replica.serves(), site.state()), (before.clone(), state.clone()));
    }
    site.server.mend();
    until(|| replica.serves() != before).await;
    assert_ne!(site.state(), state);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_drops_its_pending_write() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let before = site.table();
    site.server.fail(usize::MAX, Fault::Swallowed, of_lease);
    // The term ends after 7 s at the latest.
    let late = |call: &Call| call.name == TABLE && call.writes();
    site.server.fail(usize::MAX, Fault::Late(Duration::from_secs(12)), late);
    site.export("web");
    until(|| site.server.calls(late) > 1).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(site.table(), before);
    assert!(replica.is_ready());
    site.server.mend();
    until(|| site.table() != before).await;
}

#[tokio::test(start_paused = true)]
async fn a_former_leader_waits_for_the_next_leader_anew() {
    let site = Site::new();
    site.lead("a").await.stop().await;
    site.new_root();
    let (client, settings) = (site.server.client_of("b"), Arc::new(flags(&[]).unwrap()));
    let (wakes, mut tasks, confirmations) =
        (Wakes::default(), Tasks::default(), Confirmations::default());
    let sources = Sources::start(&client, &settings, &wakes, &mut tasks);
    let outputs = Arc::new(Outputs::start(&client, &settings, &wakes, &mut tasks));
    let watched = Arc::clone(&outputs);
    let (election, leadership) =
        Election::new(&client, NAMESPACE, "b".to_owned(), confirmations.clone());
    let (updates, _learned) = mpsc::channel(1);
    let keyring = Keyring::default();
    let own = (&site.identity, &keyring);
    let asking = (importer_settings(&settings, own, &Metrics::default()), updates);
    let published = watch::Sender::<Arc<Published>>::default();
    let outcomes =
        Outcomes { newest: watch::Sender::new(None), published: published.clone(), confirmations };
    let (endpoint, presented) = (watch::channel(Credentials::default()).1, watch::channel(None).1);
    let certificates = Certificates { endpoint, presented };
    let identity = (site.identity.clone(), keyring.clone());
    let mut replica = Replica::new(
        settings,
        identity,
        (sources, outputs),
        leadership.clone(),
        asking,
        outcomes,
        certificates,
    )
    .unwrap();
    while !replica.missing().is_empty() || !watched.missing().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    let at = |second| Timestamp::from_second(1_800_000_000_i64 + second).unwrap();
    assert_eq!(replica.compile(at(0)), Some(at(5)), "it waits for the leader to publish the same");
    let election = tokio::spawn(election.run(std::future::pending()));
    until(|| leadership.leads()).await;
    replica.compile(at(1));
    election.abort();
    until(|| !leadership.leads()).await;
    assert_eq!(replica.compile(at(60)), Some(at(65)), "as long as for any leader");
    assert!(published.borrow().public.is_none());
    replica.compile(at(65));
    assert!(
        published.borrow().public.is_some() && !site.table().is_null(),
        "it is set up differently"
    );
}
