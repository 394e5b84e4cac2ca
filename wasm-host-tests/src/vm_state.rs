//! The host's state of one VM, apart from the module's own memory.

use crate::metrics::MetricNumbers;
use crate::process::SharedProcess;
use crate::stream::Stream;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use wasmtime::{Memory, StoreLimits, StoreLimitsBuilder, TypedFunc};

/// The hard limit of proxy-wasm-cpp-host on a VM's memory (`limits.h`).
const MEMORY_BYTES: usize = 1 << 30;

/// The data of a VM's store, through which host functions reach everything.
pub(crate) struct VmState {
    pub(crate) process: SharedProcess,
    pub(crate) vm_id: Rc<str>,
    pub(crate) vm_configuration: Rc<[u8]>,
    pub(crate) memory: Option<Memory>,
    pub(crate) malloc: Option<TypedFunc<u32, u32>>,
    pub(crate) limits: StoreLimits,
    pub(crate) contexts: HashMap<u32, Context>,
    /// The context for which the running callback was called; 0 between calls.
    pub(crate) current: u32,
    /// The context chosen with `proxy_set_effective_context`; 0 for none. Reset when the callback
    /// ends.
    pub(crate) effective: u32,
    /// Actions that the running callback requested, carried out once it has returned.
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) timers: BTreeMap<u32, Timer>,
    pub(crate) metrics: MetricNumbers,
    /// The plugin's configuration; available only while `proxy_on_configure` runs.
    pub(crate) configuration: Option<Rc<[u8]>>,
}

/// A context of the module.
pub(crate) enum Context {
    /// A configured plugin.
    Root(Root),
    /// A connection.
    Stream(Box<Stream>),
}

/// A root context.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) root_id: Rc<str>,
    pub(crate) plugin_name: Rc<str>,
    pub(crate) configuration: Rc<[u8]>,
    /// The number of listeners that send new connections here. The context ends when it has neither
    /// listeners nor connections.
    pub(crate) listeners: usize,
    pub(crate) streams: usize,
    pub(crate) ticks: u64,
}

/// An action on a connection that must not happen while the module runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deferred {
    Resume(u32),
    Close(u32),
}

/// The timer that ticks a root context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) period_nanoseconds: u64,
    pub(crate) due_nanoseconds: u64,
}

impl VmState {
    pub(crate) fn new(process: SharedProcess, vm_id: Rc<str>, vm_configuration: Rc<[u8]>) -> Self {
        Self {
            process,
            vm_id,
            vm_configuration,
            memory: None,
            malloc: None,
            limits: StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build(),
            contexts: HashMap::new(),
            current: 0,
            effective: 0,
            deferred: VecDeque::new(),
            timers: BTreeMap::new(),
            metrics: MetricNumbers::default(),
            configuration: None,
        }
    }

    /// The context for which host calls act. An effective context that has ended in the meantime is
    /// ignored.
    pub(crate) fn acting(&self) -> u32 {
        if self.contexts.contains_key(&self.effective) { self.effective } else { self.current }
    }

    pub(crate) fn root(&self, context: u32) -> Option<&Root> {
        match self.contexts.get(&context) {
            Some(Context::Root(root)) => Some(root),
            _ => None,
        }
    }

    pub(crate) fn root_mut(&mut self, context: u32) -> Option<&mut Root> {
        match self.contexts.get_mut(&context) {
            Some(Context::Root(root)) => Some(root),
            _ => None,
        }
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = &Root> {
        self.contexts.values().filter_map(|context| match context {
            Context::Root(root) => Some(root),
            Context::Stream(_) => None,
        })
    }

    pub(crate) fn stream(&self, context: u32) -> Option<&Stream> {
        match self.contexts.get(&context) {
            Some(Context::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn stream_mut(&mut self, context: u32) -> Option<&mut Stream> {
        match self.contexts.get_mut(&context) {
            Some(Context::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// The root context of a context: itself, or the one that a stream belongs to.
    pub(crate) fn root_of(&self, context: u32) -> u32 {
        self.stream(context).map_or(context, |stream| stream.root)
    }

    /// `proxy_set_tick_period_milliseconds`: restarts the period; 0 stops the ticks.
    pub(crate) fn set_tick_period(&mut self, context: u32, milliseconds: u32) {
        let root = self.root_of(context);
        let period_nanoseconds = u64::from(milliseconds) * 1_000_000;
        if period_nanoseconds == 0 {
            self.timers.remove(&root);
            return;
        }
        let due_nanoseconds = self.process.borrow().now_nanoseconds + period_nanoseconds;
        self.timers.insert(root, Timer { period_nanoseconds, due_nanoseconds });
    }
}
