//! The time of day as a parameter, so that tests can set it.

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

/// A source of the time of day, for times that are stored or compared with a peer's clock. Timers
/// use tokio's own clock. Any `Fn() -> Timestamp` is a `Clock`.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The system clock.
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

/// A time without fractions of a second, as Kubernetes writes times.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Waits until a time of tokio's clock. `None` waits forever.
pub async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
