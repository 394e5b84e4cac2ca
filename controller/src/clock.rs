//! Time as something that is handed in, so that tests set it.

use jiff::Timestamp;

/// What tells the time of day. Timers use tokio's own clock; this one is for what is written down, or compared with a peer's
/// clock. Any `Fn() -> Timestamp` is one.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}
