//! One cluster: its authorities, its folder and its three processes (controller, gateway, egress).

mod folder;
mod status;

pub use folder::{Filter, Settings, metadata_leaf};
pub use status::{Finding, Status};

use crate::authority::{Authority, Identity};
use crate::envoy::Envoy;
use crate::envoy::access_log::AccessLog;
use crate::process::Process;
use crate::programs;
use crate::run_folder::RunFolder;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the controller may take to write its first files.
const START: Duration = Duration::from_secs(60);

/// A cluster of a federation.
pub struct Cluster {
    name: String,
    folder: PathBuf,
    logs: PathBuf,
    settings: Settings,
    authority: Authority,
    metadata_authority: Authority,
    controller: Option<Process>,
    gateway: Option<Envoy>,
    egress: Option<Envoy>,
    /// The limit on open files for processes started from now on.
    open_files: Option<u32>,
    /// The controller's program, if it is not this checkout's.
    program: Option<PathBuf>,
    /// The Envoys' program, if it is not the usual one.
    envoy_program: Option<PathBuf>,
    /// Additional environment variables of Envoys started from now on.
    variables: BTreeMap<String, String>,
}

impl Cluster {
    /// Creates the folder of a cluster `name` with the trust domain `NAME.example`: settings, root,
    /// certificates. Starts nothing.
    ///
    /// # Errors
    /// When there is no free port, or a file cannot be written.
    pub fn new(run: &RunFolder, name: &str) -> Result<Self> {
        let folder = run.path().join(name);
        std::fs::create_dir_all(folder.join("manifests"))?;
        let cluster = Self {
            name: name.into(),
            settings: Settings::new(name)?,
            authority: Authority::root(&format!("root of {name}"))?,
            metadata_authority: Authority::root(&format!("metadata root of {name}"))?,
            folder,
            logs: run.path().into(),
            controller: None,
            gateway: None,
            egress: None,
            open_files: None,
            program: None,
            envoy_program: None,
            variables: BTreeMap::new(),
        };
        cluster.write_identities()?;
        cluster.write_settings()?;
        Ok(cluster)
    }

    /// Its name, which its `IstioFederation` has in the other clusters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.settings.trust_domain
    }

    /// Its folder, which is passed to `fedgate run`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The root of its workloads and gateways.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The root that signs, to be replaced. Files already written stay as they are.
    pub fn authority_mut(&mut self) -> &mut Authority {
        &mut self.authority
    }

    /// The root of its metadata endpoint.
    pub fn metadata_authority(&self) -> &Authority {
        &self.metadata_authority
    }

    /// Its UUID.
    pub fn uuid(&self) -> &str {
        &self.settings.uuid
    }

    /// The content of `fedgate.yaml`. Change it before calling [`Cluster::write_settings`].
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Limits the open files of each process started from now on.
    pub fn limit_open_files(&mut self, open_files: Option<u32>) {
        self.open_files = open_files;
    }

    /// Sets the program of controllers started from now on.
    pub fn set_program(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    /// Sets the program of Envoys started from now on; `None`: the usual one.
    pub fn set_envoy_program(&mut self, program: Option<&Path>) {
        self.envoy_program = program.map(Path::to_owned);
    }

    /// Adds an environment variable to each Envoy started from now on.
    pub fn set_variable(&mut self, variable: &str, value: String) {
        self.variables.insert(variable.to_owned(), value);
    }

    /// The address where its gateway accepts peers' connections.
    pub fn gateway_address(&self) -> SocketAddr {
        self.settings.gateway
    }

    /// The address of its metadata endpoint.
    pub fn metadata_address(&self) -> SocketAddr {
        self.settings.metadata
    }

    /// The URL of its metadata endpoint.
    pub fn metadata_url(&self) -> String {
        format!("https://{}/metadata", self.settings.metadata)
    }

    /// A SPIFFE ID in its trust domain, namespace `shop`.
    pub fn spiffe_id(&self, service_account: &str) -> String {
        format!("spiffe://{}/ns/shop/sa/{service_account}", self.trust_domain())
    }

    /// Creates a certificate of its workload `shop/cart`.
    ///
    /// # Errors
    /// When the key cannot be generated.
    pub fn workload(&self) -> Result<Identity> {
        self.authority.workload(&self.spiffe_id("cart"))
    }

    /// Starts the controller and waits until it has written the files of both Envoys.
    ///
    /// # Errors
    /// When it exits or takes too long.
    pub async fn start_controller(&mut self) -> Result<()> {
        let arguments = ["run".as_ref(), "--dir".as_ref(), self.folder.as_os_str()];
        let name = format!("{}'s controller", self.name);
        let log = self.logs.join(format!("{}-controller.log", self.name));
        let program = match &self.program {
            Some(program) => program,
            None => programs::fedgate()?,
        };
        let none = BTreeMap::new();
        let mut process =
            Process::start_limited(&name, program, &arguments, self.open_files, &none, &log)?;
        let files = ["gateway", "egress"].map(|role| self.bootstrap(role));
        let written = async || Ok(files.iter().all(|file| file.is_file()).then_some(()));
        process.wait_until(&format!("{name} to write Envoy's files"), START, written).await?;
        self.controller = Some(process);
        Ok(())
    }

    /// Kills the controller, as a crash would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_controller(&mut self) -> Result<()> {
        self.controller.take().context("the controller does not run")?.kill()
    }

    /// The controller's process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn controller(&mut self) -> Result<&mut Process> {
        self.controller.as_mut().context("the controller does not run")
    }

    /// Starts the gateway. Kills the running one first.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_gateway(&mut self) -> Result<()> {
        self.gateway = None;
        self.gateway = Some(self.envoy("gateway").await?);
        Ok(())
    }

    /// Kills the gateway.
    pub fn stop_gateway(&mut self) {
        self.gateway = None;
    }

    /// Kills the egress.
    pub fn stop_egress(&mut self) {
        self.egress = None;
    }

    /// Starts the egress. Kills the running one first.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_egress(&mut self) -> Result<()> {
        self.egress = None;
        self.egress = Some(self.envoy("egress").await?);
        Ok(())
    }

    /// Starts all three processes.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn start(&mut self) -> Result<()> {
        self.start_controller().await?;
        self.start_envoys().await
    }

    /// Starts the gateway and the egress.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn start_envoys(&mut self) -> Result<()> {
        let (gateway, egress) = tokio::try_join!(self.envoy("gateway"), self.envoy("egress"))?;
        (self.gateway, self.egress) = (Some(gateway), Some(egress));
        Ok(())
    }

    /// The gateway.
    ///
    /// # Errors
    /// When it is not running.
    pub fn gateway(&self) -> Result<&Envoy> {
        self.gateway.as_ref().context("the gateway does not run")
    }

    /// The gateway's process.
    ///
    /// # Errors
    /// When the gateway is not running.
    pub fn gateway_process(&mut self) -> Result<&mut Process> {
        Ok(self.gateway.as_mut().context("the gateway does not run")?.process())
    }

    /// The egress.
    ///
    /// # Errors
    /// When it is not running.
    pub fn egress(&self) -> Result<&Envoy> {
        self.egress.as_ref().context("the egress does not run")
    }

    /// The egress's process.
    ///
    /// # Errors
    /// When the egress is not running.
    pub fn egress_process(&mut self) -> Result<&mut Process> {
        Ok(self.egress.as_mut().context("the egress does not run")?.process())
    }

    /// The gateway's access log, starting now.
    ///
    /// # Errors
    /// When the gateway is not running.
    pub fn access_log(&self) -> Result<AccessLog> {
        Ok(AccessLog::from_now(self.gateway()?.log()))
    }

    async fn envoy(&self, role: &str) -> Result<Envoy> {
        let log = self.logs.join(format!("{}-{role}.log", self.name));
        let name = format!("{}'s {role}", self.name);
        let bootstrap = self.bootstrap(role);
        let envoy = match &self.envoy_program {
            Some(program) => program,
            None => programs::envoy()?,
        };
        let (open_files, variables) = (self.open_files, &self.variables);
        Envoy::start_program(envoy, &name, &bootstrap, open_files, variables, &log).await
    }

    fn bootstrap(&self, role: &str) -> PathBuf {
        self.folder.join("envoy").join(role).join("bootstrap.json")
    }
}
