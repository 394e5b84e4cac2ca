//! One admitted connection.

use crate::host::ConnectionId;
use fedgate_core::{Export, ServiceName};
use std::cell::{Cell, OnceCell};

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its service is exported; its caller is not known yet.
    Awaiting,
    /// It was allowed to pass.
    Passed,
    /// It was refused or revoked; nothing more of it passes.
    Closing,
    /// The proxy has closed it.
    Gone,
}

/// What the filter keeps of an open connection: enough to judge it again.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) state: Cell<State>,
    /// The exported service that it calls.
    pub(crate) service: ServiceName,
    /// The service's row. While the connection awaits its decision, the row belongs to the table in
    /// force. `None` for passthrough: there is no identity to judge.
    pub(crate) export: Cell<Option<Export>>,
    /// The URI SAN with which it was allowed.
    pub(crate) uri_san: OnceCell<Box<str>>,
}

impl Connection {
    pub(crate) fn awaiting(id: ConnectionId, service: ServiceName, export: Export) -> Self {
        Self::new(id, State::Awaiting, service, Some(export))
    }

    /// A passthrough connection, which is already fully decided.
    pub(crate) fn passed_through(id: ConnectionId, service: ServiceName) -> Self {
        Self::new(id, State::Passed, service, None)
    }

    fn new(id: ConnectionId, state: State, service: ServiceName, export: Option<Export>) -> Self {
        Self {
            id,
            state: Cell::new(state),
            service,
            export: Cell::new(export),
            uri_san: OnceCell::new(),
        }
    }

    pub(crate) fn is_passed_through(&self) -> bool {
        self.export.get().is_none()
    }

    pub(crate) fn is(&self, state: State) -> bool {
        self.state.get() == state
    }
}
