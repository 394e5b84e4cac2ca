//! The newest compilation, for a task that works only while this replica leads.

use super::compiled::Compiled;
use crate::leader::election::Leadership;
use std::sync::Arc;
use tokio::sync::watch;

/// What was compiled last, and whether this replica leads. Each clone follows changes by itself.
#[derive(Clone)]
pub(crate) struct AsLeader {
    newest: watch::Receiver<Option<Arc<Compiled>>>,
    leadership: Leadership,
}

impl AsLeader {
    pub(crate) fn new(
        newest: watch::Receiver<Option<Arc<Compiled>>>,
        leadership: Leadership,
    ) -> Self {
        Self { newest, leadership }
    }

    /// The newest compilation. `None` while this replica does not lead, or has not compiled as the
    /// leader yet.
    pub(crate) fn compiled(&self) -> Option<Arc<Compiled>> {
        let compiled = self.newest.borrow().clone();
        compiled.filter(|compiled| compiled.as_leader && self.leadership.leads())
    }

    /// Waits until [`Self::compiled`] may have changed.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            changed = self.newest.changed() => if changed.is_err() { std::future::pending().await },
            () = self.leadership.changed() => {}
        }
    }
}
