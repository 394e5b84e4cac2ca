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
use crate::metrics::Event;
use crate::report::{NO_ROUTE, Record, report};
use fedgate_core::{
    Decision, Outcome, Reason, ServiceName, Sni, Table, admit_service, judge, pass_service_through,
};
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
        let sni = Sni::parse(std::str::from_utf8(&server_name).unwrap_or("\u{fffd}"));
        let Some(configuration) = gateway.configuration() else {
            let service = sni.ok().map(|sni| sni.service());
            return gateway.refuse_early(Reason::NoTable, service.as_ref(), None);
        };
        let table = &configuration.table;
        match sni {
            Ok(sni) if gateway.passes_through() => self.pass_through(table, sni.service()),
            Ok(sni) => self.await_identity(table, sni.service()),
            Err(error) => gateway.refuse_early(error.into(), None, Some(table.generation())),
        }
    }

    /// Decides by the server name alone. Nothing else is known, and the workload judges the caller.
    fn pass_through(&mut self, table: &Table, service: ServiceName) -> Action {
        let decision = pass_service_through(table, service.host.as_str(), service.port);
        let generation = Some(table.generation());
        if !decision.outcome.passes() {
            return self.gateway.refuse_early(decision.reason, Some(&service), generation);
        }
        self.gateway.report(&decision, Some(&service), generation);
        let connection = Connection::passed_through(self.id, service);
        self.connection = Some(self.gateway.register(connection));
        Action::Continue
    }

    fn await_identity(&mut self, table: &Table, service: ServiceName) -> Action {
        match admit_service(table, service.host.as_str(), service.port) {
            Ok(export) => {
                let connection = Connection::awaiting(self.id, service, export);
                self.connection = Some(self.gateway.register(connection));
                Action::Pause
            }
            Err(reason) => {
                self.gateway.refuse_early(reason, Some(&service), Some(table.generation()))
            }
        }
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
    /// Returns true if the connection's chain passes TLS through.
    fn passes_through(&self) -> bool {
        self.has_passthrough.get() && self.host.is_passed_through()
    }

    fn report(
        &self,
        decision: &Decision<'_>,
        service: Option<&ServiceName>,
        generation: Option<u64>,
    ) {
        let record = Record::new(decision, service, generation);
        report(&self.host, record.outcome.word(), &record);
        self.metrics.decided(&self.host, decision);
    }

    fn refuse_early(
        &self,
        reason: Reason,
        service: Option<&ServiceName>,
        generation: Option<u64>,
    ) -> Action {
        self.report(&Decision::refused(reason), service, generation);
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
        let (service, generation) = (Some(&connection.service), Some(table.generation()));
        let passes = decision.outcome.passes();
        if passes && !self.route(&connection.service) {
            connection.state.set(State::Closing);
            self.report_route_failure(&Record::new(&decision, service, generation));
            return Err(NO_ROUTE);
        }
        self.report(&decision, service, generation);
        connection.state.set(if passes { State::Passed } else { State::Closing });
        if let Some(uri_san) = identity.uri_san.filter(|_| passes) {
            self.metrics.passed(&self.host, &decision, &uri_san, &connection.service);
            let _ = connection.uri_san.set(uri_san.into());
        }
        if passes { Ok(()) } else { Err(decision.reason.word()) }
    }

    /// An allowed connection is closed because the proxy did not accept its cluster.
    fn report_route_failure(&self, record: &Record<'_>) {
        let outcome = Outcome::Refused;
        report(&self.host, outcome.word(), &Record { outcome, reason: NO_ROUTE, ..*record });
        self.metrics.happened(&self.host, Event::RouteFailed);
    }

    fn route(&self, service: &ServiceName) -> bool {
        let cluster = service.cluster();
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
