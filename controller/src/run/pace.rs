//! When to compile: at once after a change, again after a failure, and when time alone changes something.

use crate::clock::until;
use crate::controller::Next;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// How soon a sink that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// When to compile next.
pub(super) struct Pace {
    due: Option<Instant>,
}

impl Default for Pace {
    /// At once: nothing is in force yet.
    fn default() -> Self {
        Self { due: Some(Instant::now()) }
    }
}

impl Pace {
    /// Something changed.
    pub(super) fn now(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Within this time, unless it is sooner anyway.
    pub(super) fn soon(&mut self, within: Duration) {
        let then = Instant::now() + within;
        self.due = Some(self.due.map_or(then, |due| due.min(then)));
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// After a compilation.
    pub(super) fn compiled(&mut self, next: &Next) {
        self.due = None;
        if next.retry {
            self.soon(RETRY);
        }
        if let Some(at) = next.at {
            self.soon(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO));
        }
    }

    /// Until it is time.
    pub(super) async fn wait(&self) {
        until(self.due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_nearest_reason_counts() {
        let mut pace = Pace::default();
        assert!(pace.is_due());
        pace.compiled(&Next::default());
        assert!(!pace.is_due());
        pace.soon(Duration::from_secs(60));
        pace.soon(Duration::from_secs(5));
        let began = Instant::now();
        pace.wait().await;
        assert_eq!(began.elapsed().as_secs(), 5);
        assert!(pace.is_due());
        pace.compiled(&Next { retry: true, ..Next::default() });
        pace.wait().await;
        assert_eq!(began.elapsed().as_secs(), 7);
    }
}
