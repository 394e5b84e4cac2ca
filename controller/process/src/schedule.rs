//! When to compile: soon after a change, together with changes close to it, and whenever time alone
//! changes the result.

use crate::clock::until;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// A compilation waits for this much time without a change, because changes seldom come alone.
const QUIET: Duration = Duration::from_millis(25);
/// The longest such wait after the first change.
const LONGEST: Duration = Duration::from_millis(200);
/// Compilations take at most one part in this many of the time.
const SHARE: u32 = 4;
/// The longest that a change waits because of [`SHARE`].
const PATIENCE: Duration = Duration::from_secs(2);

/// When to compile next.
#[derive(Debug)]
pub struct CompileSchedule {
    due: Option<Instant>,
    /// When the first change came that is not compiled yet.
    first: Option<Instant>,
    began: Instant,
    /// No compilation before this time.
    rested: Instant,
}

impl Default for CompileSchedule {
    /// Due at once, because nothing is in force yet.
    fn default() -> Self {
        let now = Instant::now();
        Self { due: Some(now), first: None, began: now, rested: now }
    }
}

impl CompileSchedule {
    /// Records a change.
    pub fn changed(&mut self) {
        let now = Instant::now();
        let first = *self.first.get_or_insert(now);
        let then = (now + QUIET).min(first + LONGEST).max(self.rested);
        self.due = Some(
            self.due.map_or(then, |due| if self.first.is_some() { then } else { due.min(then) }),
        );
    }

    /// Postpones the next compilation, because nothing can be compiled yet.
    pub fn postpone(&mut self, pause: Duration) {
        self.due = Some(Instant::now() + pause);
    }

    /// Makes a compilation due within this time, or earlier if it already is.
    pub fn make_due_within(&mut self, time: Duration) {
        let then = Instant::now() + time;
        self.due = Some(self.due.map_or(then, |due| due.min(then)));
    }

    /// Returns true if a compilation is due.
    pub fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Records that a compilation begins.
    pub fn begin(&mut self) {
        (self.began, self.first, self.due) = (Instant::now(), None, None);
    }

    /// Records that it has ended. `next` is when its result will change without any event.
    pub fn end(&mut self, next: Option<Timestamp>) {
        let now = Instant::now();
        self.rested = now + ((now - self.began) * (SHARE - 1)).min(PATIENCE);
        self.due = next.map(|at| {
            now + Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
        });
    }

    /// Waits until a compilation is due.
    pub async fn wait(&self) {
        until(self.due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_due_time_wins() {
        let mut schedule = CompileSchedule::default();
        compiled(&mut schedule);
        assert!(!schedule.is_due());
        schedule.make_due_within(Duration::from_secs(60));
        schedule.make_due_within(Duration::from_secs(5));
        let began = Instant::now();
        schedule.wait().await;
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    fn compiled(schedule: &mut CompileSchedule) {
        schedule.begin();
        schedule.end(None);
    }

    #[tokio::test(start_paused = true)]
    async fn close_changes_are_compiled_together() {
        let mut schedule = CompileSchedule::default();
        assert!(schedule.is_due());
        compiled(&mut schedule);
        let began = Instant::now();
        schedule.changed();
        for _ in 0..20 {
            assert!(!schedule.is_due());
            advance(Duration::from_millis(9)).await;
            schedule.changed();
        }
        schedule.wait().await;
        assert_eq!(began.elapsed(), LONGEST, "however many come");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_compilation_is_followed_by_a_rest() {
        let mut schedule = CompileSchedule::default();
        schedule.begin();
        advance(Duration::from_millis(200)).await;
        schedule.end(None);
        let began = Instant::now();
        schedule.changed();
        schedule.wait().await;
        assert_eq!(began.elapsed(), Duration::from_millis(600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_precedes_a_later_due_time() {
        let mut schedule = CompileSchedule::default();
        schedule.begin();
        schedule.end(Some(Timestamp::now() + jiff::SignedDuration::from_secs(60)));
        let began = Instant::now();
        schedule.changed();
        schedule.wait().await;
        assert_eq!(began.elapsed(), QUIET);
    }
}
