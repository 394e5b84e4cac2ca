//! One line about a long step, on standard error. It goes when the step ends, and a pipe never gets
//! it.

use crate::command::out;
use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A step that is shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);
/// The least time between two changes of the line.
const PAUSE: Duration = Duration::from_millis(100);

/// The line.
pub(crate) struct Progress {
    is_terminal: bool,
    began: Instant,
    drawn: Option<Instant>,
    /// How many parts of the step are done, and how many there are, once that is known.
    parts: Option<(usize, usize)>,
}

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn start() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_terminal, began: Instant::now(), drawn: None, parts: None }
    }

    /// A step has come so far. `all` is how much it is, if that is known; zero for a step without
    /// parts.
    pub(crate) fn at(&mut self, doing: &str, done: usize, all: Option<usize>) {
        let is_due = match self.drawn {
            None => self.began.elapsed() >= PATIENCE,
            Some(drawn) => drawn.elapsed() >= PAUSE,
        };
        if self.is_terminal && is_due {
            self.drawn = Some(Instant::now());
            out::print_error(format_args!("\r{}\x1b[K", line(doing, done, all)));
        }
    }

    /// Waits for a step, and says for how long. Other output of the step clears the line first.
    pub(crate) async fn during<T>(
        progress: &RefCell<Self>,
        doing: &str,
        step: impl Future<Output = T>,
    ) -> T {
        let mut step = std::pin::pin!(step);
        loop {
            tokio::select! {
                biased;
                done = &mut step => {
                    progress.borrow_mut().clear();
                    return done;
                }
                () = sleep(PAUSE) => progress.borrow_mut().waits(doing),
            }
        }
    }

    /// So many parts of a step are done. [`Self::during`] shows it.
    pub(crate) fn count(&mut self, done: usize, all: usize) {
        self.parts = Some((done, all));
    }

    fn waits(&mut self, doing: &str) {
        if let Some((done, all)) = self.parts {
            return self.at(doing, done, Some(all));
        }
        let seconds = self.began.elapsed().as_secs();
        match seconds {
            0 => self.at(&format!("{doing} …"), 0, Some(0)),
            _ => self.at(&format!("{doing}: {seconds} s"), 0, Some(0)),
        }
    }

    /// Removes the line, for other output.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            out::print_error(format_args!("\r\x1b[K"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(doing: &str, done: usize, all: Option<usize>) -> String {
    match all {
        Some(all) if all > 0 => {
            format!("{doing}: {done} of {all} ({} %)", done.min(all) * 100 / all)
        }
        Some(_) => doing.to_owned(),
        None if done > 0 => format!("{doing}: {done}"),
        None => format!("{doing} …"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_a_step_is() {
        assert_eq!(line("reading files", 1, Some(3)), "reading files: 1 of 3 (33 %)");
        assert_eq!(line("deleting", 7, None), "deleting: 7");
        assert_eq!(line("asking the API server", 0, None), "asking the API server …");
    }

    #[test]
    fn a_short_step_shows_nothing() {
        let mut progress =
            Progress { is_terminal: true, began: Instant::now(), drawn: None, parts: None };
        progress.at("reading", 1, None);
        assert!(progress.drawn.is_none());
        progress.began -= PATIENCE;
        progress.at("reading", 2, None);
        assert!(progress.drawn.is_some());
    }
}
