//! One API server with its etcd.

use super::AuditLog;
use super::credentials::{ADMIN, Credentials};
use super::etcd::Etcd;
use super::kubeconfig::{client, kubeconfig};
use crate::process::Process;
use crate::programs;
use crate::run_folder::{RunFolder, files_below};
use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xtask::ports;

/// How long an API server may take to start on a fully loaded machine.
const START: Duration = Duration::from_secs(120);

/// The lifetime of a ServiceAccount's token in seconds: longer than any test.
const TOKEN_LIFETIME: i64 = 24 * 60 * 60;

/// The options of an API server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address range of its Services.
    pub service_cidr: String,
    /// etcd's data at the start: a folder, which is copied. Empty if there is none.
    pub data: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { service_cidr: "10.0.0.0/16".into(), data: None }
    }
}

/// A running API server and its etcd. Both stop when dropped.
pub struct ControlPlane {
    name: String,
    address: SocketAddr,
    credentials: Credentials,
    options: Options,
    log: PathBuf,
    client: kube::Client,
    // Declared before etcd: fields are dropped in order.
    api_server: Option<Process>,
    etcd: Etcd,
}

impl ControlPlane {
    /// Starts both and waits until the API server is ready.
    ///
    /// # Errors
    /// When a program cannot be built or does not become ready.
    pub async fn start(run: &RunFolder, name: &str, options: Options) -> Result<Self> {
        let credentials = Credentials::write(run.path().join(format!("{name}-api-server")), name)?;
        let address = ports::free()?;
        let client =
            client(kubeconfig(address, &credentials.ca(), ADMIN, credentials.admin_token()))
                .await?;
        let etcd = Etcd::start(run, name, options.data.as_deref()).await?;
        let log = run.log(&format!("{name}-api-server"));
        let name = name.to_owned();
        let mut plane =
            Self { name, address, credentials, options, log, client, api_server: None, etcd };
        plane.start_api_server().await?;
        Ok(plane)
    }

    /// Starts the API server on the same port with the same data. Kills the running one first.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        self.api_server = None;
        let flags = self.flags();
        let flags: Vec<_> = flags.iter().map(AsRef::as_ref).collect();
        let mut process = Process::start(
            &format!("{}'s API server", self.name),
            programs::api_server()?,
            &flags,
            &self.log,
        )?;
        let client = self.client.clone();
        let ready = async || {
            let request = http_get("/readyz")?;
            Ok((client.request_text(request).await? == "ok").then_some(()))
        };
        process.wait_until("the API server to be ready", START, ready).await?;
        self.api_server = Some(process);
        Ok(())
    }

    /// Kills the API server, as a crash would. etcd keeps running.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_api_server(&mut self) -> Result<()> {
        self.api_server.take().context("the API server does not run")?.kill()
    }

    /// Copies etcd's data for [`ControlPlane::restore`]. Stops both programs meanwhile.
    ///
    /// # Errors
    /// When the data cannot be copied, or a program does not become ready.
    pub async fn back_up(&mut self, run: &RunFolder) -> Result<()> {
        let copy = self.copy_of_etcd(run);
        self.with_etcd_stopped(|data| replace(&copy, data)).await
    }

    /// Restores etcd to its state at [`ControlPlane::back_up`], as an operator does with a backup.
    ///
    /// # Errors
    /// When there is no copy, or a program does not become ready.
    pub async fn restore(&mut self, run: &RunFolder) -> Result<()> {
        let copy = self.copy_of_etcd(run);
        self.with_etcd_stopped(|data| replace(data, &copy)).await
    }

    /// Stops both for good, after deleting all keys of etcd with these prefixes. `keep` gets the
    /// folder with etcd's data.
    ///
    /// # Errors
    /// When etcd refuses or does not exit.
    pub(super) async fn finish(
        &mut self,
        without: &[&str],
        keep: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.kill_api_server()?;
        for prefix in without {
            self.etcd.delete(prefix).await?;
        }
        self.etcd.stopped(keep).await
    }

    fn copy_of_etcd(&self, run: &RunFolder) -> PathBuf {
        run.path().join(format!("{}-etcd-backup", self.name))
    }

    async fn with_etcd_stopped(&mut self, change: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.kill_api_server()?;
        self.etcd.stopped(change).await?;
        self.start_api_server().await
    }

    /// Compacts etcd to its newest state: older states can no longer be read (410). The API server
    /// still serves watches from older resource versions out of its cache, which goes back to its
    /// start. To have them refused with 410, restart it ([`ControlPlane::start_api_server`]).
    ///
    /// # Errors
    /// When etcd refuses.
    pub async fn compact(&self) -> Result<u64> {
        self.etcd.compact().await
    }

    /// Its name in messages and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of the API server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client that may do everything.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// All requests to the API server from now on.
    pub fn audit(&self) -> AuditLog {
        AuditLog::from_now(&self.credentials.audit_log())
    }

    /// The process IDs of etcd and the API server.
    ///
    /// # Errors
    /// When the API server is not running.
    pub fn process_ids(&self) -> Result<[u32; 2]> {
        let api_server = self.api_server.as_ref().context("the API server does not run")?;
        Ok([self.etcd.process().id(), api_server.id()])
    }

    /// Writes a kubeconfig for a user who may do everything. Returns the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn admin_kubeconfig(&self) -> Result<PathBuf> {
        self.write_kubeconfig(ADMIN, self.credentials.admin_token())
    }

    /// Writes a kubeconfig for an existing ServiceAccount, with a token valid for a day. Returns
    /// the file.
    ///
    /// # Errors
    /// When there is no such ServiceAccount, or the file cannot be written.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.service_account_token(namespace, name, None).await?;
        self.write_kubeconfig(&format!("{namespace}-{name}"), &token)
    }

    /// A client for an existing ServiceAccount.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn service_account_client(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<kube::Client> {
        let token = self.service_account_token(namespace, name, None).await?;
        client(kubeconfig(self.address, &self.credentials.ca(), name, &token)).await
    }

    /// A token of an existing ServiceAccount for an audience, for example istiod's CA.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn service_account_token_for(
        &self,
        namespace: &str,
        name: &str,
        audience: &str,
    ) -> Result<String> {
        self.service_account_token(namespace, name, Some(audience)).await
    }

    async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        audience: Option<&str>,
    ) -> Result<String> {
        let audiences = audience.map(|audience| vec![audience.to_owned()]).unwrap_or_default();
        let spec = TokenRequestSpec {
            audiences,
            expiration_seconds: Some(TOKEN_LIFETIME),
            ..Default::default()
        };
        let request = TokenRequest { spec, ..Default::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let answer =
            answer.with_context(|| format!("a token for the ServiceAccount {namespace}/{name}"))?;
        Ok(answer.status.context("the API server gave no token")?.token)
    }

    fn write_kubeconfig(&self, user: &str, token: &str) -> Result<PathBuf> {
        let file = self.credentials.folder().join(format!("kubeconfig-{user}.json"));
        std::fs::write(
            &file,
            kubeconfig(self.address, &self.credentials.ca(), user, token).to_string(),
        )?;
        Ok(file)
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = self.credentials.flags();
        flags.extend([
            format!("--etcd-servers={}", self.etcd.url()),
            format!("--bind-address={}", self.address.ip()),
            format!("--secure-port={}", self.address.port()),
            // Nobody uses this address, but the API server refuses loopback addresses and guesses
            // one if none is given.
            "--advertise-address=10.77.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--service-cluster-ip-range={}", self.options.service_cidr),
            "--authorization-mode=RBAC".into(),
            // Without a controller manager Pods have no token volume, and this plugin would refuse
            // them.
            "--disable-admission-plugins=ServiceAccount".into(),
            // Compact only when a test asks for it.
            "--etcd-compaction-interval=0".into(),
            "--profiling=false".into(),
        ]);
        flags
    }
}

fn http_get(path: &str) -> Result<axum::http::Request<Vec<u8>>> {
    Ok(axum::http::Request::get(path).body(Vec::new())?)
}

/// Makes the folder `to` a copy of `from`.
pub(super) fn replace(to: &Path, from: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    for file in files_below(from)? {
        let copy = to.join(file.strip_prefix(from)?);
        std::fs::create_dir_all(copy.parent().context("a file is in a folder")?)?;
        std::fs::copy(&file, &copy).with_context(|| format!("copying {}", file.display()))?;
    }
    Ok(())
}
