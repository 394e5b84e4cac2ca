//! Time as measured for the connections of one scope.

use std::cell::Cell;
use std::time::Duration;

/// A monotonic clock derived from the wall clock; ignores corrections.
///
/// The proxy provides only wall-clock time. The root ticks at least every half second. So a step of
/// more than [`Clock::LONGEST_STEP`] means that the clock was corrected or the worker stalled. It
/// counts only as that long, so that it does not time connections out.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    wall: Cell<Option<Duration>>,
    elapsed: Cell<Duration>,
}

impl Clock {
    const LONGEST_STEP: Duration = Duration::from_secs(1);

    /// Takes the wall-clock time and returns the monotonic time.
    pub(crate) fn advance(&self, wall: Duration) -> Duration {
        let before = self.wall.replace(Some(wall)).unwrap_or(wall);
        let step = wall.saturating_sub(before).min(Self::LONGEST_STEP);
        self.elapsed.set(self.elapsed.get().saturating_add(step));
        self.elapsed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_wall_clock_and_ignores_its_corrections() {
        let clock = Clock::default();
        let at = |milliseconds| clock.advance(Duration::from_millis(milliseconds)).as_millis();
        assert_eq!(at(1_000_000), 0);
        assert_eq!(at(1_000_500), 500);
        assert_eq!(at(9_000_000), 1_500);
        assert_eq!(at(2_000_000), 1_500);
        assert_eq!(at(2_000_005), 1_505);
    }
}
