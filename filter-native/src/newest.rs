//! The newest table of the process, and how threads learn of it.
//!
//! Envoy loads a configuration on its main thread. New connections look here first, so a table is
//! in force for them as soon as Envoy has accepted it. For open connections, each thread leaves a
//! *waker* here: a scheduler of one of its connections. A new table wakes all of them.

use crate::abi::Scheduler;
use fedgate_filter::Configuration;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// By the name of the filter, so that two filters of one Envoy do not share a table.
static ALL: Mutex<BTreeMap<String, Arc<Newest>>> = Mutex::new(BTreeMap::new());

/// The newest table of one filter.
#[derive(Default)]
pub(crate) struct Newest {
    configuration: Mutex<Option<Arc<Configuration>>>,
    /// Grows with each configuration.
    count: AtomicU64,
    wakers: Mutex<HashMap<ThreadId, Scheduler>>,
}

impl Newest {
    pub(crate) fn of(filter: &str) -> Arc<Self> {
        Arc::clone(lock(&ALL).entry(filter.to_owned()).or_default())
    }

    /// Returns false if there has been no table yet.
    pub(crate) fn is_known(&self) -> bool {
        lock(&self.configuration).is_some()
    }

    pub(crate) fn replace(&self, configuration: Configuration) {
        lock(&self.configuration).replace(Arc::new(configuration));
        // After the configuration and before waking: a thread that has just looked is woken, and
        // one that registers its waker later sees the count.
        self.count.fetch_add(1, Ordering::SeqCst);
        lock(&self.wakers).values().for_each(Scheduler::wake);
    }

    /// The configuration, if it is not the one that was read at this count.
    pub(crate) fn since(&self, count: u64) -> Option<(u64, Arc<Configuration>)> {
        let now = self.count.load(Ordering::SeqCst);
        if now == count {
            return None;
        }
        lock(&self.configuration).clone().map(|configuration| (now, configuration))
    }

    /// Sets or removes the waker of this thread. Afterwards, no other thread uses the one before.
    pub(crate) fn set_waker(&self, waker: Option<Scheduler>) {
        let thread = std::thread::current().id();
        let mut wakers = lock(&self.wakers);
        match waker {
            Some(waker) => drop(wakers.insert(thread, waker)),
            None => drop(wakers.remove(&thread)),
        }
    }

    /// Wakes this thread, once its callback has returned.
    pub(crate) fn wake_this_thread(&self) {
        if let Some(waker) = lock(&self.wakers).get(&std::thread::current().id()) {
            waker.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
