//! Which change a private document follows from, for traces.

use axum::http::{HeaderName, HeaderValue};
use fedgate_core::PeerName;
use fedgate_trace::{Change, TRACEPARENT};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

pub(super) const HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);

/// A document that a peer may not have yet.
#[derive(Debug)]
pub(super) struct News {
    change: Change,
    peer: PeerName,
    published: SystemTime,
    /// Only the first answer is recorded, so a peer cannot fill a trace.
    is_told: AtomicBool,
}

impl News {
    /// `None` if the change is not traced.
    pub(super) fn of(change: &Change, peer: &PeerName) -> Option<Self> {
        change.is_traced().then(|| Self {
            change: change.clone(),
            peer: peer.clone(),
            published: SystemTime::now(),
            is_told: AtomicBool::new(false),
        })
    }

    /// Records that the peer gets the document. Returns what the answer says about the trace.
    pub(super) fn tell(&self) -> Option<HeaderValue> {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            self.change.answered(self.peer.as_str(), self.published);
        }
        HeaderValue::try_from(self.change.origin()?.to_header()).ok()
    }
}
