//! What the page shows, for all readers: swapped whole, never changed in place.

use crate::calls::Calls;
use crate::traffic::{Refusal, Traffic};
use arc_swap::{ArcSwap, ArcSwapOption};
use fedgate_engine::history::Change;
use fedgate_engine::in_force::InForce;
use fedgate_engine::status::Status;
use fedgate_federation::federate::Condition;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How many streams of events are open at a time, over all browsers.
const STREAMS: usize = 16;
/// How long a status is used for further requests. Peers confirm documents without a compilation.
const STATUS_AGE: Duration = Duration::from_secs(2);

/// What is known besides what is in force.
#[derive(Debug, Clone)]
pub struct Around {
    /// The platform: `files` or `kubernetes`.
    pub platform: &'static str,
    /// Whether the gateway's Pods have the table. Known only on Kubernetes.
    pub loaded: Option<Condition>,
    /// What the gateways counted; `Err` says why that is not known, and what to do.
    pub traffic: Result<Traffic, String>,
    /// What this cluster's programs called at peers; `Err` says why that is not known, and what to
    /// do.
    pub calls: Result<Calls, String>,
    /// The refusals that are in the gateway's access log, newest first; `Err` says why there are
    /// none.
    pub refusals: Result<Vec<Refusal>, String>,
    /// What happened, newest first.
    pub changes: Arc<[Change]>,
    /// Why `changes` lacks some, and what to do.
    pub unknown_changes: Option<String>,
    /// Why the page shows an older state: the cluster cannot be read.
    pub trouble: Option<String>,
}

impl Around {
    /// Nothing is known on this platform yet.
    pub fn new(platform: &'static str) -> Self {
        Self {
            platform,
            loaded: None,
            traffic: Err("not asked yet".to_owned()),
            calls: Err("not asked yet".to_owned()),
            refusals: Err("not asked yet".to_owned()),
            changes: Arc::default(),
            unknown_changes: None,
            trouble: None,
        }
    }
}

/// What the page shows. Clones share it.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    in_force: Arc<ArcSwapOption<InForce>>,
    around: ArcSwap<Around>,
    status: Mutex<Option<Cached>>,
    streams: Arc<Semaphore>,
    stopped: watch::Sender<bool>,
}

struct Cached {
    of: Arc<InForce>,
    at: Instant,
    status: Arc<Status>,
}

/// One look at everything.
pub(crate) struct Look {
    pub(crate) in_force: Arc<InForce>,
    pub(crate) status: Arc<Status>,
    pub(crate) around: Arc<Around>,
}

impl Feed {
    /// Shows what `in_force` has at any time.
    pub fn new(in_force: Arc<ArcSwapOption<InForce>>, around: Around) -> Self {
        Self(Arc::new(Shared {
            in_force,
            around: ArcSwap::from_pointee(around),
            status: Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            stopped: watch::Sender::new(false),
        }))
    }

    /// What is known besides what is in force.
    pub fn around(&self) -> Arc<Around> {
        self.0.around.load_full()
    }

    /// Replaces that. Readers see a change, so call it only if there is one. Only one task may.
    pub fn surround(&self, around: Around) {
        self.0.around.store(Arc::new(around));
    }

    /// Returns true if a page is open.
    pub fn is_watched(&self) -> bool {
        self.0.streams.available_permits() < STREAMS
    }

    /// Ends all streams. A server that stops waits for them.
    pub fn stop(&self) {
        self.0.stopped.send_replace(true);
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.0.stopped.subscribe()
    }

    /// The right to a stream; `None` if there are too many.
    pub(crate) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.streams).try_acquire_owned().ok()
    }

    /// What is in force; `None` if nothing is yet.
    pub(crate) fn in_force(&self) -> Option<Arc<InForce>> {
        self.0.in_force.load_full()
    }

    /// Everything; `None` if nothing is in force yet.
    pub(crate) fn look(&self) -> Option<Look> {
        let in_force = self.in_force()?;
        let around = self.around();
        let status = self.status(&in_force, &around);
        Some(Look { in_force, status, around })
    }

    fn status(&self, in_force: &Arc<InForce>, around: &Around) -> Arc<Status> {
        let mut cached = self.0.status.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = &*cached
            && Arc::ptr_eq(&cached.of, in_force)
            && cached.at.elapsed() < STATUS_AGE
        {
            return Arc::clone(&cached.status);
        }
        let mut status = in_force.status();
        status.table.loaded.clone_from(&around.loaded);
        let status = Arc::new(status);
        let (of, status_now) = (Arc::clone(in_force), Arc::clone(&status));
        *cached = Some(Cached { of, at: Instant::now(), status: status_now });
        status
    }
}
