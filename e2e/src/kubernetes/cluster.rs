//! A cluster with everything that an installation of fedgate has, and its controllers.

use super::addresses::Addresses;
use super::balancer::Balancer;
use super::control_plane::{ControlPlane, Options};
use super::install::{GATEWAY, GATEWAY_PORT, install, install_mesh};
use super::names::{NAMESPACE, SERVICE_ACCOUNT};
use super::objects::{Key, Objects};
use super::replica::Replica;
use super::seed::Seed;
use crate::authority::Authority;
use crate::cluster::metadata_leaf;
use crate::manifest::{self, Service};
use crate::programs;
use crate::run_folder::RunFolder;
use crate::tls_listener::TlsListener;
use crate::wait::{self, SOON};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use tokio::io::{AsyncBufReadExt, BufReader};
use xtask::pty::Pty;

/// A server with the certificate of a gateway, and nothing else. Stops when dropped.
#[allow(dead_code, reason = "it lives as long as it is held")]
pub struct CertificateServer(TlsListener);

/// A cluster with its own API server. Everything in it stops when dropped.
pub struct KubernetesCluster {
    name: String,
    addresses: Addresses,
    authority: Authority,
    metadata_authority: Authority,
    settings: BTreeMap<String, String>,
    balancer: Balancer,
    logs: PathBuf,
    started: usize,
    /// The controllers' program, if it is not this checkout's.
    program: Option<PathBuf>,
    objects: Objects,
    // Declared before the API server: fields are dropped in order.
    replicas: Vec<Replica>,
    plane: ControlPlane,
}

impl KubernetesCluster {
    /// Starts an API server for the cluster `name` with the trust domain `NAME.example`. Installs
    /// everything but the controller: definitions, RBAC, admission policies, namespaces, the mesh's
    /// root, and the gateway's Service, Pod and node.
    ///
    /// # Errors
    /// When a program does not become ready, or an object is refused.
    pub async fn start(run: &RunFolder, name: &str) -> Result<Self> {
        let mut cluster = Self::start_api_server(run, name, Seed::Fedgate).await?;
        let installed =
            install(&cluster.objects, &cluster.addresses, &cluster.authority.pem()).await;
        installed.with_context(|| format!("installing into {name}"))?;
        cluster.settings = cluster.first_settings().await?;
        Ok(cluster)
    }

    /// Like [`Self::start`], but installs only what a mesh needs and nothing of fedgate, which an
    /// operator is to install.
    ///
    /// # Errors
    /// When a program does not become ready, or an object is refused.
    pub async fn start_empty(run: &RunFolder, name: &str) -> Result<Self> {
        let cluster = Self::start_api_server(run, name, Seed::Mesh).await?;
        install_mesh(&cluster.objects, &cluster.addresses)
            .await
            .with_context(|| format!("installing into {name}"))?;
        Ok(cluster)
    }

    async fn start_api_server(run: &RunFolder, name: &str, seed: Seed) -> Result<Self> {
        let addresses = Addresses::next()?;
        let data = Some(seed.data().await?.to_owned());
        let options = Options { service_cidr: addresses.services.clone(), data };
        let plane = ControlPlane::start(run, name, options).await?;
        let objects = Objects::new(plane.client());
        Ok(Self {
            name: name.into(),
            addresses,
            authority: Authority::root(&format!("root of {name}"))?,
            metadata_authority: Authority::root(&format!("metadata root of {name}"))?,
            settings: BTreeMap::new(),
            balancer: Balancer::start().await?,
            logs: run.path().into(),
            started: 0,
            program: None,
            objects,
            replicas: Vec::new(),
            plane,
        })
    }

    /// The controllers' environment variables, except those specific to a replica.
    async fn first_settings(&self) -> Result<BTreeMap<String, String>> {
        let kubeconfig = self.plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
        let shown = |path: &Path| path.display().to_string();
        let settings = [
            ("KUBECONFIG", shown(&kubeconfig)),
            ("FEDGATE_TRUST_DOMAIN", self.trust_domain()),
            ("FEDGATE_METADATA_TLS", shown(&self.write_metadata_certificate()?)),
            ("FEDGATE_FILTER_FILE", shown(&self.write_filter("filter", b"\0asm\x01\0\0\0")?)),
            ("FEDGATE_POLL", "1s".into()),
            ("RUST_LOG", "info".into()),
        ];
        Ok(settings.map(|(variable, value)| (variable.to_owned(), value)).into())
    }

    /// Writes a file in place of the filter's module, where no Envoy loads it. Returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_filter(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let file = self.logs.join(format!("{}-{name}.wasm", self.name));
        std::fs::write(&file, bytes)?;
        Ok(file)
    }

    /// Writes the folder that a mounted Secret of type `kubernetes.io/tls` would be.
    fn write_metadata_certificate(&self) -> Result<PathBuf> {
        let folder = self.logs.join(format!("{}-metadata-tls", self.name));
        std::fs::create_dir_all(&folder)?;
        let files = self.metadata_authority.sign(&metadata_leaf()?)?.write(&folder, "tls")?;
        std::fs::rename(files.certificate, folder.join("tls.crt"))?;
        Ok(folder)
    }

    /// Its name, which its `IstioFederation` has in the other clusters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> String {
        format!("{}.example", self.name)
    }

    /// Its addresses.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Starts a server at the gateway's address that presents the gateway's certificate until it is
    /// dropped. A real gateway would need an istiod.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn serve_gateway_certificate(&self) -> Result<CertificateServer> {
        let identity = format!("spiffe://{}/ns/{NAMESPACE}/sa/{GATEWAY}", self.trust_domain());
        let address = SocketAddr::from((self.addresses.gateway, GATEWAY_PORT));
        Ok(CertificateServer(
            TlsListener::bind_at(address, &self.authority.workload(&identity)?).await?,
        ))
    }

    /// The root of its mesh.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The root of its metadata endpoint.
    pub fn metadata_authority(&self) -> &Authority {
        &self.metadata_authority
    }

    /// The URL of its metadata endpoint, which any live replica serves.
    pub fn metadata_url(&self) -> String {
        format!("https://{}/metadata", self.balancer.address())
    }

    /// Its API server.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Its API server, to be killed or restarted.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// Its objects, as seen by a user who may do everything.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The value of an environment variable in [`Self::settings`].
    pub fn setting(&self, variable: &str) -> Option<&str> {
        self.settings.get(variable).map(String::as_str)
    }

    /// The environment variables for replicas started from now on, for example `FEDGATE_POLL`.
    pub fn settings(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.settings
    }

    /// Sets the program of replicas started from now on.
    pub fn set_program(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    /// Starts another controller, `NAME-NUMBER`, and waits until it is ready.
    ///
    /// # Errors
    /// When it exits or takes too long.
    pub async fn start_replica(&mut self) -> Result<()> {
        self.started += 1;
        let name = format!("{}-{}", self.name, self.started);
        let log = self.logs.join(format!("{name}.log"));
        let program = match &self.program {
            Some(program) => program,
            None => programs::fedgate()?,
        };
        let mut replica = Replica::start(program, &name, &self.settings, &log).await?;
        replica.wait_ready().await?;
        self.replicas.push(replica);
        self.balance();
        Ok(())
    }

    /// Stops all controllers and starts one with changed settings. An empty value removes a
    /// variable.
    ///
    /// # Errors
    /// When a controller does not exit, or the new one does not become ready.
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        for name in
            self.replicas.iter().map(|replica| replica.name().to_owned()).collect::<Vec<_>>()
        {
            self.stop_replica(&name).await?;
        }
        for (variable, value) in settings {
            match value.is_empty() {
                true => drop(self.settings.remove(*variable)),
                false => drop(self.settings.insert((*variable).to_owned(), (*value).to_owned())),
            }
        }
        self.start_replica().await
    }

    /// The running controllers, in the order in which they started.
    pub fn replicas(&mut self) -> &mut [Replica] {
        &mut self.replicas
    }

    /// The running controller that started first.
    ///
    /// # Errors
    /// When none runs.
    pub fn first_replica(&self) -> Result<&Replica> {
        self.replicas.first().with_context(|| format!("no controller of {} runs", self.name))
    }

    /// Kills a controller, as a crash would.
    ///
    /// # Errors
    /// When there is no such controller.
    pub fn kill_replica(&mut self, name: &str) -> Result<()> {
        self.take_replica(name)?.process.kill()
    }

    /// Kills the leading controller.
    ///
    /// # Errors
    /// When no controller leads.
    pub async fn kill_leader(&mut self) -> Result<()> {
        let leader = self.leader().await?;
        self.kill_replica(&leader)
    }

    /// Stops a controller as an orchestrator would (SIGTERM).
    ///
    /// # Errors
    /// When there is no such controller, or it does not exit in time.
    pub async fn stop_replica(&mut self, name: &str) -> Result<std::process::ExitStatus> {
        self.take_replica(name)?.process.terminate(SOON).await
    }

    /// Waits until a running controller leads, and returns its name.
    ///
    /// # Errors
    /// When no controller becomes leader.
    pub async fn leader(&self) -> Result<String> {
        let lease =
            Key::namespaced("coordination.k8s.io/v1", "Lease", NAMESPACE, "fedgate-controller");
        wait::until(&format!("a leader in {}", self.name), SOON, async || {
            let lease = self.objects.get(lease).await?.context("there is no Lease")?;
            let holder = lease["spec"]["holderIdentity"]
                .as_str()
                .context("nobody holds the Lease")?
                .to_owned();
            // After the Pod's name, the holder has a suffix that is unique to each process.
            let holder = holder.split('_').next().unwrap_or_default();
            Ok(self
                .replicas
                .iter()
                .any(|replica| replica.name() == holder)
                .then(|| holder.to_owned()))
        })
        .await
    }

    /// Makes another cluster a peer.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn put_peer(&self, peer: &KubernetesCluster) -> Result<()> {
        self.put_peer_at(peer, &peer.metadata_url()).await
    }

    /// Makes another cluster a peer, with another URL for its metadata endpoint. The certificate
    /// there is from the same authority.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn put_peer_at(&self, peer: &KubernetesCluster, url: &str) -> Result<()> {
        let ca = peer.metadata_authority.pem();
        self.objects.apply(&manifest::federation(&peer.name, &peer.trust_domain(), url, &ca)).await
    }

    /// Removes a peer.
    ///
    /// # Errors
    /// When there is no such peer.
    pub async fn remove_peer(&self, name: &str) -> Result<()> {
        self.objects
            .delete(Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", name))
            .await
    }

    /// Writes or replaces a Service and its EndpointSlice.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn put_service(&self, service: &Service) -> Result<()> {
        self.objects.apply(&service.yaml()).await
    }

    /// The number of imported hosts.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn count_imports(&self) -> Result<usize> {
        let entries = self
            .objects
            .list(("networking.istio.io/v1", "ServiceEntry"), Some(NAMESPACE), "")
            .await?;
        // The gateway has ServiceEntries as well, which belong to no peer.
        Ok(entries
            .iter()
            .filter(|entry| entry["metadata"]["annotations"]["fedgate.dev/peer"].is_string())
            .count())
    }

    /// Runs a `fedgate` command as an operator, with a kubeconfig.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn fedgate(&self, arguments: &[&str]) -> Result<Output> {
        self.run(programs::fedgate()?, arguments).await
    }

    /// Runs kubectl as an operator.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        self.run(programs::kubectl()?, arguments).await
    }

    /// Runs a `fedgate` command on a terminal. Returns everything that it wrote there.
    ///
    /// # Errors
    /// When it cannot be started, or does not end.
    pub async fn on_terminal(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let command = self.operator(programs::fedgate()?, arguments)?;
        let mut terminal = Pty::start(command.as_std(), (120, 60), "")?;
        let ended = tokio::task::spawn_blocking(move || {
            let status = terminal.wait()?;
            anyhow::Ok((status, terminal.written()))
        });
        ended.await?
    }

    /// Starts `kubectl fedgate ui`, and waits for the page's URL. The command ends when it is
    /// dropped.
    ///
    /// # Errors
    /// When it ends, or prints something else.
    pub async fn page(&self) -> Result<(tokio::process::Child, String)> {
        let mut command =
            self.operator(programs::kubectl()?, &["fedgate", "ui", "--no-browser"])?;
        let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let line = tokio::time::timeout(SOON, lines.next_line()).await??.context("it ends")?;
        let url = line.split_whitespace().find(|word| word.starts_with("http"));
        Ok((child, url.with_context(|| format!("no URL: {line}"))?.to_owned()))
    }

    async fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let mut command = self.operator(program, arguments)?;
        let output = tokio::time::timeout(SOON, command.output()).await;
        output?.with_context(|| format!("cannot start {}", program.display()))
    }

    /// A command of an operator.
    fn operator(&self, program: &Path, arguments: &[&str]) -> Result<tokio::process::Command> {
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .env("KUBECONFIG", self.plane.admin_kubeconfig()?)
            .kill_on_drop(true);
        command.env(
            "PATH",
            [self.plugins()?.as_os_str(), &std::env::var_os("PATH").unwrap_or_default()]
                .join(OsStr::new(":")),
        );
        Ok(command)
    }

    /// A folder where kubectl finds `fedgate` as a plugin.
    fn plugins(&self) -> Result<PathBuf> {
        let folder = self.logs.join(format!("{}-plugins", self.name));
        std::fs::create_dir_all(&folder)?;
        let link = folder.join("kubectl-fedgate");
        if !link.exists() {
            std::os::unix::fs::symlink(programs::fedgate()?, link)?;
        }
        Ok(folder)
    }

    fn take_replica(&mut self, name: &str) -> Result<Replica> {
        let place = self.replicas.iter().position(|replica| replica.name() == name);
        let replica =
            self.replicas.remove(place.with_context(|| format!("no controller {name} runs"))?);
        self.balance();
        Ok(replica)
    }

    fn balance(&self) {
        self.balancer.set_targets(self.replicas.iter().map(Replica::metadata).collect());
    }
}
