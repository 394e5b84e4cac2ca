//! istiod.

use crate::authority::Authority;
use crate::kubernetes::{KubernetesCluster, MESH_NAMESPACE};
use crate::process::Process;
use crate::run_folder::RunFolder;
use crate::{ports, programs};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long istiod may take to start on a machine with as many tests as it can bear.
const START: Duration = Duration::from_secs(120);

/// Where istiod serves Envoys: over TLS, with tokens.
const SECURE_GRPC: u16 = 15012;

/// What is told to a mesh beyond what every one here is told.
#[derive(Debug, Clone, Default)]
pub struct MeshOptions {
    /// Fields of the mesh configuration.
    pub mesh_config: BTreeMap<String, Value>,
    /// Environment variables of istiod.
    pub variables: BTreeMap<String, String>,
    /// Environment variables of the agents.
    pub agent_variables: BTreeMap<String, String>,
}

/// A running istiod. It ends when dropped.
pub struct Istiod {
    address: Ipv4Addr,
    http: SocketAddr,
    plaintext: SocketAddr,
    monitoring: SocketAddr,
    folder: PathBuf,
    words: Vec<String>,
    variables: BTreeMap<String, String>,
    agent_variables: BTreeMap<String, String>,
    log: PathBuf,
    process: Option<Process>,
}

impl Istiod {
    /// Starts the istiod of a cluster, with the cluster's authority as the mesh's CA, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(run: &RunFolder, cluster: &KubernetesCluster, options: &MeshOptions) -> Result<Self> {
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
            // Filters that the plain Envoy does not have.
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
            log,
            process: None,
        };
        istiod.restart().await?;
        Ok(istiod)
    }

    /// Starts it again with the same settings; one that runs is killed first.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut words = vec!["-C".to_owned(), self.folder.display().to_string()];
        words.extend(self.words.iter().cloned());
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        let mut process = Process::start_with("istiod", Path::new("env"), &words, &self.variables, &self.log)?;
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
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("istiod does not run")?.kill()
    }

    /// What it has taken of the machine so far.
    ///
    /// # Errors
    /// When it does not run.
    pub fn usage(&self) -> Result<crate::usage::Usage> {
        self.process.as_ref().context("istiod does not run")?.usage()
    }

    /// What its agents are told by environment variables.
    pub(super) fn agent_variables(&self) -> &BTreeMap<String, String> {
        &self.agent_variables
    }

    /// Where agents find it.
    pub fn discovery(&self) -> String {
        format!("{}:{SECURE_GRPC}", self.address)
    }

    /// Where it serves xDS without TLS and to everybody.
    pub fn plaintext(&self) -> SocketAddr {
        self.plaintext
    }

    /// What it counts, as Prometheus reads it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let response = http()?.get(format!("http://{}/metrics", self.monitoring)).send().await?;
        ensure!(response.status().is_success(), "istiod answered {}", response.status());
        Ok(response.text().await?)
    }

    /// Gives it another CA, with these roots; it takes it up by itself.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn replace_ca(&self, signer: &Authority, roots: &str) -> Result<()> {
        write_ca(&self.folder, signer, roots)
    }
}

/// A client that does not wait for ever.
fn http() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?)
}

/// The mesh's CA, as the Secret `cacerts` is mounted.
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
        // The filter that would count for one is not in the plain Envoy.
        "defaultProviders": { "metrics": [] },
    });
    for (field, value) in &options.mesh_config {
        config[field] = value.clone();
    }
    config
}
