//! The life of one connection.
//!
//! | callback | before the decision | after it |
//! | --- | --- | --- |
//! | new connection | admits by the SNI, or closes; pauses | |
//! | handshake finished | decides | |
//! | downstream data | decides: the handshake is finished, since these bytes came out of it | goes on |
//! | upstream data | held back | goes on |
//! | done | forgets the connection | forgets the connection |
//!
//! There is no upstream data before the decision, because tcp_proxy has not started. If another
//! filter writes any, it is lost: the proxy has no way to resume it.
//!
//! If the listener passes TLS through ([`Host::is_passed_through`]), there is no identity to wait
//! for. The connection is decided by its SNI when it begins. tcp_proxy's own cluster is the right
//! one, because the SNI selected the chain. A service belongs to one of the two kinds of chain and
//! is unknown in the other. So no caller bypasses the identity check of a service that has one.
//!
//! Once a connection is to be closed, nothing passes in either direction, even if its client never
//! reads the data still to be flushed. A stream that was never admitted passes nothing either.

use crate::connection::{Connection, State};
use crate::gateway::Gateway;
use crate::host::{Action, ConnectionId, Host, Identity, Level};
use crate::report::{NO_ROUTE, Record, report, report_route_failure};
use fedgate_core::{Admission, Reason, Sni, Table, admit, decide_passthrough, judge};
use std::rc::Rc;

/// The callbacks of one connection.
#[derive(Debug)]
pub struct Stream<H: Host> {
    id: ConnectionId,
    gateway: Rc<Gateway<H>>,
    /// Set once the connection is admitted.
    connection: Option<Rc<Connection>>,
}

impl<H: Host> Stream<H> {
    /// A connection of a gateway.
    pub fn new(id: ConnectionId, gateway: Rc<Gateway<H>>) -> Self {
        Self { id, gateway, connection: None }
    }

    /// The connection was accepted and its ClientHello read; the handshake follows later.
    pub fn on_new_connection(&mut self) -> Action {
        let gateway = Rc::clone(&self.gateway);
        let server_name = gateway.host.server_name().unwrap_or_default();
        // A name that is not UTF-8 cannot be one of ours: no SNI contains the replacement
        // character.
        let server_name = String::from_utf8_lossy(&server_name);
        let Some(configuration) = gateway.configuration() else {
            return gateway.refuse_early(&server_name, Reason::NoTable, None);
        };
        if gateway.host.is_passed_through() {
            return self.pass_through(&configuration.table, &server_name);
        }
        match admit(&configuration.table, Some(&server_name)) {
            Err(reason) => {
                gateway.refuse_early(&server_name, reason, Some(configuration.table.generation()))
            }
            Ok(admission) => self.await_identity(&server_name, &admission),
        }
    }

    /// Decides by the server name alone. Nothing else is known, and the workload judges the caller.
    fn pass_through(&mut self, table: &Table, server_name: &str) -> Action {
        let decision = decide_passthrough(table, Some(server_name));
        if !decision.outcome.passes() {
            return self.gateway.refuse_early(
                server_name,
                decision.reason,
                Some(table.generation()),
            );
        }
        self.connection = Some(self.gateway.pass_through(self.id, server_name));
        let record = Record::new(&decision, table.generation());
        report(&self.gateway.host, &self.gateway.metrics, &record, server_name);
        Action::Continue
    }

    fn await_identity(&mut self, server_name: &str, admission: &Admission<'_>) -> Action {
        self.connection = Some(self.gateway.admit(self.id, server_name, admission));
        Action::Pause
    }

    /// The connection, while it awaits its decision.
    pub(crate) fn awaiting(&self) -> Option<&Rc<Connection>> {
        self.connection.as_ref().filter(|connection| connection.is(State::Awaiting))
    }

    /// The handshake is finished and verified. This resumes or closes the connection.
    pub fn on_handshake(&mut self) {
        if let Some(connection) = self.awaiting() {
            let identity = self.gateway.host.identity().unwrap_or_default();
            self.gateway.settle(connection, identity);
        }
    }

    /// The client sent data, or ended its half of the connection.
    pub fn on_downstream_data(&mut self) -> Action {
        match &self.connection {
            Some(connection) if connection.is(State::Passed) => Action::Continue,
            Some(connection) if connection.is(State::Awaiting) => self.gateway.decide(connection),
            _ => Action::Pause,
        }
    }

    /// The service sent data, or ended its half of the connection.
    pub fn on_upstream_data(&mut self) -> Action {
        match &self.connection {
            Some(connection) if connection.is(State::Passed) => Action::Continue,
            _ => Action::Pause,
        }
    }

    /// The proxy has closed the connection. Dropping the stream does the same.
    pub fn on_done(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.gateway.forget(&connection);
        }
    }
}

impl<H: Host> Drop for Stream<H> {
    fn drop(&mut self) {
        self.on_done();
    }
}

/// Decisions. The host acts for the connection in question.
impl<H: Host> Gateway<H> {
    fn refuse_early(&self, server_name: &str, reason: Reason, generation: Option<u64>) -> Action {
        report(&self.host, &self.metrics, &Record::refused(reason, generation), server_name);
        self.close_now(reason.word());
        Action::Pause
    }

    /// Decides by the identity proven so far, if any.
    fn decide(&self, connection: &Connection) -> Action {
        match self.decide_by(connection, self.host.identity().unwrap_or_default()) {
            Ok(()) => Action::Continue,
            Err(reason) => {
                self.close_now(reason);
                Action::Pause
            }
        }
    }

    /// Decides outside of a callback for data, and resumes or closes the connection.
    pub(crate) fn settle(&self, connection: &Connection, identity: Identity) {
        match self.decide_by(connection, identity) {
            Ok(()) if self.host.resume().is_ok() => {}
            Ok(()) => self.close_now(NO_ROUTE),
            Err(reason) => self.close_now(reason),
        }
    }

    /// Decides and reports. An error is the reason word with which to close the connection.
    fn decide_by(&self, connection: &Connection, identity: Identity) -> Result<(), &'static str> {
        let Some(configuration) = self.configuration() else {
            return Err(Reason::NoTable.word());
        };
        let Some(export) = connection.export.get() else {
            return Err(Reason::UnknownService.word());
        };
        let table = &configuration.table;
        let decision = judge(table, export, identity.uri_san.as_deref());
        let record = Record::new(&decision, table.generation());
        let passes = record.outcome.passes();
        if passes && !self.route(connection) {
            connection.state.set(State::Closing);
            report_route_failure(&self.host, &self.metrics, &record, &connection.server_name);
            return Err(NO_ROUTE);
        }
        report(&self.host, &self.metrics, &record, &connection.server_name);
        connection.state.set(if passes { State::Passed } else { State::Closing });
        if let Some(uri_san) = identity.uri_san.filter(|_| passes) {
            let _ = connection.uri_san.set(uri_san.into());
        }
        if passes { Ok(()) } else { Err(record.reason.word()) }
    }

    fn route(&self, connection: &Connection) -> bool {
        let Ok(sni) = Sni::parse(&connection.server_name) else { return false };
        let cluster = sni.service().cluster();
        match self.host.set_cluster(&cluster) {
            Ok(()) => true,
            Err(status) => {
                if !self.route_failure_logged.replace(true) {
                    self.host.log(Level::Error, &format!("the proxy does not take the cluster {cluster} for a connection (status {}); such connections are closed, and this is logged once", status.0));
                }
                false
            }
        }
    }
}
