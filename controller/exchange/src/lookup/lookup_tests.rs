//! Lookups with resolvers that a test controls and counts.

use super::{
    Found, LONGEST, LookUpSettings, LookUps, Names, OF_ONE_PEER, Resolve, Resolving, SHORTEST,
    Supervision, SystemResolver, least, wait,
};
use fedgate_core::Hostname;
use futures_util::future::BoxFuture;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// A slow resolver that knows every name, except those that begin with `no`.
#[derive(Default)]
struct Counting {
    takes: Duration,
    time_to_live: Duration,
    asked: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Resolve for Counting {
    fn look_up(&self, name: Hostname) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.most.fetch_max(self.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(self.takes).await;
            self.open.fetch_sub(1, Ordering::SeqCst);
            match name.as_str().starts_with("no") {
                true => Err("it is not known".to_owned()),
                false => Ok(Found {
                    addresses: vec!["192.0.2.9".parse().unwrap()],
                    time_to_live: self.time_to_live,
                    failure: None,
                }),
            }
        })
    }
}

fn names(list: &[&str]) -> Names {
    list.iter().map(|name| Hostname::parse(name).unwrap()).collect()
}

fn many(count: usize) -> Names {
    (0..count).map(|number| Hostname::parse(&format!("gw{number}.beta.example")).unwrap()).collect()
}

fn start(
    resolver: &Arc<Counting>,
    at_once: usize,
    names: Names,
) -> (Resolving, watch::Sender<Names>) {
    let settings =
        LookUpSettings { resolver: resolver.clone(), at_once, ..LookUpSettings::default() };
    let (sender, receiver) = watch::channel(names);
    (Resolving::start(Arc::new(LookUps::new(settings)), receiver, Supervision::of("beta")), sender)
}

#[tokio::test(start_paused = true)]
async fn each_name_is_looked_up_when_its_records_expire() {
    for (time_to_live, expected) in [(0, 5), (30, 30), (86_400, 300)] {
        let resolver = Arc::new(Counting {
            time_to_live: Duration::from_secs(time_to_live),
            ..Counting::default()
        });
        let (mut resolving, _names) = start(&resolver, 32, names(&["gw.beta.example"]));
        resolving.next().await;
        let began = Instant::now();
        for _ in 0..3 {
            resolving.next().await;
        }
        assert_eq!(began.elapsed().as_secs(), 3 * expected, "a TTL of {time_to_live} s");
        assert_eq!(resolver.asked.load(Ordering::SeqCst), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_names_cost_at_most_two_lookups_a_second() {
    let resolver = Arc::new(Counting::default());
    let (mut resolving, _names) = start(&resolver, 32, many(64));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(320) {
        resolving.next().await;
    }
    let asked = resolver.asked.load(Ordering::SeqCst);
    assert!((640..=2 * 320 + 64).contains(&asked), "{asked} in {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn concurrent_lookups_are_limited_and_a_silent_server_delays_no_other_peer() {
    let resolver = Arc::new(Counting { takes: Duration::from_secs(3), ..Counting::default() });
    let (mut resolving, _names) = start(&resolver, 32, many(12));
    resolving.next().await;
    assert_eq!(resolver.most.load(Ordering::SeqCst), OF_ONE_PEER);
    let resolver = Arc::new(Counting { takes: Duration::from_secs(3), ..Counting::default() });
    let (mut resolving, _names) = start(&resolver, 2, many(12));
    resolving.next().await;
    assert_eq!(resolver.most.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn lookups_at_a_silent_server_time_out_and_back_off() {
    let resolver = Arc::new(Counting { takes: Duration::from_secs(3600), ..Counting::default() });
    let (mut resolving, _names) = start(&resolver, 32, names(&["gw.beta.example"]));
    let outcomes = resolving.next().await;
    assert_eq!(outcomes[0].1.as_ref().unwrap_err(), "no answer within 5s");
    let waits: Vec<_> = (1..8).map(|failures| wait(LONGEST, failures).as_secs()).collect();
    assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60]);
    assert_eq!(wait(SHORTEST, 8), SHORTEST, "what was found is looked up at its own pace");
}

#[tokio::test(start_paused = true)]
async fn new_names_are_looked_up_soon_and_no_names_are_not() {
    let resolver = Arc::new(Counting { time_to_live: LONGEST, ..Counting::default() });
    let (mut resolving, sender) = start(&resolver, 32, Names::new());
    assert!(timeout(Duration::from_secs(900), resolving.next()).await.is_err());
    sender.send_replace(names(&["gw.beta.example"]));
    resolving.next().await;
    let began = Instant::now();
    sender.send_replace(names(&["gw.beta.example", "none.beta.example"]));
    let outcomes = resolving.next().await;
    assert_eq!(began.elapsed(), least(1));
    let (found, none) = (&outcomes[0], &outcomes[1]);
    assert_eq!((found.0.as_str(), found.1.is_ok()), ("gw.beta.example", true));
    assert_eq!(
        (none.0.as_str(), none.1.as_ref().unwrap_err().as_str()),
        ("none.beta.example", "it is not known")
    );
    sender.send_replace(Names::new());
    assert!(timeout(Duration::from_secs(900), resolving.next()).await.is_err());
}

/// Panics at the first question.
#[derive(Default)]
struct Panicking(AtomicUsize);

impl Resolve for Panicking {
    fn look_up(&self, _: Hostname) -> BoxFuture<'_, Result<Found, String>> {
        let asked = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            assert!(asked > 0, "out of cheese");
            let addresses = vec!["192.0.2.9".parse().unwrap()];
            Ok(Found { addresses, time_to_live: LONGEST, failure: None })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_counted_and_lookups_restart() {
    let settings =
        LookUpSettings { resolver: Arc::new(Panicking::default()), ..LookUpSettings::default() };
    let (_names, receiver) = watch::channel(names(&["gw.beta.example"]));
    let supervision = Supervision::of("beta");
    let mut resolving =
        Resolving::start(Arc::new(LookUps::new(settings)), receiver, supervision.clone());
    let began = Instant::now();
    let outcomes = resolving.next().await;
    assert!(outcomes[0].1.is_ok() && began.elapsed() < Duration::from_secs(2), "{outcomes:?}");
    assert_eq!(supervision.count("lookup"), 1);
}

/// The machine's own resolver. Its `/etc/hosts` has this name everywhere.
#[tokio::test]
async fn names_in_the_hosts_file_are_resolved() {
    let found =
        SystemResolver::default().look_up(Hostname::parse("localhost").unwrap()).await.unwrap();
    assert!(
        !found.addresses.is_empty() && found.addresses.iter().all(|ip| ip.is_loopback()),
        "{found:?}"
    );
}
