//! One thread's connections, and the host that their life cycle sees.

use crate::abi::{self, Handle};
use crate::counters::number_of;
use crate::module::Configured;
use crate::newest::Newest;
use fedgate_filter::Gateway;
use fedgate_filter::host::{ConnectionId, Host, Identity, Level, MetricKind, Status};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// How many revoked connections one wake-up closes, so that other connections get their turn.
const CLOSES: usize = 64;

thread_local! {
    static WORKERS: RefCell<BTreeMap<String, Rc<Worker>>> = RefCell::default();
}

/// The connections of one filter on one thread.
pub(crate) struct Worker {
    pub(crate) gateway: Rc<Gateway<Envoy>>,
    pub(crate) envoy: Envoy,
    newest: Arc<Newest>,
    /// The count of the newest table that this thread has in force.
    adopted: Cell<u64>,
    /// The connection whose scheduler is this thread's waker.
    waker: Cell<Option<ConnectionId>>,
}

impl Worker {
    /// This thread's worker for a filter.
    pub(crate) fn of(configured: &Configured) -> Rc<Self> {
        let create = || {
            let envoy = Envoy::default();
            Rc::new(Self {
                gateway: Rc::new(Gateway::new(envoy.clone())),
                envoy,
                newest: Arc::clone(&configured.newest),
                adopted: Cell::new(0),
                waker: Cell::new(None),
            })
        };
        WORKERS.with_borrow_mut(|workers| match workers.get(&configured.filter) {
            Some(worker) => Rc::clone(worker),
            None => Rc::clone(workers.entry(configured.filter.clone()).or_insert_with(create)),
        })
    }

    /// Takes on a connection.
    pub(crate) fn open(&self, handle: Handle, configured: Arc<Configured>) -> ConnectionId {
        let id = self.envoy.add(handle, configured);
        if self.waker.get().is_none() {
            self.hand_waker_to(id, handle);
        }
        id
    }

    /// Drops a connection that Envoy destroys. If it had the waker, another one gets it.
    pub(crate) fn drop_connection(&self, id: ConnectionId) {
        self.envoy.remove(id);
        if self.waker.get() != Some(id) {
            return;
        }
        self.waker.set(None);
        match self.envoy.any() {
            Some((other, handle)) => {
                self.hand_waker_to(other, handle);
                // A table that arrived in between may have woken the connection that is gone.
                self.newest.wake_this_thread();
            }
            None => self.newest.set_waker(None),
        }
    }

    fn hand_waker_to(&self, id: ConnectionId, handle: Handle) {
        let scheduler = handle.scheduler();
        self.waker.set(scheduler.is_some().then_some(id));
        self.newest.set_waker(scheduler);
    }

    /// Puts the newest table in force on this thread.
    pub(crate) fn catch_up(&self) {
        let Some((count, configuration)) = self.newest.since(self.adopted.get()) else { return };
        self.adopted.set(count);
        self.gateway.adopt(configuration);
        if self.gateway.has_closing() {
            self.newest.wake_this_thread();
        }
    }

    /// A new table has arrived, or connections are to be closed.
    pub(crate) fn wake(&self) {
        self.catch_up();
        self.gateway.close_some(CLOSES);
        if self.gateway.has_closing() {
            self.newest.wake_this_thread();
        }
    }
}

/// What Envoy knows of one connection.
struct Known {
    handle: Handle,
    configured: Arc<Configured>,
    handshake_finished: bool,
}

/// A request of the filter.
enum Deferred {
    Resume,
    Close(Box<str>),
}

/// Envoy, as one thread sees it.
#[derive(Clone, Default)]
pub(crate) struct Envoy(Rc<State>);

#[derive(Default)]
struct State {
    acting: Cell<ConnectionId>,
    last: Cell<ConnectionId>,
    connections: RefCell<BTreeMap<ConnectionId, Known>>,
    deferred: RefCell<VecDeque<(ConnectionId, Deferred)>>,
    /// Set while deferred requests are carried out, which calls the module again.
    busy: Cell<bool>,
}

impl Envoy {
    fn add(&self, handle: Handle, configured: Arc<Configured>) -> ConnectionId {
        let mut connections = self.0.connections.borrow_mut();
        // Numbers are used again after four billion connections.
        let mut id = self.0.last.get().wrapping_add(1);
        while connections.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.0.last.set(id);
        connections.insert(id, Known { handle, configured, handshake_finished: false });
        id
    }

    fn remove(&self, id: ConnectionId) {
        let removed = self.0.connections.borrow_mut().remove(&id);
        // Outside of the borrow: this may be the last reference to the configuration.
        drop(removed);
    }

    fn any(&self) -> Option<(ConnectionId, Handle)> {
        self.0.connections.borrow().iter().next().map(|(&id, known)| (id, known.handle))
    }

    /// The end of a connection's handshake has been reported.
    pub(crate) fn finish_handshake(&self, id: ConnectionId) {
        if let Some(known) = self.0.connections.borrow_mut().get_mut(&id) {
            known.handshake_finished = true;
        }
    }

    fn handle_of(&self, id: ConnectionId) -> Option<Handle> {
        self.0.connections.borrow().get(&id).map(|known| known.handle)
    }

    fn handle(&self) -> Option<Handle> {
        self.handle_of(self.0.acting.get())
    }

    fn defer(&self, deferred: Deferred) -> Result<(), Status> {
        self.0.deferred.borrow_mut().push_back((self.0.acting.get(), deferred));
        Ok(())
    }

    /// Carries out what the filter requested, at the end of a callback. Envoy calls the module from
    /// within; what that requests is carried out here as well, and not nested.
    pub(crate) fn carry_out(&self) {
        if self.0.busy.replace(true) {
            return;
        }
        let next = || self.0.deferred.borrow_mut().pop_front();
        while let Some((id, deferred)) = next() {
            match (self.handle_of(id), deferred) {
                (Some(handle), Deferred::Resume) => handle.continue_reading(),
                (Some(handle), Deferred::Close(reason)) => handle.close(&reason),
                (None, _) => {}
            }
        }
        self.0.busy.set(false);
    }
}

/// The status of a call that Envoy refused; it gives no number.
const REFUSED: Status = Status(1);

fn checked(accepted: Option<bool>) -> Result<(), Status> {
    if accepted == Some(true) { Ok(()) } else { Err(REFUSED) }
}

impl Host for Envoy {
    fn act_for(&self, connection: ConnectionId) -> bool {
        let exists = self.0.connections.borrow().contains_key(&connection);
        if exists {
            self.0.acting.set(connection);
        }
        exists
    }

    fn server_name(&self) -> Option<Vec<u8>> {
        self.handle()?.server_name()
    }

    fn is_passed_through(&self) -> bool {
        let value = self.handle().and_then(|handle| handle.filter_state("fedgate.passthrough"));
        value.is_some_and(|value| !value.is_empty())
    }

    /// Envoy shows a certificate before it is verified, so what it shows counts only once it has
    /// reported the end of the handshake.
    fn identity(&self) -> Option<Identity> {
        let id = self.0.acting.get();
        let handle = {
            let connections = self.0.connections.borrow();
            connections.get(&id).filter(|known| known.handshake_finished)?.handle
        };
        let names = handle.uri_sans();
        // A SPIFFE ID is ASCII only, so a name with a replacement character is refused.
        let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
        Some(Identity { uri_san: (!names.is_empty()).then(|| names.join(",")) })
    }

    fn set_filter_state(&self, name: &str, value: &[u8]) -> Result<(), Status> {
        checked(self.handle().map(|handle| handle.set_filter_state(&format!("wasm.{name}"), value)))
    }

    fn set_cluster(&self, cluster: &str) -> Result<(), Status> {
        let key = "envoy.tcp_proxy.cluster";
        checked(self.handle().map(|handle| handle.set_typed_filter_state(key, cluster.as_bytes())))
    }

    fn resume(&self) -> Result<(), Status> {
        self.defer(Deferred::Resume)
    }

    fn close(&self, reason: &str) -> Result<(), Status> {
        self.defer(Deferred::Close(format!("fedgate_{reason}").into()))
    }

    fn define_metric(&self, _kind: MetricKind, name: &str) -> Option<u32> {
        number_of(name)
    }

    fn increment_metric(&self, metric: u32, by: u64) {
        let connections = self.0.connections.borrow();
        if let Some(known) = connections.get(&self.0.acting.get())
            && let Some(counter) = known.configured.counters.get(metric)
        {
            known.handle.increment(counter, by);
        }
    }

    /// The main thread sets all gauges, when it loads a configuration.
    fn record_metric(&self, _metric: u32, _value: u64) {}

    fn logs(&self, level: Level) -> bool {
        abi::logs(level)
    }

    fn log(&self, level: Level, line: &str) {
        abi::log(level, line);
    }
}
