//! Time as something that is handed in, so that tests set it.

use std::time::{SystemTime, UNIX_EPOCH};

/// What tells the time of day. Timers use tokio's own clock; this one is for what is compared with a peer's clock.
pub trait Clock: Send + Sync {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    fn unix_seconds(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_seconds(&self) -> u64 {
        // A clock that is set before 1970 reads 0: each token is then refused, and the reason says why.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

impl<F: Fn() -> u64 + Send + Sync> Clock for F {
    fn unix_seconds(&self) -> u64 {
        self()
    }
}
