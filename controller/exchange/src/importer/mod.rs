//! Fetches what peers publish. Each peer has its own task, so a slow peer delays no other.
//!
//! ```text
//! follow ──► task ──► round: GET public ──► GET private ──► PeerKnowledge ──► PeerUpdate to the caller
//!    ▲         ▲                                                  │                  │
//!    │         └── GET private again, answered at a change, ◄─────┘                  │
//!    │             or a pause: interval, or backoff                                  │
//!    └───────────────────────────── federate ◄───────────────────────────────────────┘
//! ```
//!
//! A peer is a stranger until `fedgate_federation` has validated its documents. Until then it could
//! try to hold or flood us, so `FetchLimits` and the client bound everything: time, bytes,
//! headers, redirects (none), and the number of concurrent rounds.
//!
//! The knowledge of a peer is a value that passes from round to round. Each round sends its result
//! to the caller, which keeps it, compiles from it and persists it. The outcome of `federate`
//! returns through [`Importer::follow`]: which peers exist, which of them may get a token, and
//! which gateways to probe ([`crate::probe`]). The outcome of a probe becomes part of the
//! knowledge.

mod client;
mod client_certificate;
mod endpoint;
mod failure;
mod fetch;
#[cfg(test)]
mod fetch_tests;
#[cfg(test)]
mod importer_tests;
mod metrics;
#[cfg(test)]
mod pairing_tests;
mod patience;
mod poll_backoff;
mod round;
mod settings;
mod task;
mod token_decision;
mod waiting;

pub(crate) use client::SystemRoots;
pub use client_certificate::NoClientCertificate;
pub use failure::FetchFailure;
pub use metrics::Metrics;
#[cfg(test)]
pub(crate) use metrics::ProbeLabels;
pub(crate) use settings::FetchLimits;
pub use settings::{Identity, ImporterSettings};

use crate::lookup::{LookUps, Names};
use crate::probe::{Probing, Target};
use crate::supervision::Supervision;
use fedgate_core::PeerName;
use fedgate_federation::{
    Federation,
    federate::ProbeTarget,
    knowledge::{Exchange, PeerKnowledge},
    object::Peer,
};
use fedgate_trace::Received;
use round::Poller;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use task::PeerTask;
use token_decision::TokenDecisions;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tracing::info;

/// The end of a round with a peer, or of a probe or lookup of its gateways.
#[derive(Clone, Debug)]
pub struct PeerUpdate {
    /// The peer. If it has been removed in the meantime, ignore the update.
    pub peer: PeerName,
    /// What is known of the peer now.
    pub knowledge: PeerKnowledge,
    /// True if anything but times has changed, so the caller has a reason to compile and to report.
    pub changed: bool,
    /// When the document came that is the reason, if that is noted for traces.
    pub received: Option<Received>,
}

/// How many answers to requests that waited are read at once. Each may be as large as a document.
const READING: usize = 32;

/// Polls peers. Dropping it stops everything at once.
#[derive(Debug)]
pub struct Importer {
    shared: Arc<Shared>,
    decisions: watch::Sender<Arc<TokenDecisions>>,
    tasks: BTreeMap<PeerName, PeerHandle>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<ImporterSettings>,
    /// Bounds the rounds at the same time.
    permits: Semaphore,
    /// The same for rounds with peers that were silent the last time.
    silent: Semaphore,
    /// Bounds the requests that wait for a change.
    waiting: Semaphore,
    /// Bounds how many of their answers are read at once.
    reading: Arc<Semaphore>,
    probing: Arc<Probing>,
    lookups: Arc<LookUps>,
    updates: mpsc::Sender<PeerUpdate>,
}

/// A peer's running task. Dropping this ends it.
#[derive(Debug)]
struct PeerHandle {
    peer: Arc<Peer>,
    target: watch::Sender<Target>,
    names: watch::Sender<Names>,
    task: JoinHandle<()>,
}

/// Whoever asks no peers any more, such as a replica that no longer leads, knows nothing of their age.
impl Drop for Importer {
    fn drop(&mut self) {
        let metrics = &self.shared.settings.metrics;
        metrics.peers.set(0);
        let peers: Vec<_> = self.tasks.keys().cloned().collect();
        self.tasks.clear();
        peers.iter().for_each(|peer| metrics.forget(peer));
    }
}

impl Drop for PeerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Importer {
    /// Starts without peers. Each round sends its result to `updates`; while the channel is full,
    /// peers wait.
    pub fn new(settings: ImporterSettings, updates: mpsc::Sender<PeerUpdate>) -> Self {
        let silent = (settings.limits.at_once / 4).max(1);
        let permits = settings.limits.at_once.saturating_sub(silent).max(1);
        let waiting = Semaphore::new(settings.limits.waiting);
        let probing = Arc::new(Probing::new(settings.probe.clone()));
        let lookups = Arc::new(LookUps::new(settings.lookup.clone()));
        Self {
            shared: Arc::new(Shared {
                settings: Arc::new(settings),
                permits: Semaphore::new(permits),
                silent: Semaphore::new(silent),
                waiting,
                reading: Arc::new(Semaphore::new(READING)),
                probing,
                lookups,
                updates,
            }),
            decisions: watch::Sender::default(),
            tasks: BTreeMap::new(),
        }
    }

    /// Polls exactly the peers of `federation`. Call this after each `federate`, with the knowledge
    /// that went into it.
    ///
    /// An unchanged peer continues undisturbed. A new or changed peer is asked at once, starting
    /// from what is known of it. A removed peer is dropped, whatever it is doing. A peer is sent
    /// tokens only for a UUID that has passed through `federate`, so a new peer's private document
    /// comes after the second call.
    ///
    /// Must be called within a tokio runtime.
    pub fn follow(
        &mut self,
        federation: &Federation,
        knowledge: &BTreeMap<PeerName, PeerKnowledge>,
    ) {
        self.poll(
            federation.peers.iter().map(|report| &report.peer),
            token_decision::token_decisions(federation),
            knowledge,
        );
        for (name, running) in &self.tasks {
            running.probe(federation.probe_targets.get(name));
            running.look_up(federation.gateway_names.get(name));
        }
    }

    fn poll<'p>(
        &mut self,
        peers: impl Iterator<Item = &'p Peer>,
        decisions: TokenDecisions,
        knowledge: &BTreeMap<PeerName, PeerKnowledge>,
    ) {
        self.decisions.send_replace(Arc::new(decisions));
        let mut before = std::mem::take(&mut self.tasks);
        for peer in peers {
            let goes_on =
                |running: &PeerHandle| *running.peer == *peer && !running.task.is_finished();
            let running = before.remove(&peer.name).filter(goes_on);
            let running = running.unwrap_or_else(|| self.start(peer, knowledge.get(&peer.name)));
            self.tasks.insert(peer.name.clone(), running);
        }
        for gone in before.keys() {
            self.shared.settings.metrics.forget(gone);
        }
        self.shared.settings.metrics.peers.set(self.tasks.len().try_into().unwrap_or(i64::MAX));
    }

    fn start(&self, peer: &Peer, known: Option<&PeerKnowledge>) -> PeerHandle {
        let (target, targets) = watch::channel(None);
        let (names, gateway_names) = watch::channel(Names::new());
        let peer = Arc::new(peer.clone());
        let known = known.filter(|known| known.trust_domain == peer.trust_domain);
        let panics = self.shared.settings.metrics.panics.clone();
        let supervision = Supervision { peer: peer.name.clone(), panics };
        let task = PeerTask {
            shared: self.shared.clone(),
            peer: peer.clone(),
            known: Mutex::new(known.cloned().unwrap_or_else(|| PeerKnowledge::new(&peer))),
            targets,
            names: gateway_names,
            decisions: self.decisions.clone(),
            supervision: supervision.clone(),
        };
        let task = Arc::new(task);
        let task = supervision.spawn("exchange", move || Arc::clone(&task).run());
        PeerHandle { peer, target, names, task }
    }
}

impl PeerHandle {
    /// Sets what to probe, if it differs from before.
    fn probe(&self, target: Option<&ProbeTarget>) {
        self.target.send_if_modified(|before| {
            let differs = before.as_deref() != target;
            if differs {
                *before = target.cloned().map(Arc::new);
            }
            differs
        });
    }

    /// Sets which names to look up, if they differ from before.
    fn look_up(&self, names: Option<&Names>) {
        self.names.send_if_modified(|before| {
            let differs = names.map_or(!before.is_empty(), |names| names != before);
            if differs {
                *before = names.cloned().unwrap_or_default();
            }
            differs
        });
    }
}

impl Shared {
    /// Hands on what is known now. Returns false if the receiver is gone.
    async fn report(&self, before: &PeerKnowledge, poller: &mut Poller) -> bool {
        let update = PeerUpdate {
            peer: poller.peer.name.clone(),
            changed: poller.knowledge.differs_from(before),
            knowledge: poller.knowledge.clone(),
            received: poller.received.take(),
        };
        log(before, &update);
        self.settings.metrics.confirmed(&update.peer, &update.knowledge);
        self.updates.send(update).await.is_ok()
    }
}

fn describe_exchange(exchange: Option<&Exchange>) -> Option<String> {
    exchange.map(|exchange| describe(exchange.reason.word(), &exchange.message))
}

fn describe(reason: &str, message: &str) -> String {
    match message {
        "" => reason.to_owned(),
        message => format!("{reason}: {message}"),
    }
}

/// Logs an exchange or a probe whose outcome differs from the last one.
fn log(before: &PeerKnowledge, update: &PeerUpdate) {
    let after = &update.knowledge;
    let ends = |of: &PeerKnowledge| {
        let probe =
            of.dataplane.as_ref().map(|probe| describe(probe.reason.word(), &probe.message));
        [
            ("public", describe_exchange(of.public_exchange.as_ref())),
            ("private", describe_exchange(of.private_exchange.as_ref())),
            ("gateways", probe),
        ]
    };
    for ((_, before), (what, after)) in ends(before).into_iter().zip(ends(after)) {
        if let Some(after) = after.filter(|after| before.as_ref() != Some(after)) {
            info!(peer = %update.peer, what, "{after}");
        }
    }
}
