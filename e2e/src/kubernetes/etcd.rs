//! An API server's store.

use super::control_plane::replace;
use crate::process::Process;
use crate::programs;
use crate::run_folder::RunFolder;
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xtask::ports;

const START: Duration = Duration::from_secs(60);

/// A running etcd with one member. Stops when dropped; its data is deleted with the run's folder.
pub(crate) struct Etcd {
    name: String,
    url: String,
    peer_url: String,
    data: PathBuf,
    log: PathBuf,
    http: reqwest::Client,
    process: Process,
}

impl Etcd {
    /// Starts it, with a copy of `from` if there is one.
    pub(crate) async fn start(run: &RunFolder, name: &str, from: Option<&Path>) -> Result<Self> {
        let name = format!("{name}-etcd");
        let (data, log) = (run.path().join(&name), run.log(&name));
        if let Some(from) = from {
            replace(&data, from)?;
        }
        let (url, peer_url) =
            (format!("http://{}", ports::free()?), format!("http://{}", ports::free()?));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let process = process(&name, &url, &peer_url, &data, &log)?;
        let mut etcd = Self { name, url, peer_url, data, log, http, process };
        etcd.wait_ready().await?;
        Ok(etcd)
    }

    /// Stops etcd, lets `change` modify its data, and starts it again.
    pub(crate) async fn stopped(&mut self, change: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.process.terminate(START).await?;
        change(&self.data)?;
        self.process = process(&self.name, &self.url, &self.peer_url, &self.data, &self.log)?;
        self.wait_ready().await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Compacts everything before the newest revision. Returns that revision.
    pub(crate) async fn compact(&self) -> Result<u64> {
        let status = self.call("maintenance/status", &json!({})).await?;
        let revision =
            status["header"]["revision"].as_str().and_then(|revision| revision.parse().ok());
        let revision: u64 =
            revision.with_context(|| format!("etcd reported no revision: {status}"))?;
        self.call("kv/compaction", &json!({ "revision": revision, "physical": true })).await?;
        Ok(revision)
    }

    /// Deletes all keys that begin with `prefix`.
    pub(crate) async fn delete(&self, prefix: &str) -> Result<()> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let [key, range_end] =
            [prefix.as_bytes(), end.as_slice()].map(|key| BASE64_STANDARD.encode(key));
        let range = json!({ "key": key, "range_end": range_end });
        self.call("kv/deleterange", &range).await.map(drop)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let (http, url) = (self.http.clone(), format!("{}/readyz", self.url));
        let ready = async || Ok(http.get(&url).send().await?.status().is_success().then_some(()));
        self.process.wait_until("etcd to be ready", START, ready).await
    }

    /// Calls etcd's gRPC API in its JSON form.
    async fn call(&self, method: &str, body: &Value) -> Result<Value> {
        let response =
            self.http.post(format!("{}/v3/{method}", self.url)).json(body).send().await?;
        let status = response.status();
        let answer = response.text().await?;
        anyhow::ensure!(status.is_success(), "etcd answered {status} to {method}: {answer}");
        Ok(serde_json::from_str(&answer)?)
    }
}

fn process(name: &str, url: &str, peer_url: &str, data: &Path, log: &Path) -> Result<Process> {
    let arguments = [
        "--name=member".into(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster=member={peer_url}"),
        "--log-level=error".into(),
        // The tests do not have to survive a crash of the machine.
        "--unsafe-no-fsync".into(),
    ];
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    Process::start(name, programs::etcd()?, &arguments, log)
}
