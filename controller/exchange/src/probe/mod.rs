//! Checks whether a call to a peer would get through, by connecting to each of its gateways as a
//! workload's call would.
//!
//! ```text
//! federate ──► ProbeTarget ──► Prober: each gateway, TCP, TLS, a call ──► ProbeResult ──► PeerKnowledge
//! ```
//!
//! A good gateway shows a certificate from the peer's own roots, with the identity that imports
//! expect, and accepts ours. If the controller has this cluster's certificate ([`ProbeIdentity`]),
//! the probe shows it and calls the peer's health name with `GET /healthz`. Every gateway answers
//! its peers' calls there with 200. If a peer has no health name, the probe connects for one of its
//! services and waits for a refusal: in TLS 1.3 the client finishes before the server has looked at
//! its certificate. On Kubernetes only the gateways and sidecars have the certificate. The probe
//! then ends when the server has proved its identity, and its result says so.
//!
//! A peer, which is a stranger, says where its gateways are. So probes do no more than normal
//! traffic does. They connect only to addresses in force, once per interval, few at a time, for a
//! few seconds each. They send nothing that is not part of every call to that peer.

mod call;
#[cfg(test)]
mod call_tests;
mod failure;
mod gateway;
mod handshake;
mod identity;
mod presented;
#[cfg(test)]
pub(crate) mod probe_tests;
mod verifier;

pub use identity::ProbeIdentity;
pub use presented::presented;

use crate::settings::Intervals;
use crate::supervision::Supervision;
use fedgate_federation::federate::ProbeTarget;
use fedgate_federation::knowledge::{ProbeDepth, ProbeResult};
use fedgate_process::backoff::backoff;
use gateway::probe_gateway;
use handshake::Handshake;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// How many gateways of one peer are probed at once.
const OF_ONE_PEER: usize = 4;

/// How peers' gateways are probed.
#[derive(Clone, Debug)]
pub(crate) struct ProbeSettings {
    /// The interval between probes, with a jitter of a tenth. When the gateways change, the next
    /// probe comes sooner, but not before a quarter of the interval has passed since the last
    /// success. After a failure, the wait is a second, then two, four and so on, up to 15 s or the
    /// interval if that is shorter.
    pub(crate) interval: Duration,
    /// The time for one gateway, until the end of the handshake and the call.
    pub(crate) time: Duration,
    /// How many gateways are probed at once, across all peers.
    pub(crate) at_once: usize,
    /// What probes show to gateways.
    pub(crate) identity: ProbeIdentity,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        let identity = ProbeIdentity::default();
        Self {
            interval: Intervals::default().probe,
            time: Duration::from_secs(5),
            at_once: 32,
            identity,
        }
    }
}

/// What the probers of all peers share.
#[derive(Debug)]
pub(crate) struct Probing {
    settings: ProbeSettings,
    permits: Arc<Semaphore>,
}

impl Probing {
    pub(crate) fn new(settings: ProbeSettings) -> Self {
        Self { permits: Arc::new(Semaphore::new(settings.at_once)), settings }
    }
}

/// What to probe of a peer. `None` while it has no gateway in force.
pub(crate) type Target = Option<Arc<ProbeTarget>>;

/// Probes one peer's gateways until it is dropped.
pub(crate) struct Prober {
    outcomes: mpsc::Receiver<ProbeResult>,
    task: JoinHandle<()>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    pub(crate) fn start(
        probing: Arc<Probing>,
        target: watch::Receiver<Target>,
        supervision: Supervision,
    ) -> Self {
        let (sender, outcomes) = mpsc::channel(1);
        let probe = move || probe_on(Arc::clone(&probing), target.clone(), sender.clone());
        Self { outcomes, task: supervision.spawn("probe", probe) }
    }

    /// The next outcome. Cancel safe.
    pub(crate) async fn next(&mut self) -> ProbeResult {
        match self.outcomes.recv().await {
            Some(probed) => probed,
            // The importer is gone.
            None => std::future::pending().await,
        }
    }
}

/// The first and the longest wait after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

async fn probe_on(
    probing: Arc<Probing>,
    mut target: watch::Receiver<Target>,
    outcomes: mpsc::Sender<ProbeResult>,
) {
    let mut failures = 0;
    loop {
        let Ok(now) = target.wait_for(Option::is_some).await.map(|target| Target::clone(&target))
        else {
            return;
        };
        let Some(now) = now else { return };
        let probed = probe(&probing, &now).await;
        failures = if probed.succeeded() { 0 } else { failures + 1 };
        if outcomes.send(probed).await.is_err() {
            return;
        }
        let (least, most) = waits(probing.settings.interval, failures, fastrand::f64());
        sleep(least).await;
        tokio::select! {
            () = sleep(most.saturating_sub(least)) => {}
            _ = target.changed() => {}
        }
    }
}

/// The wait after a probe, after this many failures in a row: first if the gateways change, then if
/// they do not. `random` is from 0 to 1.
fn waits(interval: Duration, failures: u32, random: f64) -> (Duration, Duration) {
    if failures == 0 {
        return (interval / 4, interval.mul_f64(0.9 + 0.2 * random));
    }
    let first = FIRST_RETRY.min(interval);
    let most = backoff(first, LONGEST_RETRY.min(interval), failures);
    (first.min(interval / 4).min(most / 2), most.mul_f64(0.9 + 0.2 * random))
}

/// Probes all gateways of a peer.
async fn probe(probing: &Probing, target: &ProbeTarget) -> ProbeResult {
    let handshake = match handshake(&probing.settings.identity, target) {
        Ok(handshake) => handshake.map(Arc::new),
        Err(why) => return ProbeResult::Impossible(why),
    };
    let own_permits = Arc::new(Semaphore::new(OF_ONE_PEER));
    let mut probes = JoinSet::new();
    for (index, gateway) in target.gateways.iter().cloned().enumerate() {
        let (all, own) = (Arc::clone(&probing.permits), Arc::clone(&own_permits));
        let (handshake, time) = (handshake.clone(), probing.settings.time);
        probes.spawn(async move {
            // The semaphores are never closed.
            let _permits = (own.acquire().await, all.acquire().await);
            let outcome = probe_gateway(&gateway, handshake.as_deref(), time).await;
            (index, gateway.announced, outcome.map_err(|failure| failure.to_string()))
        });
    }
    let mut outcomes = probes.join_all().await;
    outcomes.sort_by_key(|(index, ..)| *index);
    let outcomes = outcomes.into_iter().map(|(_, gateway, outcome)| (gateway, outcome)).collect();
    let depth = match handshake {
        None => ProbeDepth::Connection,
        Some(handshake) if handshake.shows_certificate() => ProbeDepth::Call,
        Some(_) => ProbeDepth::Server,
    };
    ProbeResult::Gateways { outcomes, depth }
}

/// How to probe the gateways. `None` if there is no service to ask for.
fn handshake(identity: &ProbeIdentity, target: &ProbeTarget) -> Result<Option<Handshake>, String> {
    let Some(service) = &target.service else { return Ok(None) };
    Handshake::new(target, service, identity.keys()?).map(Some)
}
