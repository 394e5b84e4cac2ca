//! `fedgate dns`, with the permissions that it has in a cluster.

use crate::kubernetes::{KubernetesCluster, NAMESPACE};
use crate::process::Process;
use crate::programs;
use crate::run_folder::RunFolder;
use crate::wait::SOON;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use xtask::ports;

/// The account that `deploy/names/dns.yaml` creates for it.
pub const ACCOUNT: &str = "fedgate-dns";

/// A running `fedgate dns`. Stops when dropped.
pub struct NameServer {
    address: SocketAddr,
    probes: SocketAddr,
    http: reqwest::Client,
    process: Process,
}

impl NameServer {
    /// Creates its objects in a cluster. Returns a kubeconfig with its permissions.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn install(cluster: &KubernetesCluster) -> Result<PathBuf> {
        cluster.objects().apply_file(&xtask::root().join("deploy/names/dns.yaml")).await?;
        cluster.plane().service_account_kubeconfig(NAMESPACE, ACCOUNT).await
    }

    /// Starts one that answers at a free port of `ip`. It need not be ready yet.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(
        run: &RunFolder,
        name: &str,
        ip: IpAddr,
        kubeconfig: PathBuf,
    ) -> Result<Self> {
        let (address, probes) = (SocketAddr::new(ip, ports::free()?.port()), ports::free()?);
        let variables = [
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("FEDGATE_DNS_LISTEN", address.to_string()),
            ("FEDGATE_PROBES_LISTEN", probes.to_string()),
        ];
        let variables: BTreeMap<_, _> =
            variables.map(|(variable, value)| (variable.to_owned(), value)).into();
        let (fedgate, log) = (programs::fedgate()?, run.log(name));
        let process = Process::start_with(name, fedgate, &["dns".as_ref()], &variables, &log)?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Self { address, probes, http, process })
    }

    /// The address that answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The status and the text of its readiness probe.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn readiness(&self) -> Result<(u16, String)> {
        let url = format!("http://{}/readyz", self.probes);
        let answer = self.http.get(url).send().await.context("fedgate dns does not answer")?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until its readiness probe has this status. Returns the text.
    ///
    /// # Errors
    /// When it exits or takes too long.
    pub async fn wait_readiness(&mut self, status: u16) -> Result<String> {
        let url = format!("http://{}/readyz", self.probes);
        let http = self.http.clone();
        let answers = async || {
            let answer = http.get(&url).send().await?;
            let (found, text) = (answer.status(), answer.text().await?);
            ensure!(found == status, "{found}: {text}");
            Ok(Some(text))
        };
        self.process.wait_until("fedgate dns to report its readiness", SOON, answers).await
    }
}
