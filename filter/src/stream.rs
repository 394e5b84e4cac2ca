//! The life of one connection.
//!
//! | callback | before the decision | after it |
//! | --- | --- | --- |
//! | new connection | admits by the SNI, or closes; pauses | |
//! | downstream data | decides: the handshake is finished, since these bytes came out of it | goes on |
//! | upstream data | held back | goes on |
//! | tick | decides once the handshake is proven, or closes after the timeout | |
//! | done | forgets the connection | forgets the connection |
//!
//! There is no upstream data before the decision, because tcp_proxy has not started. If another
//! filter writes any, it is lost: the proxy has no way to resume it.
//!
//! If the listener passes TLS through, it sets [`Property::PassedThrough`], and there is no identity
//! to wait for. The connection is decided by its SNI when it begins. tcp_proxy's own
//! cluster is the right one, because the SNI selected the chain. A service belongs to one of the
//! two kinds of chain and is unknown in the other. So no caller bypasses the identity check of a
//! service that has one.
//!
//! Once a connection is to be closed, nothing passes in either direction, even if its client never
//! reads the data still to be flushed. A stream that was never admitted passes nothing either.

use crate::connection::{Connection, State};
use crate::host::{Action, ContextId, Host, Level, Property};
use crate::identity::Identity;
use crate::report::{Record, report, report_route_failure};
use crate::route::set_cluster;
use crate::scope::Scope;
use fedgate_core::{Admission, Reason, Sni, Table, admit, decide_passthrough, judge};
use std::rc::Rc;

/// The callbacks of one connection.
#[derive(Debug)]
pub struct Stream<H: Host> {
    id: ContextId,
    scope: Rc<Scope<H>>,
    /// Set once the connection is admitted.
    connection: Option<Rc<Connection>>,
}

impl<H: Host> Stream<H> {
    pub(crate) fn new(id: ContextId, scope: Rc<Scope<H>>) -> Self {
        Self { id, scope, connection: None }
    }

    /// The connection was accepted and its ClientHello read; the handshake follows later.
    pub fn on_new_connection(&mut self) -> Action {
        let scope = Rc::clone(&self.scope);
        let server_name = scope.host.property(Property::ServerName).unwrap_or_default();
        // A name that is not UTF-8 cannot be one of ours: no SNI contains the replacement
        // character.
        let server_name = String::from_utf8_lossy(&server_name);
        let Some(configuration) = scope.configuration() else {
            return scope.refuse_early(&server_name, Reason::NoTable, None);
        };
        if scope.host.property(Property::PassedThrough).is_some_and(|value| !value.is_empty()) {
            return self.pass_through(&configuration.table, &server_name);
        }
        match admit(&configuration.table, Some(&server_name)) {
            Err(reason) => {
                scope.refuse_early(&server_name, reason, Some(configuration.table.generation()))
            }
            Ok(admission) => self.await_identity(&server_name, &admission),
        }
    }

    /// Decides by the server name alone. Nothing else is known, and the workload judges the caller.
    fn pass_through(&mut self, table: &Table, server_name: &str) -> Action {
        let decision = decide_passthrough(table, Some(server_name));
        if !decision.outcome.passes() {
            return self.scope.refuse_early(server_name, decision.reason, Some(table.generation()));
        }
        self.connection = Some(self.scope.pass_through(self.id, server_name));
        let record = Record::new(&decision, table.generation());
        report(&self.scope.host, &self.scope.metrics, &record, server_name);
        Action::Continue
    }

    fn await_identity(&mut self, server_name: &str, admission: &Admission<'_>) -> Action {
        self.connection = Some(self.scope.admit(self.id, server_name, admission));
        self.scope.keep_pace();
        Action::Pause
    }

    /// The client sent data, or ended its half of the connection.
    pub fn on_downstream_data(&mut self) -> Action {
        match &self.connection {
            Some(connection) if connection.is(State::Passed) => Action::Continue,
            Some(connection) if connection.is(State::Awaiting) => {
                self.scope.finish(self.scope.decide(connection))
            }
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
            self.scope.forget(&connection);
        }
    }
}

impl<H: Host> Drop for Stream<H> {
    fn drop(&mut self) {
        self.on_done();
    }
}

/// Decisions. The host acts for the connection in question.
impl<H: Host> Scope<H> {
    fn refuse_early(&self, server_name: &str, reason: Reason, generation: Option<u64>) -> Action {
        report(&self.host, &self.metrics, &Record::refused(reason, generation), server_name);
        self.close_now();
        Action::Pause
    }

    /// Decides by the identity proven so far, if any.
    fn decide(&self, connection: &Connection) -> bool {
        self.decide_by(connection, Identity::read(&self.host).unwrap_or_default())
    }

    /// Decides and reports; returns true if the connection passes.
    pub(crate) fn decide_by(&self, connection: &Connection, identity: Identity) -> bool {
        let Some(configuration) = self.configuration() else { return false };
        let Some(export) = connection.export.get() else { return false };
        let table = &configuration.table;
        let decision = judge(table, export, identity.uri_san.as_deref());
        let record = Record::new(&decision, table.generation());
        let passes = record.outcome.passes();
        if passes && !self.route(connection) {
            self.route_failed(connection, &record);
            return false;
        }
        report(&self.host, &self.metrics, &record, &connection.server_name);
        connection.state.set(if passes { State::Passed } else { State::Closing });
        if let Some(uri_san) = identity.uri_san.filter(|_| passes) {
            let _ = connection.uri_san.set(uri_san.into());
        }
        passes
    }

    fn route(&self, connection: &Connection) -> bool {
        let Ok(sni) = Sni::parse(&connection.server_name) else { return false };
        let cluster = sni.service().cluster();
        match set_cluster(&self.host, &cluster) {
            Ok(()) => true,
            Err(status) => {
                if !self.route_failure_logged.replace(true) {
                    self.host.log(Level::Error, &format!("the proxy does not take the cluster {cluster} for a connection (status {}); such connections are closed, and this is logged once", status.0));
                }
                false
            }
        }
    }

    fn route_failed(&self, connection: &Connection, record: &Record) {
        connection.state.set(State::Closing);
        report_route_failure(&self.host, &self.metrics, record, &connection.server_name);
    }

    fn finish(&self, passes: bool) -> Action {
        if passes {
            return Action::Continue;
        }
        self.close_now();
        Action::Pause
    }

    /// If the proxy does not close it, the connection stays paused and nothing passes.
    pub(crate) fn close_now(&self) {
        if let Err(status) = self.host.close_downstream() {
            self.host.log(
                Level::Error,
                &format!("the proxy does not close a refused connection (status {})", status.0),
            );
        }
    }
}
