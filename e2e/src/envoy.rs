//! A running Envoy, its admin interface and its access log.

pub mod access_log;
pub mod connect_proxy;
pub mod ingress;
pub mod stock;
pub mod tcp_balancer;

use crate::process::Process;
use crate::programs;
use anyhow::Result;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an Envoy may take to start. It compiles the filter before it listens.
const START: Duration = Duration::from_secs(60);

/// A running Envoy. Killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    log: PathBuf,
    admin: SocketAddr,
    client: reqwest::Client,
}

impl Envoy {
    /// Starts an Envoy with a bootstrap file and waits until it serves.
    ///
    /// # Errors
    /// When it cannot be started or does not become ready; the message has the end of its log.
    pub async fn start(name: &str, bootstrap: &Path, log: &Path) -> Result<Self> {
        let (envoy, none) = (programs::envoy()?, BTreeMap::new());
        Self::start_program(envoy, name, bootstrap, None, &none, log).await
    }

    /// Like [`Envoy::start`], by a program that runs Envoy, with a limit on open files and with
    /// additional environment variables.
    ///
    /// # Errors
    /// Same as [`Envoy::start`].
    pub async fn start_program(
        envoy: &Path,
        name: &str,
        bootstrap: &Path,
        open_files: Option<u32>,
        variables: &BTreeMap<String, String>,
        log: &Path,
    ) -> Result<Self> {
        let admin_file = log.with_extension("admin");
        let _ = std::fs::remove_file(&admin_file);
        let arguments = arguments(bootstrap, &admin_file);
        let mut process =
            Process::start_limited(name, envoy, &arguments, open_files, variables, log)?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let admin = wait_ready(&mut process, &client, &admin_file).await?;
        Ok(Self { process, log: log.into(), admin, client })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The address of its admin interface.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The file with its output, including the access log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Requests a path of the admin interface.
    ///
    /// # Errors
    /// When it does not answer with status 200.
    pub async fn ask(&self, path: &str) -> Result<String> {
        let response = self.client.get(format!("http://{}{path}", self.admin)).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// The value of a counter or gauge, by its full name; 0 if it does not exist.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let text = self.ask(&format!("/stats?filter=^{}$", name.replace('.', r"\."))).await?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        Ok(value.unwrap_or(0))
    }

    /// The generation of the filter's current table; 0 if it has none.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn table_generation(&self) -> Result<u64> {
        self.stat("wasmcustom.fedgate.table.generation").await
    }

    /// The number of threads with that table, and the number of worker threads.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn table_threads(&self) -> Result<(u64, u64)> {
        let threads = self.stat("wasmcustom.fedgate.table.threads").await?;
        Ok((threads, self.stat("server.concurrency").await?))
    }

    /// The addresses on which it listens.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn listeners(&self) -> Result<Vec<SocketAddr>> {
        let text = self.ask("/listeners").await?;
        Ok(text.lines().filter_map(|line| line.rsplit_once("::")?.1.parse().ok()).collect())
    }
}

fn arguments<'a>(bootstrap: &'a Path, admin_file: &'a Path) -> [&'a OsStr; 13] {
    [
        "--config-path".as_ref(),
        bootstrap.as_ref(),
        "--admin-address-path".as_ref(),
        admin_file.as_ref(),
        "--concurrency".as_ref(),
        "2".as_ref(),
        "--disable-hot-restart".as_ref(),
        // Tests read the access log. By default Envoy flushes it every ten seconds.
        "--file-flush-interval-msec".as_ref(),
        "20".as_ref(),
        "--drain-time-s".as_ref(),
        "600".as_ref(),
        "--log-level".as_ref(),
        "info".as_ref(),
    ]
}

async fn wait_ready(
    process: &mut Process,
    client: &reqwest::Client,
    admin_file: &Path,
) -> Result<SocketAddr> {
    let what = format!("{} to be ready", process.name());
    process
        .wait_until(&what, START, async || {
            let Ok(text) = std::fs::read_to_string(admin_file) else { return Ok(None) };
            let admin: SocketAddr = text.trim().parse()?;
            let ready = client.get(format!("http://{admin}/ready")).send().await?;
            Ok(ready.status().is_success().then_some(admin))
        })
        .await
}
