//! What all connections of one plugin share, in one VM.
//!
//! # Why this is not the root context
//!
//! Rust's statics belong to a VM, and a VM has several root contexts: one for each plugin that has the same code and
//! `vm_id`, and after an update also the old one, as long as it has connections. The old connections must be judged by the
//! new table, and those of another plugin must not be. So the state belongs to neither: it is a *scope*, found by the
//! plugin's `root_id`, and the root contexts with that `root_id` come and go within it.
//!
//! # Who ticks
//!
//! Of several root contexts the newest ticks for the whole scope; when it goes, the one before takes over. Each sets its
//! period when it is configured and clears it at its end: Envoy keeps a timer that fires for ever for a root that forgets
//! to, and it may move its timers in memory when a root gets its first one while another is ticking.

use crate::clock::Clock;
use crate::configuration::Configuration;
use crate::connection::{Connection, Look, State};
use crate::host::{ContextId, Host, Level};
use crate::metrics::{Event, Metrics};
use crate::report::Verdict;
use crate::shared::{self, Published, Stored};
use crate::threads::{self, Seat};
use fedgate_core::{Admission, Table, admit, decide, decide_passthrough};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// How often a scope is ticked when nothing is due: how late an old VM hears of a new table.
pub const SLOW: Duration = Duration::from_millis(500);
/// How often a scope is ticked while connections wait for their identity: what a server that speaks first waits longer.
pub const FAST: Duration = Duration::from_millis(5);
/// How often a scope is ticked while connections wait to be closed.
pub const FASTEST: Duration = Duration::from_millis(1);
/// How often a tick looks at the shared data, however often it ticks: a large table costs a copy each time. A little less
/// than [`SLOW`], since timers and the clock don't go exactly alike.
const LOOK: Duration = Duration::from_millis(400);
/// After how many fast ticks it looks in any case: a proxy need not tell the time.
const LOOK_TICKS: u32 = 80;

/// The connections of one plugin, and what they are judged by.
#[derive(Debug)]
pub(crate) struct Scope<H> {
    pub(crate) host: H,
    pub(crate) name: Box<str>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    configuration: RefCell<Option<Rc<Configuration>>>,
    /// The number of a value in the shared data that could not be adopted, so that it is not tried at every tick.
    unusable: Cell<Option<u32>>,
    /// The configuration in force, as it was given, when the proxy did not store it: to be tried again.
    unstored: RefCell<Option<Vec<u8>>>,
    /// The version that the newest root context was given.
    given: RefCell<Option<String>>,
    /// When a tick looked at the shared data.
    looked_at: Cell<Duration>,
    ticks_since: Cell<u32>,
    seat: Seat,
    live: RefCell<BTreeMap<ContextId, Rc<Connection>>>,
    /// Those that the tick looks at, the one that is due first on top. Some are decided already; the tick drops them.
    pub(crate) looks: RefCell<BinaryHeap<Reverse<Look>>>,
    pub(crate) closing: RefCell<VecDeque<(Rc<Connection>, Verdict)>>,
    roots: RefCell<Vec<ContextId>>,
    period: Cell<Duration>,
    pub(crate) told_route_failure: Cell<bool>,
}

impl<H: Host> Scope<H> {
    pub(crate) fn new(host: H, name: &str) -> Self {
        Self {
            host,
            name: name.into(),
            metrics: Metrics::default(),
            clock: Clock::default(),
            configuration: RefCell::default(),
            unusable: Cell::default(),
            unstored: RefCell::default(),
            given: RefCell::default(),
            looked_at: Cell::default(),
            ticks_since: Cell::default(),
            seat: Seat::default(),
            live: RefCell::default(),
            looks: RefCell::default(),
            closing: RefCell::default(),
            roots: RefCell::default(),
            period: Cell::default(),
            told_route_failure: Cell::default(),
        }
    }

    /// The configuration in force.
    pub(crate) fn configuration(&self) -> Option<Rc<Configuration>> {
        self.configuration.borrow().clone()
    }

    /// Takes the configuration of a root context; `false` refuses it, and what was in force stays so.
    ///
    /// The answer depends on the configuration's bytes alone, never on what is in force: Envoy asks a trial VM first, and
    /// remembers its answer for these bytes. A worker's VM that then refuses what the trial VM accepted leaves the worker
    /// without the filter, and its connections go on to tcp_proxy unfiltered (seen on 1.40, whatever the failure policy).
    pub(crate) fn configure(&self, root: ContextId) -> bool {
        let json = self.host.configuration();
        let accepted = if json.is_empty() { self.accept_no_table() } else { self.accept(&json) };
        if accepted {
            self.enter(root);
        }
        accepted
    }

    /// A gateway may start before its first table is there: every connection is refused then. A table that is known,
    /// here or to another VM, is not given up for nothing.
    fn accept_no_table(&self) -> bool {
        let known = self.adopt_shared() && self.configuration().is_some();
        let line = match known {
            true => {
                "the configuration is empty, expected a JSON object with a table; the last good table stays in force"
            }
            false => "the configuration is empty: there is no table yet, and every connection is refused as no_table",
        };
        self.host.log(Level::Warn, line);
        true
    }

    fn accept(&self, json: &[u8]) -> bool {
        let configuration = match Configuration::read(json) {
            Ok(configuration) => configuration,
            Err(error) => {
                self.host.log(Level::Error, &format!("{error}; refused, the last good table stays in force"));
                return false;
            }
        };
        self.given.replace(Some(configuration.version.clone()));
        let published = shared::publish(&self.host, &self.name, &configuration, json);
        self.unstored.replace((published == Published::Failed).then(|| json.to_vec()));
        if published == Published::New {
            // Before the generation: nobody may see the new one with the old one's threads.
            self.metrics.threads(&self.host, 0);
        }
        // If what replaced it cannot be read, what we were given is the best that there is.
        if !(published == Published::Replaced && self.adopt_shared()) {
            self.adopt(configuration);
        }
        true
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
        if !self.offer_again() {
            return;
        }
        let Some(stored) = Stored::read(&self.host, &self.name) else { return };
        self.adopt_stored(&stored);
        self.be_counted(stored.version());
    }

    /// Offers again what the proxy did not store; `false` if it still does not. What other VMs have is older then.
    fn offer_again(&self) -> bool {
        let Some(json) = self.unstored.take() else { return true };
        let Some(configuration) = self.configuration() else { return true };
        let published = shared::publish(&self.host, &self.name, &configuration, &json);
        if published == Published::Failed {
            self.unstored.replace(Some(json));
        }
        published != Published::Failed
    }

    /// Shows how many threads were given the current configuration; one that has it by hearsay alone does not count.
    fn be_counted(&self, current: &str) {
        let is_given = self.given.borrow().as_deref() == Some(current);
        let has_it = is_given && self.configuration().is_some_and(|configuration| configuration.version == current);
        if let Some(threads) = threads::count(&self.host, &self.name, &self.seat, has_it, current) {
            self.metrics.threads(&self.host, threads);
        }
    }

    /// Adopts the configuration that another VM was given, if there is a new one; `false` if it cannot be read.
    fn adopt_shared(&self) -> bool {
        Stored::read(&self.host, &self.name).is_none_or(|stored| self.adopt_stored(&stored))
    }

    fn adopt_stored(&self, stored: &Stored) -> bool {
        if self.configuration().is_some_and(|current| current.version == stored.version()) {
            return true;
        }
        if self.unusable.get() == Some(stored.cas()) {
            return false;
        }
        let Some(configuration) = stored.configuration() else {
            self.host.log(Level::Warn, &format!("shared data: expected the table {}, found bytes that are not that table; the last good table stays in force", stored.version()));
            self.unusable.set(Some(stored.cas()));
            return false;
        };
        self.adopt(configuration);
        true
    }

    /// Puts a configuration in force, for the connections that are open as well.
    fn adopt(&self, configuration: Configuration) {
        if self.configuration().is_some_and(|current| current.version == configuration.version) {
            return;
        }
        self.metrics.adopt(&self.host, &configuration.table, configuration.options.named_peers);
        let configuration = Rc::new(configuration);
        self.configuration.replace(Some(Rc::clone(&configuration)));
        let open = self.live.borrow().len();
        let closes = self.judge_again(&configuration.table);
        let level = if closes == 0 { Level::Debug } else { Level::Info };
        if self.host.logs(level) {
            self.host.log(level, &adopted_line(&configuration.table, open, closes));
        }
    }

    /// Judges all open connections by a new table and returns how many it closes. They are closed in the ticks that
    /// follow, a few at a time.
    fn judge_again(&self, table: &Table) -> usize {
        let before = self.closing.borrow().len();
        let live: Vec<_> = self.live.borrow().values().cloned().collect();
        for connection in &live {
            match connection.state.get() {
                State::Awaiting => self.admit_again(table, connection),
                State::Passed => self.decide_again(table, connection),
                State::Closing | State::Gone => {}
            }
        }
        self.closing.borrow().len() - before
    }

    fn admit_again(&self, table: &Table, connection: &Rc<Connection>) {
        match admit(table, Some(&connection.server_name)) {
            Ok(admission) => connection.export.set(Some(admission.export())),
            Err(reason) => self.close_later(connection, Verdict::refused(reason, Some(table.generation()))),
        }
    }

    fn decide_again(&self, table: &Table, connection: &Rc<Connection>) {
        let server_name = Some(connection.server_name.as_ref());
        let decision = match connection.is_passed_through() {
            true => decide_passthrough(table, server_name),
            false => decide(table, server_name, connection.uri_san.get().map(AsRef::as_ref)),
        };
        if !decision.outcome.passes() {
            self.close_later(connection, Verdict::new(&decision, table.generation()).revoking());
        }
    }

    /// From here on nothing of the connection passes; a tick closes it.
    pub(crate) fn close_later(&self, connection: &Rc<Connection>, verdict: Verdict) {
        connection.state.set(State::Closing);
        self.closing.borrow_mut().push_back((Rc::clone(connection), verdict));
    }

    /// Takes in a connection whose service is exported.
    pub(crate) fn admit(&self, id: ContextId, server_name: &str, admission: &Admission<'_>) -> Rc<Connection> {
        let now = self.clock.advance(self.host.now());
        let connection = Rc::new(Connection::new(id, server_name, admission, now));
        self.live.borrow_mut().insert(id, Rc::clone(&connection));
        self.look_at(now, &connection);
        connection
    }

    /// Takes in a connection whose TLS is passed through, so that a new table judges it again.
    pub(crate) fn pass_through(&self, id: ContextId, server_name: &str) -> Rc<Connection> {
        let now = self.clock.advance(self.host.now());
        let connection = Rc::new(Connection::passed_through(id, server_name, now));
        self.live.borrow_mut().insert(id, Rc::clone(&connection));
        connection
    }

    /// Has a tick look at a connection.
    pub(crate) fn look_at(&self, at: Duration, connection: &Rc<Connection>) {
        self.looks.borrow_mut().push(Reverse(Look { at, connection: Rc::clone(connection) }));
    }

    /// Forgets a connection that the proxy has closed.
    pub(crate) fn forget(&self, connection: &Connection) {
        let state = connection.state.replace(State::Gone);
        if state == State::Gone {
            return;
        }
        self.live.borrow_mut().remove(&connection.id);
        if state == State::Awaiting {
            self.metrics.happened(&self.host, Event::Undecided);
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

    /// A root context ends; returns whether it was the last one.
    pub(crate) fn leave(&self, root: ContextId) -> bool {
        self.host.set_tick_period(Duration::ZERO);
        let ticked = self.ticks(root);
        self.roots.borrow_mut().retain(|&other| other != root);
        if ticked {
            self.period.set(Duration::ZERO);
            self.keep_pace();
        }
        let is_last = self.roots.borrow().is_empty();
        if is_last {
            threads::leave(&self.host, &self.name, &self.seat);
        }
        is_last
    }

    /// Whether this root context is the one that ticks for the scope.
    pub(crate) fn ticks(&self, root: ContextId) -> bool {
        self.roots.borrow().last() == Some(&root)
    }

    /// Sets the period that the work at hand asks for. Comes last in a callback, since it acts for the root.
    pub(crate) fn keep_pace(&self) {
        let period = self.period_due();
        let root = self.roots.borrow().last().copied();
        if let Some(root) = root.filter(|_| self.period.get() != period)
            && self.host.act_for(root)
        {
            self.host.set_tick_period(period);
            self.period.set(period);
        }
    }

    fn period_due(&self) -> Duration {
        if !self.closing.borrow().is_empty() {
            FASTEST
        } else if self.looks.borrow().iter().any(|Reverse(look)| look.connection.is(State::Awaiting)) {
            FAST
        } else {
            SLOW
        }
    }
}

fn adopted_line(table: &Table, open: usize, closes: usize) -> String {
    let (generation, hash, exports, peers) = (table.generation(), table.hash(), table.rows(), table.peer_count());
    format!(
        "table in force: generation {generation} ({hash}), {exports} exports, {peers} peers; closes {closes} of {open} open connections"
    )
}
