//! One connection that was admitted.

use crate::host::ContextId;
use fedgate_core::{Admission, Export, Sni};
use std::cell::{Cell, OnceCell};
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::Duration;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its service is exported; who calls is not known yet.
    Awaiting,
    /// It was decided that it may pass.
    Passed,
    /// It was decided that it may not (any longer); nothing of it passes from here on.
    Closing,
    /// The proxy has closed it.
    Gone,
}

/// What is kept of a connection as long as it is open: enough to judge it again.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ContextId,
    pub(crate) state: Cell<State>,
    /// The server name as the client sent it; it names an exported service.
    pub(crate) server_name: Box<str>,
    /// The service's row. Belongs to the table in force as long as the connection awaits its decision. `None` where TLS is passed
    /// through: there is no identity to judge.
    pub(crate) export: Cell<Option<Export>>,
    /// The URI SAN that it was let through with.
    pub(crate) uri_san: OnceCell<Box<str>>,
    pub(crate) admitted_at: Duration,
}

impl Connection {
    pub(crate) fn new(id: ContextId, server_name: &str, admission: &Admission<'_>, now: Duration) -> Self {
        Self {
            id,
            state: Cell::new(State::Awaiting),
            server_name: server_name.into(),
            export: Cell::new(Some(admission.export())),
            uri_san: OnceCell::new(),
            admitted_at: now,
        }
    }

    /// One whose TLS is passed through: all that there is to decide about it was decided.
    pub(crate) fn passed_through(id: ContextId, server_name: &str, now: Duration) -> Self {
        Self {
            id,
            state: Cell::new(State::Passed),
            server_name: server_name.into(),
            export: Cell::new(None),
            uri_san: OnceCell::new(),
            admitted_at: now,
        }
    }

    pub(crate) fn is_passed_through(&self) -> bool {
        self.export.get().is_none()
    }

    pub(crate) fn is(&self, state: State) -> bool {
        self.state.get() == state
    }
}

/// A connection that a tick is to look at, in order of time.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) at: Duration,
    pub(crate) connection: Rc<Connection>,
}

impl Ord for Look {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.connection.id).cmp(&(other.at, other.connection.id))
    }
}

impl PartialOrd for Look {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Look {}

/// The service that a server name names, as `host:port`; `None` for a name of another form, so that nothing else of
/// what a stranger says is ever written down.
pub(crate) fn service_of(server_name: &str) -> Option<String> {
    Sni::parse(server_name).ok().map(|sni| sni.service().to_string())
}
