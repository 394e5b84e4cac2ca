//! The host calls, as Envoy answers them: requests are recorded and carried out after the callback.

use fedgate_filter::host::{Level, Status};
use fedgate_filter::vm::host::{ContextId, Host, MetricKind, Property, SharedValue};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// An action of another thread.
pub type Elsewhere = Box<dyn FnOnce()>;

/// State that outlives a VM.
#[derive(Default)]
pub struct Process {
    pub shared: RefCell<BTreeMap<String, SharedValue>>,
    pub metrics: RefCell<Vec<(String, u64)>>,
    pub now: Cell<Duration>,
    last_cas: Cell<u32>,
    /// An action of another thread, and the number of further calls on shared data before it
    /// happens.
    pub elsewhere: RefCell<Option<(usize, Elsewhere)>>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl Process {
    pub fn shared(&self, key: &str) -> Vec<u8> {
        self.shared.borrow().get(key).map(|value| value.bytes.clone()).unwrap_or_default()
    }

    /// As in cpp-host: a missing key accepts any number, and 0 overwrites any value.
    pub fn set_shared(&self, key: &str, bytes: &[u8], cas: u32) -> Result<(), Status> {
        let mut shared = self.shared.borrow_mut();
        if shared.get(key).is_some_and(|value| cas != 0 && value.cas != cas) {
            return Err(Status::CAS_MISMATCH);
        }
        self.last_cas.set(self.last_cas.get() + 1);
        shared.insert(
            key.to_owned(),
            SharedValue { bytes: bytes.to_vec(), cas: self.last_cas.get() },
        );
        Ok(())
    }

    /// Runs the action of another thread if it is due.
    fn race(&self) {
        let next = self.elsewhere.take();
        match next {
            Some((0, act)) => act(),
            Some((calls, act)) => drop(self.elsewhere.replace(Some((calls - 1, act)))),
            None => {}
        }
    }

    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics.borrow();
        metrics.iter().find(|(found, _)| found == name).map(|(_, value)| *value).unwrap_or_default()
    }

    pub fn metric_names(&self, prefix: &str) -> Vec<String> {
        let names = self.metrics.borrow().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        names.into_iter().filter(|name| name.starts_with(prefix)).collect()
    }

    pub fn pass(&self, time: Duration) {
        self.now.set(self.now.get() + time);
    }
}

/// One context of the proxy.
#[derive(Debug, Default, Clone)]
pub struct Context {
    pub root: ContextId,
    pub properties: BTreeMap<Property, Vec<u8>>,
    pub configuration: Vec<u8>,
    pub tick_period: Duration,
    pub filter_state: BTreeMap<String, String>,
    pub cluster: Option<String>,
    pub asked_to_resume: bool,
    pub asked_to_close: bool,
}

#[derive(Debug)]
pub struct State {
    pub process: Rc<Process>,
    pub contexts: RefCell<BTreeMap<ContextId, Context>>,
    pub effective: Cell<ContextId>,
    /// The contexts that the filter asked to resume or close.
    pub asked: RefCell<BTreeSet<ContextId>>,
    pub failing: RefCell<BTreeSet<&'static str>>,
    pub calls: RefCell<Vec<&'static str>>,
    pub log: RefCell<Vec<(Level, String)>>,
}

/// The proxy as one VM sees it.
#[derive(Debug, Clone)]
pub struct FakeHost(pub Rc<State>);

impl FakeHost {
    fn call(&self, name: &'static str) -> Result<(), Status> {
        self.0.calls.borrow_mut().push(name);
        if self.0.failing.borrow().contains(name) { Err(Status(12)) } else { Ok(()) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Context) -> T) -> T {
        act(self
            .0
            .contexts
            .borrow_mut()
            .get_mut(&self.0.effective.get())
            .expect("acts for a context that is there"))
    }
}

impl Host for FakeHost {
    fn configuration(&self) -> Vec<u8> {
        self.with(|context| context.configuration.clone())
    }

    fn property(&self, property: Property) -> Option<Vec<u8>> {
        self.call("property").ok()?;
        self.with(|context| context.properties.get(&property).cloned())
    }

    fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Status> {
        self.call("set_property")?;
        let value = String::from_utf8(value.to_vec()).expect("filter state is text");
        self.with(|context| context.filter_state.insert(name.to_owned(), value));
        Ok(())
    }

    fn call_foreign_function(&self, name: &str, argument: &[u8]) -> Result<(), Status> {
        self.call("call_foreign_function")?;
        assert_eq!(name, "set_envoy_filter_state");
        let rest = argument
            .strip_prefix(b"\x0a\x17envoy.tcp_proxy.cluster\x12")
            .expect("the cluster's key");
        let (length, value) = rest.split_first().expect("a length");
        assert_eq!(usize::from(*length), value.len());
        self.with(|context| {
            context.cluster = Some(String::from_utf8(value.to_vec()).expect("a name"))
        });
        Ok(())
    }

    fn shared_data(&self, key: &str) -> Option<SharedValue> {
        self.call("shared_data").ok()?;
        self.0.process.race();
        self.0.process.shared.borrow().get(key).cloned()
    }

    fn set_shared_data(&self, key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
        self.call("set_shared_data")?;
        self.0.process.race();
        self.0.process.set_shared(key, value, cas)
    }

    fn now(&self) -> Duration {
        self.0.process.now.get()
    }

    /// As in cpp-host, this sets the period of the root of the context that the filter acts for.
    fn set_tick_period(&self, period: Duration) {
        if self.call("set_tick_period").is_ok() {
            let root = self.with(|context| context.root);
            self.0.contexts.borrow_mut().get_mut(&root).expect("the root is there").tick_period =
                period;
        }
    }

    fn act_for(&self, context: ContextId) -> bool {
        let there = self.call("act_for").is_ok() && self.0.contexts.borrow().contains_key(&context);
        if there {
            self.0.effective.set(context);
        }
        there
    }

    fn resume_downstream(&self) -> Result<(), Status> {
        self.call("resume_downstream")?;
        self.with(|context| context.asked_to_resume = true);
        self.0.asked.borrow_mut().insert(self.0.effective.get());
        Ok(())
    }

    fn close_downstream(&self) -> Result<(), Status> {
        self.call("close_downstream")?;
        self.with(|context| {
            assert!(!context.asked_to_close, "closed twice");
            context.asked_to_close = true;
        });
        self.0.asked.borrow_mut().insert(self.0.effective.get());
        Ok(())
    }

    fn define_metric(&self, _: MetricKind, name: &str) -> Option<u32> {
        self.call("define_metric").ok()?;
        let mut metrics = self.0.process.metrics.borrow_mut();
        let index = metrics.iter().position(|(found, _)| found == name).unwrap_or_else(|| {
            metrics.push((name.to_owned(), 0));
            metrics.len() - 1
        });
        Some(index as u32)
    }

    fn increment_metric(&self, metric: u32, by: u64) {
        self.0.process.metrics.borrow_mut()[metric as usize].1 += by;
    }

    fn record_metric(&self, metric: u32, value: u64) {
        self.0.process.metrics.borrow_mut()[metric as usize].1 = value;
    }

    fn logs(&self, _: Level) -> bool {
        true
    }

    fn log(&self, level: Level, line: &str) {
        self.0.log.borrow_mut().push((level, line.to_owned()));
    }
}
