//! Waits that grow with each failure.

use std::time::Duration;

/// The wait after this many failures in a row: `first`, then twice as long each time, up to
/// `longest`.
pub fn backoff(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_without_overflow() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(20));
        let waits: Vec<_> =
            (0..8).map(|failures| backoff(first, longest, failures).as_secs()).collect();
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 20, 20]);
        assert_eq!(backoff(first, longest, u32::MAX), longest);
        assert_eq!(backoff(Duration::MAX, Duration::MAX, 40), Duration::MAX);
        assert_eq!(backoff(longest, first, 1), first);
    }
}
