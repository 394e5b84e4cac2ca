//! One `fedgate controller` process.

use crate::measure;
use crate::process::Process;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use xtask::ports;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A running controller. Stops when dropped.
pub struct Replica {
    name: String,
    metadata: SocketAddr,
    probes: SocketAddr,
    http: reqwest::Client,
    /// The process.
    pub process: Process,
}

impl Replica {
    /// Starts a controller by this program, with these environment variables, and adds those specific to a replica.
    /// When this returns, it is alive but not ready yet.
    pub(crate) async fn start(
        program: &Path,
        name: &str,
        settings: &BTreeMap<String, String>,
        log: &Path,
    ) -> Result<Self> {
        let (metadata, probes) = (ports::free()?, ports::free()?);
        let mut settings = settings.clone();
        settings.insert("POD_NAME".into(), name.into());
        settings.insert("FEDGATE_METADATA_LISTEN".into(), metadata.to_string());
        settings.insert("FEDGATE_PROBES_LISTEN".into(), probes.to_string());
        let process = Process::start_with(name, program, &["controller".as_ref()], &settings, log)?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let mut replica = Self { name: name.into(), metadata, probes, http, process };
        replica.wait_status("/healthz").await?;
        Ok(replica)
    }

    /// The name of its Pod, which is also its name in the Lease.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address where it serves metadata.
    pub fn metadata(&self) -> SocketAddr {
        self.metadata
    }

    /// The address of `/metrics` and the probes.
    pub fn probes(&self) -> SocketAddr {
        self.probes
    }

    /// Waits until it reports that it is ready.
    ///
    /// # Errors
    /// When it exits or takes too long.
    pub async fn wait_ready(&mut self) -> Result<()> {
        self.wait_status("/readyz").await
    }

    /// Returns true if it reports that it is ready.
    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_ok()
    }

    /// The response at `/healthz`, `/readyz` or `/metrics`.
    ///
    /// # Errors
    /// When the status is not 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        let response = self.http.get(format!("http://{}{path}", self.probes)).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status == 200, "{} answered {status} to {path}: {text}", self.name);
        Ok(text)
    }

    /// The value of a metric; `series` is its name with labels, as `/metrics` writes them.
    ///
    /// # Errors
    /// When there is no such metric.
    pub async fn metric(&self, series: &str) -> Result<f64> {
        let value = measure::metric(&self.get("/metrics").await?, series);
        value.with_context(|| format!("{} has no metric {series}", self.name))
    }

    async fn wait_status(&mut self, path: &str) -> Result<()> {
        let url = format!("http://{}{path}", self.probes);
        let http = self.http.clone();
        let answers = async || {
            let response = http.get(&url).send().await?;
            let status = response.status();
            ensure!(status == 200, "{status}: {}", response.text().await?);
            Ok(Some(()))
        };
        self.process
            .wait_until(&format!("{} to answer 200 to {path}", self.name), START, answers)
            .await
    }
}
