//! What the connections of one gateway share in one thread: the configuration that judges them, the
//! open connections, and those to be closed.

use crate::configuration::Configuration;
use crate::connection::{Connection, State};
use crate::host::{ConnectionId, Host, Level};
use crate::metrics::{Event, Metrics};
use crate::report::{Record, report};
use fedgate_core::{Admission, Table, admit, decide, decide_passthrough};
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
    closing: RefCell<VecDeque<(Rc<Connection>, Record)>>,
    pub(crate) route_failure_logged: Cell<bool>,
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
        self.metrics.name_peers(&configuration.table, configuration.options.named_peers);
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
        match admit(table, Some(&connection.server_name)) {
            Ok(admission) => connection.export.set(Some(admission.export())),
            Err(reason) => {
                self.close_later(connection, Record::refused(reason, Some(table.generation())))
            }
        }
    }

    fn decide_again(&self, table: &Table, connection: &Rc<Connection>) {
        let server_name = Some(connection.server_name.as_ref());
        let decision = match connection.is_passed_through() {
            true => decide_passthrough(table, server_name),
            false => decide(table, server_name, connection.uri_san.get().map(AsRef::as_ref)),
        };
        if !decision.outcome.passes() {
            self.close_later(connection, Record::new(&decision, table.generation()).revoking());
        }
    }

    /// Blocks the connection from now on; it is closed later.
    fn close_later(&self, connection: &Rc<Connection>, record: Record) {
        connection.state.set(State::Closing);
        self.closing.borrow_mut().push_back((Rc::clone(connection), record));
    }

    /// Returns true if connections wait to be closed.
    pub fn has_closing(&self) -> bool {
        !self.closing.borrow().is_empty()
    }

    /// Closes up to `limit` of the connections that are to be closed.
    pub fn close_some(&self, limit: usize) {
        for _ in 0..limit {
            let Some((connection, record)) = self.closing.borrow_mut().pop_front() else { return };
            if connection.is(State::Closing) && self.host.act_for(connection.id) {
                report(&self.host, &self.metrics, &record, &connection.server_name);
                self.close_now(record.reason.word());
            }
        }
    }

    /// Registers a connection whose service is exported.
    pub(crate) fn admit(
        &self,
        id: ConnectionId,
        server_name: &str,
        admission: &Admission<'_>,
    ) -> Rc<Connection> {
        self.register(Connection::new(id, server_name, admission))
    }

    /// Registers a passthrough connection, so that a new table judges it again.
    pub(crate) fn pass_through(&self, id: ConnectionId, server_name: &str) -> Rc<Connection> {
        self.register(Connection::passed_through(id, server_name))
    }

    fn register(&self, connection: Connection) -> Rc<Connection> {
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
