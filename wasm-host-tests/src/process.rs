//! State of the proxy's process, shared by all its threads and VMs: the clock, shared data,
//! metrics, the log, and the servers behind the clusters.

use crate::abi::{LogLevel, Status};
use crate::metrics::Metrics;
use crate::shared_data::SharedData;
use crate::trace::Trace;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Host functions run inside a VM's call, so all VMs of a proxy reach the process through a shared
/// reference.
pub(crate) type SharedProcess = Rc<RefCell<Process>>;

/// The time at which every proxy starts: 2026-01-01, so that times look real.
const START_NANOSECONDS: u64 = 1_767_225_600 * 1_000_000_000;

/// An action of another thread in the middle of this thread's callback.
pub(crate) struct Elsewhere {
    /// The number of further calls on shared data before it happens.
    pub(crate) calls: usize,
    pub(crate) act: Box<dyn FnOnce()>,
}

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elsewhere").field("calls", &self.calls).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct Process {
    /// Virtual time, which moves only on request.
    pub(crate) now_nanoseconds: u64,
    pub(crate) shared_data: SharedData,
    pub(crate) metrics: Metrics,
    pub(crate) log_level: LogLevel,
    pub(crate) log: Vec<LogLine>,
    pub(crate) clusters: Clusters,
    /// Host functions that return another status than usual, by name.
    pub(crate) refused_calls: BTreeMap<String, Status>,
    pub(crate) elsewhere: Option<Elsewhere>,
    pub(crate) trace: Trace,
}

/// A line that a module logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The line's level.
    pub level: LogLevel,
    /// The root context's `root_id`.
    pub root_id: String,
    /// The line's text.
    pub text: String,
}

/// The clusters of the proxy (CDS). Every name is a cluster whose server accepts at once, except
/// for those listed here.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    /// Clusters that do not exist: tcp_proxy closes with the flag `NC`.
    pub(crate) unknown: BTreeSet<String>,
    /// Clusters without an endpoint: tcp_proxy closes with the flag `UH`.
    pub(crate) empty: BTreeSet<String>,
    /// Clusters whose server has not accepted yet.
    pub(crate) slow: BTreeSet<String>,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self {
            now_nanoseconds: START_NANOSECONDS,
            shared_data: SharedData::default(),
            metrics: Metrics::default(),
            log_level: LogLevel::Info,
            log: Vec::new(),
            clusters: Clusters::default(),
            refused_calls: BTreeMap::new(),
            elsewhere: None,
            trace: Trace::default(),
        }
    }

    /// The action of another thread that is due before the next call on shared data is carried out,
    /// if any.
    pub(crate) fn faster(&mut self) -> Option<Box<dyn FnOnce()>> {
        let elsewhere = self.elsewhere.take()?;
        match elsewhere.calls {
            0 => Some(elsewhere.act),
            calls => {
                self.elsewhere = Some(Elsewhere { calls: calls - 1, ..elsewhere });
                None
            }
        }
    }
}
