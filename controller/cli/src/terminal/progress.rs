//! One line about a long step, on standard error. It goes when the step ends, and a pipe never gets
//! it.

use crate::command::out;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// A step that is shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);
/// The least time between two changes of the line.
const PAUSE: Duration = Duration::from_millis(100);

/// The line.
pub(crate) struct Progress {
    is_terminal: bool,
    began: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn start() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_terminal, began: Instant::now(), drawn: None }
    }

    /// A step has come so far. `all` is how much it is, if that is known.
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
        _ if done > 0 => format!("{doing}: {done}"),
        _ => format!("{doing} …"),
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
        let mut progress = Progress { is_terminal: true, began: Instant::now(), drawn: None };
        progress.at("reading", 1, None);
        assert!(progress.drawn.is_none());
        progress.began -= PATIENCE;
        progress.at("reading", 2, None);
        assert!(progress.drawn.is_some());
    }
}
