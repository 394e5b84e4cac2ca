//! When to ask a peer again.

use fedgate_process::backoff::backoff;
use std::time::Duration;

/// The first wait after a failure, unless the polling interval is shorter.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait after failures, unless the polling interval is longer. It is short so that a
/// returning peer is noticed soon.
const LONGEST: Duration = Duration::from_secs(60);
/// The first and the longest wait while the peer does not know us yet. Its operator is probably
/// setting it up, so it will not take long.
const FIRST_PAIRING: Duration = Duration::from_secs(2);
const LONGEST_PAIRING: Duration = Duration::from_secs(20);

/// How a round ended, as far as it affects the next wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundOutcome {
    /// All documents were fetched and are good.
    Succeeded,
    /// The peer refuses our token, as every peer does until it has our object and has read our key.
    Pairing,
    /// No token may be sent, or not yet.
    NoToken,
    /// Anything else.
    Failed,
}

/// Counts equal outcomes in a row, and computes the next wait.
#[derive(Debug)]
pub(super) struct PollBackoff {
    poll: Duration,
    in_a_row: u32,
    last: RoundOutcome,
}

impl PollBackoff {
    pub(super) fn new(poll: Duration) -> Self {
        Self { poll, in_a_row: 0, last: RoundOutcome::Succeeded }
    }

    /// The wait after a round with this outcome. `random` is from 0 to 1.
    pub(super) fn after(&mut self, outcome: RoundOutcome, random: f64) -> Duration {
        self.in_a_row = if outcome == self.last { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = outcome;
        match outcome {
            // The jitter spreads peers that were asked at the same moment. `NoToken` ends earlier,
            // when the decision comes.
            RoundOutcome::Succeeded | RoundOutcome::NoToken => {
                self.poll.mul_f64(0.9 + 0.2 * random)
            }
            RoundOutcome::Pairing => self.growing(FIRST_PAIRING, LONGEST_PAIRING, random),
            RoundOutcome::Failed => self.growing(FIRST, LONGEST.max(self.poll), random),
        }
    }

    /// Doubles from `first` to `longest`. Half of the wait is random, so that peers that failed
    /// together do not return together.
    fn growing(&self, first: Duration, longest: Duration, random: f64) -> Duration {
        backoff(first.min(self.poll), longest, self.in_a_row).mul_f64(0.5 + 0.5 * random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_good_peer_is_polled_at_the_interval_with_a_jitter_of_a_tenth() {
        let mut polls = PollBackoff::new(MINUTE);
        assert_eq!(polls.after(RoundOutcome::Succeeded, 0.0), Duration::from_secs(54));
        assert_eq!(polls.after(RoundOutcome::Succeeded, 1.0), Duration::from_secs(66));
    }

    #[test]
    fn failures_double_the_wait_up_to_a_minute_until_a_success() {
        let mut polls = PollBackoff::new(Duration::from_secs(30));
        let waits: Vec<_> =
            (0..8).map(|_| polls.after(RoundOutcome::Failed, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert!(polls.after(RoundOutcome::Failed, 1.0) <= MINUTE);
        }
        polls.after(RoundOutcome::Succeeded, 0.5);
        assert_eq!(polls.after(RoundOutcome::Failed, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn a_long_interval_raises_the_longest_wait_and_a_short_one_lowers_the_first() {
        let mut slow = PollBackoff::new(10 * MINUTE);
        assert_eq!((0..30).map(|_| slow.after(RoundOutcome::Failed, 1.0)).max(), Some(10 * MINUTE));
        let mut quick = PollBackoff::new(Duration::from_millis(100));
        assert_eq!(quick.after(RoundOutcome::Failed, 1.0), Duration::from_millis(100));
    }

    #[test]
    fn a_pairing_peer_is_polled_again_soon() {
        let mut polls = PollBackoff::new(10 * MINUTE);
        polls.after(RoundOutcome::Failed, 1.0);
        let waits: Vec<_> =
            (0..6).map(|_| polls.after(RoundOutcome::Pairing, 1.0).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 20, 20]);
    }
}
