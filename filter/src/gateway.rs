//! What the connections of one gateway share in one thread: the configuration that judges them, the
//! open connections, and those to be closed.

use crate::configuration::Configuration;
use crate::connection::{Connection, State};
use crate::host::{ConnectionId, Host, Level};
use crate::metrics::{Event, Metrics};
use crate::report::{Record, report};
use fedgate_core::{Decision, Outcome, Reason, Table, admit_service, judge, pass_service_through};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// The connections of one gateway in one thread.
#[derive(Debug)]
pub struct Gateway<H> {
    pub(crate) host: H,
    pub(crate) metrics: Metrics,
    configuration: RefCell<Option<Arc<Configuration>>>,
    live: RefCell<BTreeMap<ConnectionId, Rc<Connection>>>,
    closing: RefCell<VecDeque<Closing>>,
    /// Set once a table had passthrough services. Until then no chain passes TLS through, and the
    /// host is not asked whether one does.
    pub(crate) has_passthrough: Cell<bool>,
    pub(crate) route_failure_logged: Cell<bool>,
}

/// A connection that is to be closed.
#[derive(Debug)]
struct Closing {
    connection: Rc<Connection>,
    reason: Reason,
    peer: Option<Box<str>>,
    generation: u64,
    /// It had passed.
    revoked: bool,
}

impl<H: Host> Gateway<H> {
    /// A gateway without a table and without connections.
    pub fn new(host: H) -> Self {
        Self {
            host,
            metrics: Metrics::default(),
            configuration: RefCell::default(),
            live: RefCell::default(),
            closing: RefCell::default(),
            has_passthrough: Cell::default(),
            route_failure_logged: Cell::default(),
        }
    }

    /// The configuration in force.
    pub fn configuration(&self) -> Option<Arc<Configuration>> {
        self.configuration.borrow().clone()
    }

    /// Puts a configuration in force, and applies it to the open connections. Those that it refuses
    /// pass nothing more; [`close_some`](Self::close_some) closes them.
    pub fn adopt(&self, configuration: Arc<Configuration>) {
        if self.configuration().is_some_and(|current| current.version == configuration.version) {
            return;
        }
        self.metrics.choose_names(&configuration.table, &configuration.options);
        if configuration.table.has_passthrough() {
            self.has_passthrough.set(true);
        }
        self.configuration.replace(Some(Arc::clone(&configuration)));
        let open = self.live.borrow().len();
        let closes = self.judge_again(&configuration.table);
        let level = if closes == 0 { Level::Debug } else { Level::Info };
        if self.host.logs(level) {
            self.host.log(level, &adopted_line(&configuration.table, open, closes));
        }
    }

    /// Judges all open connections by a new table and returns how many it closes.
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
        match admit_service(table, connection.service.host.as_str(), connection.service.port) {
            Ok(export) => connection.export.set(Some(export)),
            Err(reason) => self.close_later(table, connection, &Decision::refused(reason)),
        }
    }

    fn decide_again(&self, table: &Table, connection: &Rc<Connection>) {
        let (host, port) = (connection.service.host.as_str(), connection.service.port);
        let decision = match connection.is_passed_through() {
            true => pass_service_through(table, host, port),
            false => match admit_service(table, host, port) {
                Ok(export) => judge(table, export, connection.uri_san.get().map(AsRef::as_ref)),
                Err(reason) => Decision::refused(reason),
            },
        };
        if !decision.outcome.passes() {
            self.close_later(table, connection, &decision);
        }
    }

    /// Blocks the connection from now on; it is closed later.
    fn close_later(&self, table: &Table, connection: &Rc<Connection>, decision: &Decision<'_>) {
        let revoked = connection.state.replace(State::Closing) == State::Passed;
        self.closing.borrow_mut().push_back(Closing {
            connection: Rc::clone(connection),
            reason: decision.reason,
            peer: decision.peer.map(|peer| peer.name.into()),
            generation: table.generation(),
            revoked,
        });
    }

    /// Returns true if connections wait to be closed.
    pub fn has_closing(&self) -> bool {
        !self.closing.borrow().is_empty()
    }

    /// Closes up to `limit` of the connections that are to be closed.
    pub fn close_some(&self, limit: usize) {
        for _ in 0..limit {
            let Some(closing) = self.closing.borrow_mut().pop_front() else { return };
            let connection = &closing.connection;
            if connection.is(State::Closing) && self.host.act_for(connection.id) {
                self.report_closing(&closing);
                self.close_now(closing.reason.word());
            }
        }
    }

    fn report_closing(&self, closing: &Closing) {
        let Closing { connection, reason, peer, generation, revoked } = closing;
        match revoked {
            true => self.metrics.happened(&self.host, Event::Revoked),
            false => self.metrics.decided(&self.host, &Decision::refused(*reason)),
        }
        let record = Record {
            outcome: Outcome::Refused,
            reason: reason.word(),
            peer: peer.as_deref(),
            service: Some(&connection.service),
            generation: Some(*generation),
        };
        report(&self.host, if *revoked { "revoked" } else { "refused" }, &record);
    }

    /// Registers a connection, so that a new table judges it again.
    pub(crate) fn register(&self, connection: Connection) -> Rc<Connection> {
        let connection = Rc::new(connection);
        self.live.borrow_mut().insert(connection.id, Rc::clone(&connection));
        connection
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

    /// If the proxy does not close it, the connection stays paused and nothing passes.
    pub(crate) fn close_now(&self, reason: &str) {
        if let Err(status) = self.host.close(reason) {
            self.host.log(
                Level::Error,
                &format!("the proxy does not close a refused connection (status {})", status.0),
            );
        }
    }
}

fn adopted_line(table: &Table, open: usize, closes: usize) -> String {
    let (generation, hash, exports, peers) =
        (table.generation(), table.hash(), table.rows(), table.peer_count());
    format!(
        "table in force: generation {generation} ({hash}), {exports} exports, {peers} peers; closes {closes} of {open} open connections"
    )
}
