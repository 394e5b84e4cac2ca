//! Ctrl-Z, `fg` and `bg`, for a command that has changed the terminal.

use rustix::process::{Signal as Number, getpgrp, getpid, getsid, kill_process};
use rustix::termios::tcgetpgrp;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of job control, which are handled as long as this lives and after it.
pub(super) struct JobControl {
    stop: Signal,
    continued: Signal,
}

/// What a signal asks for, or reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Give the terminal back, and stop.
    Stop,
    /// The process was stopped, and goes on.
    Continued,
}

impl JobControl {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub(super) fn new() -> io::Result<Self> {
        let handler = |number: Number| signal(SignalKind::from_raw(number.as_raw()));
        Ok(Self { stop: handler(Number::TSTP)?, continued: handler(Number::CONT)? })
    }

    /// Waits for a signal.
    pub(super) async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            _ = self.stop.recv() => Request::Stop,
            _ = self.continued.recv() => Request::Continued,
        }
    }
}

/// Stops the process until its shell continues it. Without a shell that could, as in `ssh -t`, it
/// goes on: the process is then in the group of the session's leader.
pub(super) fn stop() {
    if getsid(None).is_ok_and(|leader| leader != getpgrp()) {
        // SIGSTOP, since SIGTSTP would be handled again.
        let _ = kill_process(getpid(), Number::STOP);
    }
}

/// Returns true if the process may write to its terminal. Without a terminal there is no other job
/// that could be disturbed.
pub(super) fn in_foreground() -> bool {
    tcgetpgrp(io::stdout()).map_or(true, |foreground| foreground == getpgrp())
}
