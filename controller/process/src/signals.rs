//! The signals that a long-running command handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM (service managers), SIGINT (Ctrl-C) and SIGHUP. Each would otherwise end the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Stop the process.
    Stop,
    /// Read all files again. They are watched, so this is needed only where a file system does not
    /// report changes.
    Reload,
}

impl Signals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Waits until a command on a terminal is asked to end; a terminal that is closed sends SIGHUP.
    pub async fn stop_asked(&mut self) {
        self.next().await;
    }

    /// Waits until the process is asked to stop, for commands that have nothing to reload on
    /// SIGHUP.
    pub async fn stop_requested(&mut self) {
        while self.next().await == Request::Reload {
            tracing::info!("SIGHUP is ignored: files and objects are watched");
        }
    }
}
