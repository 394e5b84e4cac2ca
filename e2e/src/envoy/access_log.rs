//! The gateway's access log: one line of JSON for each closed connection.

use crate::wait::{self, SOON};
use anyhow::Result;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// One connection. Fields that Envoy does not know are `None`.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// The filter's decision: `allowed`, `refused` or `audited`.
    pub outcome: Option<String>,
    /// The decision's stable reason word.
    pub reason: Option<String>,
    /// The client's peer.
    pub peer: Option<String>,
    /// The requested service.
    pub service: Option<String>,
    /// The client's address.
    pub client: Option<String>,
    /// The address of the load balancer in front of the gateway, if it says who the client is.
    pub balancer: Option<String>,
    /// The SNI of the handshake.
    pub sni: Option<String>,
    /// The URI SANs of the client's certificate.
    pub client_uri_san: Option<String>,
    /// Why the handshake failed.
    pub tls_failure: Option<String>,
    /// The chosen cluster.
    pub cluster: Option<String>,
    /// The endpoint that was chosen.
    pub endpoint: Option<String>,
}

/// Reads a log from a starting position.
#[derive(Debug)]
pub struct AccessLog {
    file: PathBuf,
    start: usize,
}

impl AccessLog {
    /// The entries written to `file` from now on.
    pub fn from_now(file: &Path) -> Self {
        let mut log = Self { file: file.into(), start: 0 };
        log.start = log.all().len();
        log
    }

    /// The entries since then.
    pub fn entries(&self) -> Vec<Entry> {
        let mut all = self.all();
        all.split_off(self.start.min(all.len()))
    }

    /// Waits for an entry for which `matches` returns true.
    ///
    /// # Errors
    /// When there is none; the message has the entries that were written.
    pub async fn wait_for(&self, what: &str, matches: impl Fn(&Entry) -> bool) -> Result<Entry> {
        let found =
            wait::until(what, SOON, async || Ok(self.entries().into_iter().find(&matches))).await;
        found.map_err(|error| error.context(format!("in the access log: {:#?}", self.entries())))
    }

    /// Waits for a connection that the filter refused with `reason`.
    ///
    /// # Errors
    /// Same as [`AccessLog::wait_for`].
    pub async fn wait_for_reason(&self, reason: &str) -> Result<Entry> {
        let what = format!("a connection with the reason {reason}");
        self.wait_for(&what, |entry| entry.reason.as_deref() == Some(reason)).await
    }

    /// Calls until a connection has this reason. The first calls after a change may end for another
    /// one: not every program, or thread of one, has the change yet.
    ///
    /// # Errors
    /// When no connection has it; the message has the last error of `call`, and the entries that were
    /// written.
    pub async fn call_until(
        &self,
        reason: &str,
        mut call: impl AsyncFnMut() -> Result<()>,
    ) -> Result<Entry> {
        let what = format!("a call with the reason {reason}");
        let found = wait::until(&what, SOON, async || {
            call().await?;
            let mut entries = self.entries().into_iter();
            Ok(entries.find(|entry| entry.reason.as_deref() == Some(reason)))
        });
        found
            .await
            .map_err(|error| error.context(format!("in the access log: {:#?}", self.entries())))
    }

    fn all(&self) -> Vec<Entry> {
        let text = std::fs::read(&self.file).unwrap_or_default();
        let complete =
            |text: &str| text.rfind('\n').map_or(String::new(), |end| text[..end].to_owned());
        let text = complete(&String::from_utf8_lossy(&text));
        text.lines()
            .filter(|line| line.starts_with('{'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
