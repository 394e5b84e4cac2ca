//! Time as the connections of one scope feel it.

use std::cell::Cell;
use std::time::Duration;

/// A clock that is set by a wall clock, and that neither jumps nor goes back when somebody corrects that one.
///
/// The proxy tells the wall clock's time alone. The root ticks every half second at least, so a step of more than
/// [`Clock::LONGEST_STEP`] is a correction, or a worker that stood still; both must not time connections out.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    wall: Cell<Option<Duration>>,
    elapsed: Cell<Duration>,
}

impl Clock {
    const LONGEST_STEP: Duration = Duration::from_secs(1);

    /// Takes note of the wall clock's time and returns the own.
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
    fn goes_with_the_wall_clock_but_not_with_its_corrections() {
        let clock = Clock::default();
        let at = |milliseconds| clock.advance(Duration::from_millis(milliseconds)).as_millis();
        assert_eq!(at(1_000_000), 0);
        assert_eq!(at(1_000_500), 500);
        assert_eq!(at(9_000_000), 1_500);
        assert_eq!(at(2_000_000), 1_500);
        assert_eq!(at(2_000_005), 1_505);
    }
}
