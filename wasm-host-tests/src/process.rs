//! What belongs to the proxy's process, and so to all its threads and VMs: the clock, shared data, metrics, the log, and
//! the servers behind the clusters.

use crate::abi::{LogLevel, Status};
use crate::metrics::Metrics;
use crate::shared_data::SharedData;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Host functions run inside of a VM's call, so all VMs of a proxy reach the process through a shared reference.
pub(crate) type SharedProcess = Rc<RefCell<Process>>;

/// The time at which every proxy starts: 2026-01-01, so that times look like real ones.
const START_NANOSECONDS: u64 = 1_767_225_600 * 1_000_000_000;

/// What another thread does while this one is in the middle of a callback.
pub(crate) struct Elsewhere {
    /// After so many more calls about shared data.
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
    /// Virtual: it moves only when it is told to.
    pub(crate) now_nanoseconds: u64,
    pub(crate) shared_data: SharedData,
    pub(crate) metrics: Metrics,
    pub(crate) log_level: LogLevel,
    pub(crate) log: Vec<LogLine>,
    pub(crate) clusters: Clusters,
    /// Host functions that answer with another status than they would, by name.
    pub(crate) refused_calls: BTreeMap<String, Status>,
    pub(crate) elsewhere: Option<Elsewhere>,
}

/// A line that a module has logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How important it is.
    pub level: LogLevel,
    /// The root context's `root_id`.
    pub root_id: String,
    /// What it says.
    pub text: String,
}

/// The clusters of the proxy (CDS). Every name is a cluster whose server accepts at once, but for those below.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    /// No such cluster: tcp_proxy closes with the flag `NC`.
    pub(crate) unknown: BTreeSet<String>,
    /// The cluster has no endpoint: tcp_proxy closes with the flag `UH`.
    pub(crate) empty: BTreeSet<String>,
    /// The server has not accepted yet.
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
        }
    }

    /// What another thread does before the next call about shared data is carried out.
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
