//! Time as something that is handed in, so that tests set it.

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

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

/// A time without its fraction of a second, as Kubernetes writes times.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Ready at a moment of tokio's clock; without one, never.
pub async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
