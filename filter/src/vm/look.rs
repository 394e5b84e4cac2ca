//! When ticks look at waiting connections.

use crate::connection::Connection;
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::Duration;

/// When a tick is to look at a connection. Ordered by time.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) at: Duration,
    pub(crate) admitted_at: Duration,
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
