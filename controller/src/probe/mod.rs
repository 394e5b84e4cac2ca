//! Whether a peer's gateways can be reached: each is connected to, as a client of the peer's services would.
//!
//! ```text
//! federate ──► ProbeTarget ──► Prober: each gateway, TCP, then TLS up to the server's certificate ──► Probed ──► PeerKnowledge
//! ```
//!
//! A gateway is good when it shows a certificate by the peer's own roots, with the identity that imports expect. It asks for our
//! certificate too; we have none to show, since that is the gateways' own, and need none: in TLS 1.3 the server has proved who it is
//! before it judges its client. What it says afterwards is not waited for.
//!
//! Where the gateways are a peer says, who is a stranger. So they are connected to no more than traffic does anyway: addresses that
//! are in force only, one connection each in an interval, few at a time, each for a few seconds, and nothing is sent that is not in
//! every TLS handshake with that peer.

mod failure;
mod gateway;
mod handshake;
#[cfg(test)]
pub(crate) mod probe_tests;
mod verifier;

use fedgate_federation::federate::ProbeTarget;
use fedgate_federation::knowledge::Probed;
use gateway::probe_gateway;
use handshake::Handshake;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// How many gateways of one peer are connected to at once.
const OF_ONE_PEER: usize = 4;

/// How a peer's gateways are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// How often; jittered by a tenth. When the gateways change it is done again soon, but a quarter of this after the last time.
    pub interval: Duration,
    /// The time for one gateway, from the look-up of its name to the end of the handshake.
    pub time: Duration,
    /// How many gateways are connected to at once, of all peers together.
    pub at_once: usize,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), time: Duration::from_secs(5), at_once: 32 }
    }
}

/// What all peers' probers have in common.
#[derive(Debug)]
pub(crate) struct Probing {
    settings: ProbeSettings,
    places: Arc<Semaphore>,
}

impl Probing {
    pub(crate) fn new(settings: ProbeSettings) -> Self {
        Self { places: Arc::new(Semaphore::new(settings.at_once)), settings }
    }
}

/// What is to be probed of a peer; `None` while no gateway of it is in force.
pub(crate) type Target = Option<Arc<ProbeTarget>>;

/// Probes one peer's gateways until it is dropped.
pub(crate) struct Prober {
    outcomes: mpsc::Receiver<Probed>,
    task: JoinHandle<()>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    pub(crate) fn start(probing: Arc<Probing>, target: watch::Receiver<Target>) -> Self {
        let (sender, outcomes) = mpsc::channel(1);
        Self { outcomes, task: tokio::spawn(probe_on(probing, target, sender)) }
    }

    /// The next outcome. Nothing is lost when this is given up and asked again.
    pub(crate) async fn next(&mut self) -> Probed {
        match self.outcomes.recv().await {
            Some(probed) => probed,
            // Only a fault of ours ends the task; the peer goes on without probes.
            None => std::future::pending().await,
        }
    }
}

async fn probe_on(probing: Arc<Probing>, mut target: watch::Receiver<Target>, outcomes: mpsc::Sender<Probed>) {
    let interval = probing.settings.interval;
    loop {
        let Ok(now) = target.wait_for(Option::is_some).await.map(|target| Target::clone(&target)) else { return };
        if let Some(now) = now
            && outcomes.send(probe(&probing, &now).await).await.is_err()
        {
            return;
        }
        sleep(interval / 4).await;
        tokio::select! {
            () = sleep(interval.mul_f64(0.65 + 0.2 * fastrand::f64())) => {}
            _ = target.changed() => {}
        }
    }
}

/// Connects to all gateways of a peer.
async fn probe(probing: &Probing, target: &ProbeTarget) -> Probed {
    let handshake = match target.service.as_ref().map(|service| Handshake::new(target, service)).transpose() {
        Ok(handshake) => handshake.map(Arc::new),
        Err(why) => return Probed::Impossible(why),
    };
    let own_places = Arc::new(Semaphore::new(OF_ONE_PEER));
    let mut probes = JoinSet::new();
    for (place, gateway) in target.gateways.iter().cloned().enumerate() {
        let (all, own) = (Arc::clone(&probing.places), Arc::clone(&own_places));
        let (handshake, time) = (handshake.clone(), probing.settings.time);
        probes.spawn(async move {
            // Never closed.
            let _places = (own.acquire().await, all.acquire().await);
            let outcome = probe_gateway(&gateway, handshake.as_deref(), time).await;
            (place, gateway, outcome.map_err(|failure| failure.to_string()))
        });
    }
    let mut outcomes = probes.join_all().await;
    outcomes.sort_by_key(|(place, ..)| *place);
    let outcomes = outcomes.into_iter().map(|(_, gateway, outcome)| (gateway, outcome)).collect();
    Probed::Gateways { outcomes, verified: handshake.is_some() }
}
