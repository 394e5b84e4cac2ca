//! A connection of a VM: its life cycle, and what ticks have to know of it.

use super::host::{ContextId, Host};
use super::proxied::Proxied;
use super::scope::Scope;
use crate::host::Action;
use std::rc::Rc;

/// The callbacks of one connection.
#[derive(Debug)]
pub struct Stream<H: Host> {
    stream: crate::Stream<Proxied<H>>,
    scope: Rc<Scope<H>>,
}

impl<H: Host> Stream<H> {
    pub(crate) fn new(id: ContextId, scope: Rc<Scope<H>>) -> Self {
        Self { stream: crate::Stream::new(id, Rc::clone(&scope.gateway)), scope }
    }

    /// The connection was accepted and its ClientHello read. No callback reports the end of the
    /// handshake, so ticks look for it.
    pub fn on_new_connection(&mut self) -> Action {
        let action = self.stream.on_new_connection();
        if let Some(connection) = self.stream.awaiting() {
            self.scope.watch(connection);
        }
        action
    }

    /// The client sent data, or ended its half of the connection.
    pub fn on_downstream_data(&mut self) -> Action {
        self.stream.on_downstream_data()
    }

    /// The service sent data, or ended its half of the connection.
    pub fn on_upstream_data(&mut self) -> Action {
        self.stream.on_upstream_data()
    }
}
