//! One admitted connection.

use crate::host::ConnectionId;
use fedgate_core::{Admission, Export, Sni};
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
    /// The server name as the client sent it. It names an exported service.
    pub(crate) server_name: Box<str>,
    /// The service's row. While the connection awaits its decision, the row belongs to the table in
    /// force. `None` for passthrough: there is no identity to judge.
    pub(crate) export: Cell<Option<Export>>,
    /// The URI SAN with which it was allowed.
    pub(crate) uri_san: OnceCell<Box<str>>,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, server_name: &str, admission: &Admission<'_>) -> Self {
        Self {
            id,
            state: Cell::new(State::Awaiting),
            server_name: server_name.into(),
            export: Cell::new(Some(admission.export())),
            uri_san: OnceCell::new(),
        }
    }

    /// A passthrough connection, which is already fully decided.
    pub(crate) fn passed_through(id: ConnectionId, server_name: &str) -> Self {
        Self {
            id,
            state: Cell::new(State::Passed),
            server_name: server_name.into(),
            export: Cell::new(None),
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

/// The service of a server name, as `host:port`. Returns `None` for a name of another form, so that
/// no other untrusted text is ever written down.
pub(crate) fn service_of(server_name: &str) -> Option<String> {
    Sni::parse(server_name).ok().map(|sni| sni.service().to_string())
}
