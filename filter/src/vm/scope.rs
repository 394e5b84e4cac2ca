//! The state that all connections of one plugin share in one VM.
//!
//! # Why this is not the root context
//!
//! Rust's statics belong to a VM, and a VM has several root contexts: one for each plugin with the
//! same code and `vm_id`. After an update it also keeps the old one, as long as that has
//! connections. The new table must judge the old connections, but not those of another plugin. So
//! the state belongs to neither the VM nor a root context. It belongs to a *scope*, which is found
//! by the plugin's `root_id`. Root contexts with that `root_id` come and go within it.
//!
//! # Who ticks
//!
//! Of several root contexts, the newest ticks for the whole scope. When it ends, the one before
//! takes over. Each root sets its period when it is configured and clears it when it ends, for two
//! reasons. For a root that does not clear it, Envoy keeps a timer that fires forever. And Envoy
//! may move its timers in memory when a root gets its first one while another is ticking.

use super::clock::Clock;
use super::host::{ContextId, Host, MetricKind};
use super::look::Look;
use super::proxied::Proxied;
use super::shared::{self, Found, Published, Stored};
use super::threads::{self, Seat};
use crate::configuration::Configuration;
use crate::connection::{Connection, State};
use crate::gateway::Gateway;
use crate::host::Level;
use crate::metrics::{THREADS, gauges};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The tick period when nothing is due, and so the longest delay until an old VM learns of a new
/// table.
pub const SLOW: Duration = Duration::from_millis(500);
/// The tick period while connections wait for their identity, and so the extra delay when the
/// server speaks first.
pub const FAST: Duration = Duration::from_millis(5);
/// The tick period while connections wait to be closed.
pub const FASTEST: Duration = Duration::from_millis(1);
/// How often ticks read the shared data, even if they are more frequent: each read copies the
/// table, which may be large. Slightly less than [`SLOW`], since timers and the clock do not run
/// exactly in step.
const LOOK: Duration = Duration::from_millis(400);
/// Ticks read the shared data at least after this many fast ticks, in case the proxy does not
/// provide the time.
const LOOK_TICKS: u32 = 80;

/// The connections of one plugin, and the configuration that judges them.
#[derive(Debug)]
pub(crate) struct Scope<H> {
    pub(crate) gateway: Rc<Gateway<Proxied<H>>>,
    pub(crate) name: Box<str>,
    pub(crate) clock: Clock,
    /// The number of a shared value that could not be adopted, so that not every tick tries again.
    unusable: Cell<Option<u32>>,
    /// The configuration in force, as received, if the proxy did not store it; to be retried.
    unstored: RefCell<Option<Vec<u8>>>,
    /// The version that the newest root context received.
    given: RefCell<Option<String>>,
    /// When a tick last read the shared data.
    looked_at: Cell<Duration>,
    ticks_since: Cell<u32>,
    seat: Seat,
    /// The proxy's numbers for the gauges that have been set.
    gauges: RefCell<BTreeMap<&'static str, u32>>,
    /// The connections that began since the last tick. Most are decided before the next one.
    pub(crate) fresh: RefCell<Vec<Rc<Connection>>>,
    /// The connections for ticks to look at, the earliest first. Some may be decided already; the
    /// tick drops them.
    pub(crate) looks: RefCell<BinaryHeap<Reverse<Look>>>,
    roots: RefCell<Vec<ContextId>>,
    period: Cell<Duration>,
}

impl<H: Host> Scope<H> {
    pub(crate) fn new(host: H, name: &str) -> Self {
        Self {
            gateway: Rc::new(Gateway::new(Proxied::new(host))),
            name: name.into(),
            clock: Clock::default(),
            unusable: Cell::default(),
            unstored: RefCell::default(),
            given: RefCell::default(),
            looked_at: Cell::default(),
            ticks_since: Cell::default(),
            seat: Seat::default(),
            gauges: RefCell::default(),
            fresh: RefCell::default(),
            looks: RefCell::default(),
            roots: RefCell::default(),
            period: Cell::default(),
        }
    }

    pub(crate) fn host(&self) -> &H {
        &self.gateway.host.proxy
    }

    /// Takes the configuration of a root context. Returns false to refuse it; the previous one then
    /// stays in force.
    ///
    /// The answer depends only on the configuration's bytes, never on what is in force. Envoy asks
    /// a trial VM first and remembers its answer for these bytes. If a worker's VM then refuses
    /// what the trial VM accepted, the worker runs without the filter. Its connections go on to
    /// tcp_proxy unfiltered (observed on Envoy 1.40 with every failure policy).
    pub(crate) fn configure(&self, root: ContextId) -> bool {
        self.gateway.host.look_at_log_level();
        self.clock.advance(self.host().now());
        let json = self.host().configuration();
        let accepted = if json.is_empty() { self.accept_no_table() } else { self.accept(&json) };
        if accepted {
            self.enter(root);
        }
        accepted
    }

    /// A gateway may start before its first table arrives; until then every connection is refused.
    /// An empty configuration never replaces a table that this or another VM already knows.
    fn accept_no_table(&self) -> bool {
        let known = self.adopt_shared() && self.gateway.configuration().is_some();
        Configuration::log_empty(known, |level, line| self.host().log(level, line));
        true
    }

    fn accept(&self, json: &[u8]) -> bool {
        let found = self.look();
        let Some(configuration) = self.read(json, found.stored.as_ref()) else { return false };
        self.given.replace(Some(configuration.version.clone()));
        let published = shared::publish(self.host(), &self.name, found, &configuration, json);
        self.unstored.replace((published == Published::Failed).then(|| json.to_vec()));
        if published == Published::New {
            // Reset this before showing the new generation, so that the two never appear
            // together.
            self.show(THREADS, 0);
        }
        // If the replacement cannot be read, the configuration that we were given is the best
        // available.
        if !(published == Published::Replaced && self.adopt_shared()) {
            self.adopt(configuration);
        }
        true
    }

    /// Reads a configuration. If another VM has stored the same bytes, it has checked them, and this
    /// one does not: the check of a large table would hold up a worker's connections.
    fn read(&self, json: &[u8], stored: Option<&Stored>) -> Option<Configuration> {
        let checked = stored.filter(|stored| stored.json() == json);
        checked.and_then(|_| Configuration::read_checked(json).ok()).or_else(|| {
            Configuration::read_or_log(json, |level, line| self.host().log(level, line))
        })
    }

    /// Keeps up with the other VMs of the process.
    pub(crate) fn look_at_shared(&self, now: Duration) {
        let ticks = self.ticks_since.get().saturating_add(1);
        let soon = now.saturating_sub(self.looked_at.get()) < LOOK;
        if self.period.get() < SLOW && soon && ticks < LOOK_TICKS {
            return self.ticks_since.set(ticks);
        }
        self.looked_at.set(now);
        self.ticks_since.set(0);
        self.gateway.host.look_at_log_level();
        if !self.offer_again() {
            return;
        }
        let Some(stored) = self.look().stored else { return };
        self.adopt_stored(&stored);
        self.be_counted(stored.version());
    }

    /// Offers the configuration again if the proxy did not store it; returns false if it still does
    /// not. In that case, what other VMs have stored is older.
    fn offer_again(&self) -> bool {
        let Some(json) = self.unstored.take() else { return true };
        let Some(configuration) = self.gateway.configuration() else { return true };
        let published =
            shared::publish(self.host(), &self.name, self.look(), &configuration, &json);
        if published == Published::Failed {
            self.unstored.replace(Some(json));
        }
        published != Published::Failed
    }

    /// Shows how many threads received the current configuration. A thread that only adopted it
    /// from the shared data does not count.
    fn be_counted(&self, current: &str) {
        let is_given = self.given.borrow().as_deref() == Some(current);
        let has_it = is_given && self.has(current);
        if let Some(threads) = threads::count(self.host(), &self.name, &self.seat, has_it, current)
        {
            self.show(THREADS, threads);
        }
    }

    /// Adopts the configuration that another VM stored, if it is new; returns false if it cannot be
    /// read.
    fn adopt_shared(&self) -> bool {
        self.look().stored.is_none_or(|stored| self.adopt_stored(&stored))
    }

    fn look(&self) -> Found {
        Found::look(self.host(), &self.name)
    }

    fn adopt_stored(&self, stored: &Stored) -> bool {
        if self.has(stored.version()) {
            return true;
        }
        if self.unusable.get() == Some(stored.cas()) {
            return false;
        }
        let Some(configuration) = stored.configuration() else {
            self.host().log(Level::Warn, &format!("shared data: expected the table {}, found bytes that are not that table; the last good table stays in force", stored.version()));
            self.unusable.set(Some(stored.cas()));
            return false;
        };
        self.adopt(configuration);
        true
    }

    /// Puts a configuration in force, and applies it to the open connections.
    fn adopt(&self, configuration: Configuration) {
        if self.has(&configuration.version) {
            return;
        }
        for (gauge, value) in gauges(&configuration.table) {
            self.show(gauge, value);
        }
        self.gateway.adopt(Arc::new(configuration));
    }

    /// Returns true if this version is in force.
    fn has(&self, version: &str) -> bool {
        self.gateway.configuration().is_some_and(|current| current.version == version)
    }

    /// Sets a gauge.
    fn show(&self, gauge: &'static str, value: u64) {
        let known = self.gauges.borrow().get(gauge).copied();
        if let Some(number) = known.or_else(|| self.host().define_metric(MetricKind::Gauge, gauge))
        {
            self.gauges.borrow_mut().insert(gauge, number);
            self.host().record_metric(number, value);
        }
    }

    /// Has ticks look at a connection that awaits its decision. Its age counts from the next tick:
    /// to ask for the time here would cost every connection a host call.
    pub(crate) fn watch(&self, connection: &Rc<Connection>) {
        self.fresh.borrow_mut().push(Rc::clone(connection));
        if self.period.get() > FAST {
            self.set_pace(FAST);
        }
    }

    fn enter(&self, root: ContextId) {
        let mut roots = self.roots.borrow_mut();
        roots.retain(|&other| other != root);
        roots.push(root);
        drop(roots);
        self.period.set(Duration::ZERO);
        self.keep_pace();
    }

    /// Handles the end of a root context; returns true if it was the last one.
    pub(crate) fn leave(&self, root: ContextId) -> bool {
        self.host().set_tick_period(Duration::ZERO);
        let ticked = self.ticks(root);
        self.roots.borrow_mut().retain(|&other| other != root);
        if ticked {
            self.period.set(Duration::ZERO);
            self.keep_pace();
        }
        let is_last = self.roots.borrow().is_empty();
        if is_last {
            threads::leave(self.host(), &self.name, &self.seat);
        }
        is_last
    }

    /// Returns true if this root context ticks for the scope.
    pub(crate) fn ticks(&self, root: ContextId) -> bool {
        self.roots.borrow().last() == Some(&root)
    }

    /// Sets the tick period to suit the pending work. Call it last in a callback, because it
    /// switches to the root's context.
    pub(crate) fn keep_pace(&self) {
        let period = self.period_due();
        if self.period.get() != period {
            self.set_pace(period);
        }
    }

    fn set_pace(&self, period: Duration) {
        let root = self.roots.borrow().last().copied();
        if let Some(root) = root
            && self.host().act_for(root)
        {
            self.host().set_tick_period(period);
            self.period.set(period);
        }
    }

    fn period_due(&self) -> Duration {
        let awaits = |connection: &Rc<Connection>| connection.is(State::Awaiting);
        if self.gateway.has_closing() {
            FASTEST
        } else if self.fresh.borrow().iter().any(awaits)
            || self.looks.borrow().iter().any(|Reverse(look)| awaits(&look.connection))
        {
            FAST
        } else {
            SLOW
        }
    }
}
