//! One thread's connections, and the host that their life cycle sees.

use crate::abi::{self, Handle};
use crate::counters::number_of;
use crate::module::Configured;
use crate::newest::Newest;
use fedgate_filter::Gateway;
use fedgate_filter::host::{ConnectionId, Host, Identity, Level, Status};
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
    pub(crate) fn open(&self, handle: Handle, configured: Arc<Configured>) -> Rc<Known> {
        let known = self.envoy.add(handle, configured);
        if self.waker.get().is_none() {
            self.hand_waker_to(&known);
        }
        known
    }

    /// Drops a connection that Envoy has closed or destroys. If it had the waker, another one gets
    /// it.
    pub(crate) fn drop_connection(&self, id: ConnectionId) {
        self.envoy.remove(id);
        if self.waker.get() != Some(id) {
            return;
        }
        self.waker.set(None);
        match self.envoy.latest() {
            Some(other) => {
                self.hand_waker_to(&other);
                // A wake-up may have been meant for the connection that is gone.
                if self.gateway.has_closing() || self.newest.since(self.adopted.get()).is_some() {
                    self.newest.wake_this_thread();
                }
            }
            None => self.newest.set_waker(None),
        }
    }

    fn hand_waker_to(&self, known: &Known) {
        let scheduler = known.handle.scheduler();
        self.waker.set(scheduler.is_some().then_some(known.id));
        self.newest.set_waker(scheduler);
    }

    /// Puts the newest table in force on this thread. A wake-up closes what it revokes.
    pub(crate) fn catch_up(&self) {
        if self.adopt_newest() {
            self.wake_again_to_close();
        }
    }

    /// A new table has arrived, or connections are to be closed.
    pub(crate) fn wake(&self) {
        self.adopt_newest();
        self.gateway.close_some(CLOSES);
        self.wake_again_to_close();
    }

    /// Returns true if there was a newer table.
    fn adopt_newest(&self) -> bool {
        let newest = self.newest.since(self.adopted.get());
        let Some((count, configuration)) = newest else { return false };
        self.adopted.set(count);
        self.gateway.adopt(configuration);
        true
    }

    fn wake_again_to_close(&self) {
        if self.gateway.has_closing() {
            self.newest.wake_this_thread();
        }
    }
}

/// What Envoy knows of one connection.
pub(crate) struct Known {
    pub(crate) id: ConnectionId,
    handle: Handle,
    configured: Arc<Configured>,
    /// The end of its handshake has been reported.
    pub(crate) handshake_finished: Cell<bool>,
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
    /// The connection that calls act on. Never one that Envoy has destroyed.
    acting: RefCell<Option<Rc<Known>>>,
    last: Cell<ConnectionId>,
    connections: RefCell<BTreeMap<ConnectionId, Rc<Known>>>,
    deferred: RefCell<VecDeque<(ConnectionId, Deferred)>>,
    /// Set while deferred requests are carried out, which calls the module again.
    busy: Cell<bool>,
}

impl Envoy {
    fn add(&self, handle: Handle, configured: Arc<Configured>) -> Rc<Known> {
        let mut connections = self.0.connections.borrow_mut();
        // Numbers are used again after four billion connections.
        let mut id = self.0.last.get().wrapping_add(1);
        while connections.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.0.last.set(id);
        let handshake_finished = Cell::new(false);
        let known = Rc::new(Known { id, handle, configured, handshake_finished });
        connections.insert(id, Rc::clone(&known));
        known
    }

    fn remove(&self, id: ConnectionId) {
        let removed = self.0.connections.borrow_mut().remove(&id);
        self.0.acting.borrow_mut().take_if(|acting| acting.id == id);
        // Outside of the borrows: this may be the last reference to the configuration.
        drop(removed);
    }

    /// The connection that began last. It is the most likely one to stay for long.
    fn latest(&self) -> Option<Rc<Known>> {
        let connections = self.0.connections.borrow();
        connections.last_key_value().map(|(_, known)| Rc::clone(known))
    }

    fn find(&self, id: ConnectionId) -> Option<Rc<Known>> {
        self.0.connections.borrow().get(&id).map(Rc::clone)
    }

    /// Makes the filter's calls act on this connection.
    pub(crate) fn act(&self, known: &Rc<Known>) {
        self.0.acting.replace(Some(Rc::clone(known)));
    }

    fn acting<T>(&self, call: impl FnOnce(&Known) -> T) -> Option<T> {
        self.0.acting.borrow().as_deref().map(call)
    }

    fn defer(&self, deferred: Deferred) -> Result<(), Status> {
        if let Some(id) = self.acting(|known| known.id) {
            self.0.deferred.borrow_mut().push_back((id, deferred));
        }
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
            let Some(handle) = self.find(id).map(|known| known.handle) else { continue };
            match deferred {
                Deferred::Resume => handle.continue_reading(),
                Deferred::Close(reason) => handle.close(&reason),
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
        let found = self.find(connection);
        found.inspect(|known| self.act(known)).is_some()
    }

    fn server_name(&self) -> Option<Vec<u8>> {
        self.acting(|known| known.handle.server_name())?
    }

    fn is_passed_through(&self) -> bool {
        let value = self.acting(|known| known.handle.filter_state("fedgate.passthrough"));
        value.flatten().is_some_and(|value| !value.is_empty())
    }

    /// Envoy shows a certificate before it is verified, so what it shows counts only once it has
    /// reported the end of the handshake.
    fn identity(&self) -> Option<Identity> {
        let names = self
            .acting(|known| known.handshake_finished.get().then(|| known.handle.joined_uri_sans()));
        Some(Identity { uri_san: names??.map(Identity::text) })
    }

    fn set_filter_state(&self, key: &str, value: &[u8]) -> Result<(), Status> {
        checked(self.acting(|known| known.handle.set_filter_state(key, value)))
    }

    fn set_cluster(&self, cluster: &str) -> Result<(), Status> {
        let key = "envoy.tcp_proxy.cluster";
        checked(self.acting(|known| known.handle.set_typed_filter_state(key, cluster.as_bytes())))
    }

    fn resume(&self) -> Result<(), Status> {
        self.defer(Deferred::Resume)
    }

    fn close(&self, reason: &str) -> Result<(), Status> {
        self.defer(Deferred::Close(format!("fedgate_{reason}").into()))
    }

    fn define_counter(&self, name: &str) -> Option<u32> {
        number_of(name)
    }

    fn increment(&self, counter: u32, by: u64) {
        self.acting(|known| {
            let counter = known.configured.counters.get(counter);
            counter.map(|counter| known.handle.increment(counter, by))
        });
    }

    fn logs(&self, level: Level) -> bool {
        abi::logs(level)
    }

    fn log(&self, level: Level, line: &str) {
        abi::log(level, line);
    }
}
