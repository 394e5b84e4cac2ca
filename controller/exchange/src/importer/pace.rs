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
pub(super) enum Ended {
    /// All documents were fetched and are good.
    Well,
    /// The peer refuses our token, as every peer does until it has our object and has read our key.
    Pairing,
    /// No token may be sent, or not yet.
    NoToken,
    /// Anything else.
    Badly,
}

/// Counts equal outcomes in a row, and computes the next wait.
#[derive(Debug)]
pub(super) struct Pace {
    poll: Duration,
    in_a_row: u32,
    last: Ended,
}

impl Pace {
    pub(super) fn new(poll: Duration) -> Self {
        Self { poll, in_a_row: 0, last: Ended::Well }
    }

    /// The wait after a round with this outcome. `random` is from 0 to 1.
    pub(super) fn after(&mut self, ended: Ended, random: f64) -> Duration {
        self.in_a_row = if ended == self.last { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = ended;
        match ended {
            // The jitter spreads peers that were asked at the same moment. `NoToken` ends earlier,
            // when a verdict comes.
            Ended::Well | Ended::NoToken => self.poll.mul_f64(0.9 + 0.2 * random),
            Ended::Pairing => self.growing(FIRST_PAIRING, LONGEST_PAIRING, random),
            Ended::Badly => self.growing(FIRST, LONGEST.max(self.poll), random),
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
    fn a_good_peer_is_asked_at_the_interval_give_or_take_a_tenth() {
        let mut pace = Pace::new(MINUTE);
        assert_eq!(pace.after(Ended::Well, 0.0), Duration::from_secs(54));
        assert_eq!(pace.after(Ended::Well, 1.0), Duration::from_secs(66));
    }

    #[test]
    fn failures_double_the_wait_up_to_a_minute_and_success_resets_it() {
        let mut pace = Pace::new(Duration::from_secs(30));
        let waits: Vec<_> = (0..8).map(|_| pace.after(Ended::Badly, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert!(pace.after(Ended::Badly, 1.0) <= MINUTE);
        }
        pace.after(Ended::Well, 0.5);
        assert_eq!(pace.after(Ended::Badly, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn a_long_interval_is_the_longest_wait_and_a_short_one_the_first() {
        let mut slow = Pace::new(10 * MINUTE);
        assert_eq!((0..30).map(|_| slow.after(Ended::Badly, 1.0)).max(), Some(10 * MINUTE));
        let mut quick = Pace::new(Duration::from_millis(100));
        assert_eq!(quick.after(Ended::Badly, 1.0), Duration::from_millis(100));
    }

    #[test]
    fn a_peer_that_does_not_know_us_yet_is_asked_again_soon() {
        let mut pace = Pace::new(10 * MINUTE);
        pace.after(Ended::Badly, 1.0);
        let waits: Vec<_> = (0..6).map(|_| pace.after(Ended::Pairing, 1.0).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 20, 20]);
    }
}
