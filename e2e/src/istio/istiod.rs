//! A running istiod.

use crate::authority::Authority;
use crate::cluster::Filter;
use crate::kubernetes::{KubernetesCluster, MESH_NAMESPACE};
use crate::process::Process;
use crate::programs;
use crate::run_folder::RunFolder;
use crate::wait;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xtask::ports;

/// How long istiod may take to start on a fully loaded machine.
const START: Duration = Duration::from_secs(120);

/// How long it may take to push what was changed.
const IDLE: Duration = Duration::from_secs(300);

/// The port where istiod serves proxies, over TLS with tokens.
const SECURE_GRPC: u16 = 15012;

/// Settings of a mesh in addition to the common ones.
#[derive(Debug, Clone, Default)]
pub struct MeshOptions {
    /// Fields of the mesh configuration.
    pub mesh_config: BTreeMap<String, Value>,
    /// Environment variables of the controllers, which are their settings.
    pub controller: BTreeMap<String, String>,
    /// Environment variables of istiod.
    pub variables: BTreeMap<String, String>,
    /// Environment variables of the agents.
    pub agent_variables: BTreeMap<String, String>,
    /// Whether Envoys keep only the statistics that Istio keeps by default, instead of all.
    pub usual_stats: bool,
    /// How the gateway's Envoy runs the filter, if not as in the other tests of this run.
    pub filter: Option<Filter>,
    /// Whether the gateway's Pods have the native filter in any case.
    pub native_filter: bool,
}

/// A running istiod. Stops when dropped.
pub struct Istiod {
    address: Ipv4Addr,
    http: SocketAddr,
    plaintext: SocketAddr,
    monitoring: SocketAddr,
    folder: PathBuf,
    words: Vec<String>,
    variables: BTreeMap<String, String>,
    agent_variables: BTreeMap<String, String>,
    usual_stats: bool,
    log: PathBuf,
    process: Option<Process>,
}

impl Istiod {
    /// Starts a cluster's istiod, with the cluster's authority as the mesh's CA, and waits until it
    /// is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(
        run: &RunFolder,
        cluster: &KubernetesCluster,
        options: &MeshOptions,
    ) -> Result<Self> {
        let name = format!("{}-istiod", cluster.name());
        let folder = run.path().join(&name);
        write_ca(&folder, cluster.authority(), &cluster.authority().pem())?;
        let address = cluster.addresses().node;
        let config = folder.join("mesh.yaml");
        std::fs::write(&config, mesh_config(cluster, address, options).to_string())?;
        let (http, plaintext, monitoring) = (ports::free()?, ports::free()?, ports::free()?);
        let words = vec![
            programs::istiod()?.display().to_string(),
            "discovery".into(),
            format!("--kubeconfig={}", cluster.plane().admin_kubeconfig()?.display()),
            format!("--meshConfig={}", config.display()),
            format!("--domain={}", cluster.trust_domain()),
            format!("--httpAddr={http}"),
            format!("--grpcAddr={plaintext}"),
            format!("--httpsAddr={}", ports::free()?),
            format!("--secureGRPCAddr={address}:{SECURE_GRPC}"),
            format!("--monitoringAddr={monitoring}"),
            "--ctrlz_port=0".into(),
        ];
        let mut variables: BTreeMap<String, String> = [
            ("POD_NAME", "istiod-1"),
            ("POD_NAMESPACE", MESH_NAMESPACE),
            ("CLUSTER_ID", "Kubernetes"),
            // The plain Envoy does not have these filters.
            ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
            ("PILOT_ENABLE_ALPN_FILTER", "false"),
            ("PILOT_DISABLE_MX_ALPN", "true"),
        ]
        .map(|(variable, value)| (variable.to_owned(), value.to_owned()))
        .into();
        variables.extend(options.variables.clone());
        let log = run.log(&name);
        let mut istiod = Self {
            address,
            http,
            plaintext,
            monitoring,
            folder,
            words,
            variables,
            agent_variables: options.agent_variables.clone(),
            usual_stats: options.usual_stats,
            log,
            process: None,
        };
        istiod.restart().await?;
        Ok(istiod)
    }

    /// Starts it again with the same settings. Kills the running one first.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut words = vec!["-C".to_owned(), self.folder.display().to_string()];
        words.extend(self.words.iter().cloned());
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        let mut process =
            Process::start_with("istiod", Path::new("env"), &words, &self.variables, &self.log)?;
        let url = format!("http://{}/ready", self.http);
        let client = http()?;
        let ready = async || Ok(client.get(&url).send().await?.status().is_success().then_some(()));
        process.wait_until("istiod to be ready", START, ready).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("istiod does not run")?.kill()
    }

    /// The resources that it has used so far.
    ///
    /// # Errors
    /// When it is not running.
    pub fn usage(&self) -> Result<crate::usage::Usage> {
        self.process.as_ref().context("istiod does not run")?.usage()
    }

    /// The environment variables of its agents.
    pub(super) fn agent_variables(&self) -> &BTreeMap<String, String> {
        &self.agent_variables
    }

    /// Waits until it does nothing any more: until it has pushed what was changed.
    ///
    /// # Errors
    /// When it is not running, or does not come to rest.
    pub async fn wait_idle(&self) -> Result<()> {
        const PAUSE: Duration = Duration::from_secs(1);
        wait::until_true("istiod to be idle", IDLE, async || {
            let before = self.usage()?.cpu;
            tokio::time::sleep(PAUSE).await;
            Ok(self.usage()?.cpu.saturating_sub(before) < PAUSE / 20)
        })
        .await
    }

    /// Whether its Envoys keep only the statistics that Istio keeps by default.
    pub(super) fn usual_stats(&self) -> bool {
        self.usual_stats
    }

    /// The address where agents find it.
    pub fn discovery(&self) -> String {
        format!("{}:{SECURE_GRPC}", self.address)
    }

    /// The address where it serves xDS without TLS or authentication.
    pub fn plaintext(&self) -> SocketAddr {
        self.plaintext
    }

    /// Its metrics in Prometheus format.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let response = http()?.get(format!("http://{}/metrics", self.monitoring)).send().await?;
        ensure!(response.status().is_success(), "istiod answered {}", response.status());
        Ok(response.text().await?)
    }

    /// Replaces its CA, with these roots. istiod notices by itself.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn replace_ca(&self, signer: &Authority, roots: &str) -> Result<()> {
        write_ca(&self.folder, signer, roots)
    }
}

/// A client with a timeout.
fn http() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?)
}

/// Writes the mesh's CA as the Secret `cacerts` is mounted.
fn write_ca(folder: &Path, signer: &Authority, roots: &str) -> Result<()> {
    let cacerts = folder.join("etc/cacerts");
    std::fs::create_dir_all(&cacerts)?;
    let files = signer.write(&cacerts, "ca")?;
    std::fs::write(cacerts.join("root-cert.pem"), roots)?;
    std::fs::write(cacerts.join("cert-chain.pem"), signer.pem())?;
    std::fs::rename(files.key, cacerts.join("ca-key.pem"))?;
    std::fs::rename(files.certificate, cacerts.join("ca-cert.pem"))?;
    Ok(())
}

fn mesh_config(cluster: &KubernetesCluster, address: Ipv4Addr, options: &MeshOptions) -> Value {
    let mut config = json!({
        "trustDomain": cluster.trust_domain(),
        "rootNamespace": MESH_NAMESPACE,
        "defaultConfig": { "discoveryAddress": format!("{address}:{SECURE_GRPC}") },
        // The plain Envoy lacks the filter that a metrics provider needs.
        "defaultProviders": { "metrics": [] },
    });
    for (field, value) in &options.mesh_config {
        config[field] = value.clone();
    }
    config
}
