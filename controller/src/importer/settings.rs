//! How the importer is set up.

use super::SystemRoots;
use crate::clock::Clock;
use std::{fmt, sync::Arc, time::Duration};

/// What all peers have in common.
#[derive(Clone)]
pub struct ImporterSettings {
    /// How long a peer is left alone after it answered well; jittered by a tenth.
    pub poll: Duration,
    /// How much a peer may take.
    pub limits: FetchLimits,
    /// The roots that every endpoint's certificate may come from.
    pub roots: SystemRoots,
    /// What tokens' times are taken from.
    pub clock: Arc<dyn Clock>,
}

/// How much a peer may take of the importer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// The time to connect, TLS handshake included.
    pub connect: Duration,
    /// The time for one document, from the look-up of the name to its last byte.
    pub fetch: Duration,
    /// The most bytes of a public document.
    pub public_bytes: usize,
    /// The most bytes of a private document.
    pub private_bytes: usize,
    /// How many peers are asked at once; the others wait for their turn, first come first served.
    pub at_once: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            fetch: Duration::from_secs(15),
            public_bytes: 256 * 1024,
            private_bytes: 4 * 1024 * 1024,
            at_once: 64,
        }
    }
}

impl fmt::Debug for ImporterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImporterSettings")
            .field("poll", &self.poll)
            .field("limits", &self.limits)
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}
