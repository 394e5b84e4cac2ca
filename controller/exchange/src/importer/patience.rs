//! How long to wait at a peer, and how soon to ask it again.

use fedgate_federation::knowledge::Times;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits at a peer that nothing stands in front of. Many proxies give up after
/// a minute.
const LONGEST: Duration = Duration::from_secs(50);
/// Shorter waits cost more than they gain, so the peer is polled instead.
const SHORTEST: Duration = Duration::from_secs(5);
/// After so many failures in a row, the peer is polled.
const FAILURES: u32 = 3;

/// How long to wait at a peer. Learns what a proxy in front of it allows.
#[derive(Debug)]
pub(super) struct Patience {
    wait: Duration,
    failures: u32,
}

impl Patience {
    /// Waits so that knowledge that is confirmed by each answer is never stale.
    pub(super) fn new(times: &Times) -> Self {
        Self { wait: LONGEST.min(times.stale_after / 2), failures: 0 }
    }

    /// The next wait, of at least a second; `None` if waiting does not work.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = Some(self.wait).filter(|wait| *wait >= Duration::from_secs(1));
        wait.filter(|_| self.failures < FAILURES)
    }

    /// Records that a request was answered.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// Records that a request failed after waiting this long. A proxy that gave up would have
    /// answered a shorter wait.
    pub(super) fn failed(&mut self, waited: Duration) {
        self.failures += 1;
        if waited >= SHORTEST {
            self.wait = (waited / 2).max(SHORTEST).min(self.wait);
        }
    }
}

/// How often a peer is asked again at once.
const PERIOD: Duration = Duration::from_secs(1);
/// How many times it may be asked faster than that. Each request needs a token of another second, and
/// those may be ahead by a minute.
const BURST: u32 = 40;

/// Limits how often a peer is asked again at once: forty times in a row, and once a second in the
/// long run. So a peer that always has something new, or only says so, costs no more than a poll a
/// second.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all requests so far are paid off.
    paid: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { paid: Instant::now() }
    }
}

impl Pace {
    /// Counts a request, and returns when it may be sent.
    pub(super) fn next(&mut self) -> Instant {
        let now = Instant::now();
        self.paid = self.paid.max(now) + PERIOD;
        self.paid.checked_sub(PERIOD * BURST).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, sleep_until};

    fn seconds(patience: &Patience) -> Option<u64> {
        patience.wait().map(|wait| wait.as_secs())
    }

    #[test]
    fn patience_adapts_to_a_proxy_that_gives_up() {
        let mut patience = Patience::new(&Times::default());
        assert_eq!(seconds(&patience), Some(50));
        patience.failed(Duration::from_secs(15));
        assert_eq!(seconds(&patience), Some(7));
        patience.answered();
        // What is shorter was not the proxy's limit, and no limit raises the wait.
        patience.failed(Duration::from_secs(1));
        patience.failed(Duration::from_secs(40));
        assert_eq!(seconds(&patience), Some(7));
        patience.answered();
        patience.failed(Duration::from_secs(6));
        assert_eq!(seconds(&patience), Some(5));
    }

    #[test]
    fn after_three_failures_in_a_row_a_peer_is_polled() {
        let mut patience = Patience::new(&Times::default());
        patience.failed(Duration::ZERO);
        patience.failed(Duration::ZERO);
        patience.answered();
        patience.failed(Duration::ZERO);
        patience.failed(Duration::ZERO);
        assert!(patience.wait().is_some());
        patience.failed(Duration::ZERO);
        assert_eq!(patience.wait(), None);
    }

    #[test]
    fn knowledge_does_not_become_stale_during_a_wait() {
        let after = |seconds| {
            let stale_after = Duration::from_secs(seconds);
            self::seconds(&Patience::new(&Times { stale_after, ..Times::default() }))
        };
        assert_eq!(
            (after(300), after(60), after(4), after(1)),
            (Some(50), Some(30), Some(2), None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_asked_again_at_once_forty_times_and_then_once_a_second() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let mut sent = Vec::new();
        for _ in 0..43 {
            sleep_until(pace.next()).await;
            sent.push(began.elapsed().as_secs());
        }
        assert!(sent[..40].iter().all(|second| *second == 0), "{sent:?}");
        assert_eq!(sent[40..], [1, 2, 3]);
        // A quiet time pays off.
        advance(Duration::from_secs(60)).await;
        let again = Instant::now();
        for _ in 0..40 {
            sleep_until(pace.next()).await;
        }
        assert_eq!(again.elapsed(), Duration::ZERO);
    }
}
