//! One peer's task: rounds, requests that wait for a change, and pauses. Probes and lookups end
//! meanwhile.

use super::{
    Shared,
    patience::{Pace, Patience},
    poll_backoff::{PollBackoff, RoundOutcome},
    round::Poller,
    token_decision::{DecisionWatch, TokenDecisions},
    waiting::Then,
};
use crate::counted::Counted;
use crate::lookup::{Names, Resolving};
use crate::probe::{Prober, Target};
use crate::supervision::Supervision;
use fedgate_federation::{knowledge::PeerKnowledge, object::Peer, token::TokenSource};
use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// The shortest wait before the first round with a peer that another process may just have asked.
/// Tokens issued in the same second are identical, and the peer accepts a token only once.
const AFTER_ANOTHER: Duration = Duration::from_secs(1);

/// What one peer's task starts from, at first and after a panic.
pub(super) struct PeerTask {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Arc<Peer>,
    /// The knowledge that was handed on last.
    pub(super) known: Mutex<PeerKnowledge>,
    pub(super) targets: watch::Receiver<Target>,
    pub(super) names: watch::Receiver<Names>,
    pub(super) decisions: watch::Sender<Arc<TokenDecisions>>,
    pub(super) supervision: Supervision,
}

impl PeerTask {
    /// Runs until the task is aborted or the receiver of its updates is gone.
    pub(super) async fn run(self: Arc<Self>) {
        let (shared, supervision) = (&self.shared, &self.supervision);
        let poller = Poller {
            settings: shared.settings.clone(),
            lookups: shared.lookups.clone(),
            peer: self.peer.clone(),
            knowledge: self.known().clone(),
            tokens: TokenSource::default(),
            decisions: DecisionWatch(self.decisions.subscribe()),
            decision: None,
            connector: None,
            by_other_key: false,
            waits: false,
            refused: None,
            client: None,
            received: None,
            patience: Patience::new(&shared.settings.times),
            pace: Pace::default(),
        };
        let prober =
            Prober::start(shared.probing.clone(), self.targets.clone(), supervision.clone());
        let resolving =
            Resolving::start(shared.lookups.clone(), self.names.clone(), supervision.clone());
        Running { task: &self, poller, prober, resolving }.run().await;
    }

    fn known(&self) -> MutexGuard<'_, PeerKnowledge> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running task. Its methods return `None` once the receiver of the updates is gone.
struct Running<'t> {
    task: &'t PeerTask,
    poller: Poller,
    prober: Prober,
    resolving: Resolving,
}

impl Running<'_> {
    async fn run(mut self) -> Option<()> {
        let mut backoff = PollBackoff::new(self.poller.settings.poll);
        if self.poller.knowledge.private.is_some() {
            sleep(AFTER_ANOTHER.mul_f64(1.0 + fastrand::f64())).await;
        }
        loop {
            let mut ended = self.round().await?;
            while self.poller.goes_on(ended) && self.poller.can_wait() {
                match self.wait().await? {
                    Then::Wait => {}
                    Then::Round => ended = self.round().await?,
                    Then::Pause(outcome) => {
                        ended = outcome;
                        break;
                    }
                }
            }
            self.pause(ended, backoff.after(ended, fastrand::f64())).await?;
        }
    }

    /// A round. Peers that were silent before share a few permits, so that they do not delay the
    /// others.
    async fn round(&mut self) -> Option<RoundOutcome> {
        let shared = &self.task.shared;
        let permits = if self.poller.was_silent() { &shared.silent } else { &shared.permits };
        let before = self.poller.knowledge.clone();
        // The semaphore is never closed.
        let permit = permits.acquire().await;
        let ended = self.poller.round().await;
        drop(permit);
        self.report(&before).await?;
        Some(ended)
    }

    /// Waits until the peer's private document changes.
    async fn wait(&mut self) -> Option<Then> {
        let shared = &self.task.shared;
        let Ok(_place) = shared.waiting.try_acquire() else {
            return Some(Then::Pause(RoundOutcome::Succeeded));
        };
        let next = self.poller.pace.next();
        self.meanwhile(sleep_until(next)).await?;
        let Some(request) = self.poller.wait_for_change(shared.reading.clone()) else {
            return Some(Then::Round);
        };
        let waiting = Counted::new(shared.settings.metrics.waiting.clone());
        let waited = self.meanwhile(request).await?;
        drop(waiting);
        let before = self.poller.knowledge.clone();
        let then = self.poller.waited(waited).await;
        if self.poller.knowledge != before {
            self.report(&before).await?;
        }
        Some(then)
    }

    async fn pause(&mut self, ended: RoundOutcome, time: Duration) -> Option<()> {
        self.poller.hang_up();
        let (next, decided) = (Instant::now() + time, self.poller.decision_changed());
        self.meanwhile(async move {
            tokio::select! {
                () = sleep_until(next) => {}
                () = decided, if ended == RoundOutcome::NoToken => {}
            }
        })
        .await
    }

    /// Waits for `event`, and records what is learned of the gateways meanwhile.
    async fn meanwhile<T>(&mut self, event: impl Future<Output = T>) -> Option<T> {
        let mut event = pin!(event);
        loop {
            let before;
            tokio::select! {
                result = event.as_mut() => return Some(result),
                probed = self.prober.next() => {
                    before = self.poller.knowledge.clone();
                    self.poller.probed(&probed);
                }
                outcomes = self.resolving.next() => {
                    before = self.poller.knowledge.clone();
                    self.poller.looked_up(outcomes);
                }
            }
            self.report(&before).await?;
        }
    }

    /// Hands on what is known now.
    async fn report(&mut self, before: &PeerKnowledge) -> Option<()> {
        self.task.known().clone_from(&self.poller.knowledge);
        self.task.shared.report(before, &mut self.poller).await.then_some(())
    }
}
