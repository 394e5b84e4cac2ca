//! The signals that a long-running command listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM (service managers), SIGINT (Ctrl-C) and SIGHUP, which would end the process otherwise.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To end.
    Stop,
    /// To read all files again. They are watched, so that this is needed only where a file system tells of no changes.
    Reload,
}

impl Signals {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until one comes.
    pub async fn any(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Until the process is asked to end. SIGHUP has nothing to do where nothing is read from files that are not watched.
    pub async fn next(&mut self) {
        while self.any().await == Asked::Reload {
            tracing::info!("SIGHUP is ignored: files and objects are watched");
        }
    }
}
