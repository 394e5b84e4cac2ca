//! The gateway's access log: one line of JSON for each connection that has ended.

use crate::wait;
use anyhow::Result;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a line may take after its connection has ended.
const DELAY: Duration = Duration::from_secs(5);

/// One connection. What Envoy does not know is absent.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// What the filter decided: `allowed`, `refused` or `audited`.
    pub outcome: Option<String>,
    /// Why, in the stable word of the decision.
    pub reason: Option<String>,
    /// The peer that the client belongs to.
    pub peer: Option<String>,
    /// The service that it asked for.
    pub service: Option<String>,
    /// The server name of its handshake.
    pub sni: Option<String>,
    /// The URI SANs of its certificate.
    pub client_uri_san: Option<String>,
    /// Why the handshake failed.
    pub tls_failure: Option<String>,
    /// Why the gateway closed.
    pub close_reason: Option<String>,
    /// The cluster that was chosen.
    pub cluster: Option<String>,
    /// The end point that it was sent to.
    pub endpoint: Option<String>,
}

/// Reads a log from where it stands.
#[derive(Debug)]
pub struct AccessLog {
    file: PathBuf,
    start: usize,
}

impl AccessLog {
    /// What is written to `file` from now on.
    pub fn from_now(file: &Path) -> Self {
        let mut log = Self { file: file.into(), start: 0 };
        log.start = log.all().len();
        log
    }

    /// The connections since then.
    pub fn entries(&self) -> Vec<Entry> {
        let mut all = self.all();
        all.split_off(self.start.min(all.len()))
    }

    /// Waits for a connection for which `matches` says yes.
    ///
    /// # Errors
    /// When none came; the message has those that did.
    pub async fn wait_for(&self, what: &str, matches: impl Fn(&Entry) -> bool) -> Result<Entry> {
        let found = wait::until(what, DELAY, async || Ok(self.entries().into_iter().find(&matches))).await;
        found.map_err(|error| error.context(format!("in the access log: {:#?}", self.entries())))
    }

    /// Waits for a connection that the filter refused for `reason`.
    ///
    /// # Errors
    /// As [`AccessLog::wait_for`].
    pub async fn wait_for_reason(&self, reason: &str) -> Result<Entry> {
        let what = format!("a connection with the reason {reason}");
        self.wait_for(&what, |entry| entry.reason.as_deref() == Some(reason)).await
    }

    fn all(&self) -> Vec<Entry> {
        let text = std::fs::read(&self.file).unwrap_or_default();
        let complete = |text: &str| text.rfind('\n').map_or(String::new(), |end| text[..end].to_owned());
        let text = complete(&String::from_utf8_lossy(&text));
        text.lines().filter(|line| line.starts_with('{')).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
