//! Looks up the names of a peer's gateways. Each name is looked up once for its peer, only here, as
//! often as its records require.
//!
//! ```text
//! federate ──► names ──► Resolving: each name, A and AAAA ──► LookupOutcome ──► PeerKnowledge ──► federate: addresses
//! ```
//!
//! Envoy is given addresses, not names. With names, every import would do its own lookups at a rate
//! that the peer sets. Nothing could check the results either, which might be one of our own
//! listeners.
//!
//! The names come from a peer, so everything is bounded: the number of names (by the document), the
//! addresses of each, the time of a lookup, the number of concurrent lookups, and their rate. A
//! name is always complete. The search list of `/etc/resolv.conf` is for this machine's own
//! programs, and would resolve `kubernetes.default.svc` inside this cluster.

mod families;
#[cfg(test)]
mod lookup_tests;
mod routes;
mod system;

pub(crate) use system::SystemResolver;

use crate::supervision::Supervision;
use fedgate_core::Hostname;
use fedgate_federation::knowledge::LookupOutcome;
use fedgate_process::backoff::backoff;
use futures_util::future::BoxFuture;
use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

/// How many names of one peer are looked up at once.
const OF_ONE_PEER: usize = 4;

/// The shortest interval between lookups of a peer's names, whatever their records say.
const SHORTEST: Duration = Duration::from_secs(5);
/// The longest interval, so that changes of a long-lived record are noticed.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest wait after failures in a row.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(60);
/// The minimum interval grows by this for each name, so a peer costs at most two lookups a second.
const PER_NAME: Duration = Duration::from_millis(500);

/// The result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The addresses that the name leads to.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long the result is valid, by the records' TTL.
    pub(crate) time_to_live: Duration,
    /// Why the addresses of one family, IPv4 or IPv6, could not be looked up, in words for
    /// operators.
    pub(crate) failure: Option<String>,
}

/// A resolver of names.
pub(crate) trait Resolve: Send + Sync {
    /// Looks up `name`. The error says in words for operators why there is no result.
    fn look_up(&self, name: Hostname) -> BoxFuture<'_, Result<Found, String>>;
}

/// How the names of peers' gateways are looked up.
#[derive(Clone)]
pub(crate) struct LookUpSettings {
    pub(crate) resolver: Arc<dyn Resolve>,
    /// The time limit for one name.
    pub(crate) time: Duration,
    /// How many names are looked up at once, across all peers.
    pub(crate) at_once: usize,
}

impl Default for LookUpSettings {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver::default()),
            time: Duration::from_secs(5),
            at_once: 32,
        }
    }
}

impl fmt::Debug for LookUpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookUpSettings")
            .field("time", &self.time)
            .field("at_once", &self.at_once)
            .finish_non_exhaustive()
    }
}

/// What the lookups of all peers share.
#[derive(Debug)]
pub(crate) struct LookUps {
    settings: LookUpSettings,
    permits: Arc<Semaphore>,
}

impl LookUps {
    pub(crate) fn new(settings: LookUpSettings) -> Self {
        Self { permits: Arc::new(Semaphore::new(settings.at_once)), settings }
    }
}

/// The names of a peer's gateways.
pub(crate) type Names = BTreeSet<Hostname>;

/// Looks up one peer's names until it is dropped.
pub(crate) struct Resolving {
    outcomes: mpsc::Receiver<Vec<LookupOutcome>>,
    task: JoinHandle<()>,
}

impl Drop for Resolving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Resolving {
    pub(crate) fn start(
        shared: Arc<LookUps>,
        names: watch::Receiver<Names>,
        supervision: Supervision,
    ) -> Self {
        let (sender, outcomes) = mpsc::channel(1);
        let look_up = move || look_up_on(Arc::clone(&shared), names.clone(), sender.clone());
        Self { outcomes, task: supervision.spawn("lookup", look_up) }
    }

    /// The outcomes of the next round. Cancel safe.
    pub(crate) async fn next(&mut self) -> Vec<LookupOutcome> {
        match self.outcomes.recv().await {
            Some(outcomes) => outcomes,
            // The importer is gone.
            None => std::future::pending().await,
        }
    }
}

async fn look_up_on(
    shared: Arc<LookUps>,
    mut names: watch::Receiver<Names>,
    outcomes: mpsc::Sender<Vec<LookupOutcome>>,
) {
    let mut failures = 0;
    loop {
        let Ok(now) =
            names.wait_for(|names| !names.is_empty()).await.map(|names| Names::clone(&names))
        else {
            return;
        };
        let began = Instant::now();
        let round = look_up(&shared, &now).await;
        failures = if round.failed { failures + 1 } else { 0 };
        if outcomes.send(round.outcomes).await.is_err() {
            return;
        }
        let least = least(now.len());
        // New names are looked up soon, but not before the minimum interval for their number is
        // over.
        sleep_until(began + least).await;
        tokio::select! {
            () = sleep_until(began + wait(round.time_to_live, failures).max(least)) => {}
            changed = names.changed() => if changed.is_err() { return },
        }
    }
}

fn least(names: usize) -> Duration {
    PER_NAME.saturating_mul(u32::try_from(names).unwrap_or(u32::MAX))
}

/// The wait from one round to the next, after this many rounds in a row with a failure.
fn wait(time_to_live: Duration, failures: u32) -> Duration {
    let by_records = time_to_live.clamp(SHORTEST, LONGEST);
    match failures {
        0 => by_records,
        failures => by_records.min(backoff(SHORTEST, LONGEST_AFTER_FAILURE, failures)),
    }
}

struct Round {
    outcomes: Vec<LookupOutcome>,
    failed: bool,
    /// The shortest TTL of all names that were found.
    time_to_live: Duration,
}

/// Looks up names that a peer has just announced, within the time limit of one lookup. Until then,
/// what the peer announced before stays in force.
pub(crate) async fn look_up_now(shared: &LookUps, names: &Names) -> Vec<LookupOutcome> {
    let found = timeout(shared.settings.time, look_up(shared, names)).await;
    found.map(|round| round.outcomes).unwrap_or_default()
}

/// Looks up all names of a peer.
async fn look_up(shared: &LookUps, names: &Names) -> Round {
    let own_permits = Arc::new(Semaphore::new(OF_ONE_PEER));
    let mut tasks = JoinSet::new();
    for name in names.iter().cloned() {
        let (all, own) = (Arc::clone(&shared.permits), Arc::clone(&own_permits));
        let (resolver, time) = (Arc::clone(&shared.settings.resolver), shared.settings.time);
        tasks.spawn(async move {
            // The semaphores are never closed.
            let _permits = (own.acquire().await, all.acquire().await);
            let found = timeout(time, resolver.look_up(name.clone())).await;
            let found = found.unwrap_or_else(|_| Err(format!("no answer within {time:?}")));
            (name, found.and_then(|found| routes::with_route(found, routes::has_route)))
        });
    }
    let mut found = tasks.join_all().await;
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let times =
        found.iter().filter_map(|(_, found)| found.as_ref().ok()).map(|found| found.time_to_live);
    Round {
        time_to_live: times.min().unwrap_or(LONGEST),
        failed: found.iter().any(|(_, found)| found.is_err()),
        outcomes: found
            .into_iter()
            .map(|(name, found)| (name, found.map(|found| found.addresses)))
            .collect(),
    }
}
