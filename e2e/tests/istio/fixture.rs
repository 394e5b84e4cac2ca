//! Fixtures shared by most tests.

use anyhow::{Result, ensure};
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::{Response, plain_get};
use fedgate_e2e::cluster::Filter;
use fedgate_e2e::envoy::access_log::AccessLog;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::kubernetes::{Key, SHOP};
use fedgate_e2e::manifest::{EXPORT_LABEL, Service};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::time::Duration;

/// A folder for this run, which is kept if `KEEP` is set.
pub(crate) fn run(name: &str) -> Result<RunFolder> {
    let mut run = RunFolder::new(&format!("istio-{name}"))?;
    if std::env::var_os("KEEP").is_some() {
        run.keep();
    }
    Ok(run)
}

/// Options of a mesh whose gateways have the filter for this delivery. The controller starts with
/// `EnvoyFilter` or `DynamicModule`.
pub(crate) fn of_delivery(delivery: &str) -> MeshOptions {
    let filter = match delivery {
        "DynamicModule" => Filter::Native,
        _ => Filter::ProxyWasm,
    };
    MeshOptions { filter: Some(filter), ..MeshOptions::default() }
}

/// alpha and beta as peers; beta exports `web` (HTTP).
pub(crate) struct Pair {
    pub(crate) alpha: Mesh,
    pub(crate) beta: Mesh,
    pub(crate) web: Service,
    pub(crate) backend: Backend,
}

impl Pair {
    pub(crate) async fn start(run: &RunFolder) -> Result<Self> {
        Self::start_with(run, &MeshOptions::default()).await
    }

    pub(crate) async fn start_with(run: &RunFolder, options: &MeshOptions) -> Result<Self> {
        let [alpha, beta] = federation(run, ["alpha", "beta"], options).await?;
        let backend = Backend::http_at(beta.cluster.addresses().node, "web", "beta").await?;
        let web = Service::new("web", "http", 80, backend.address()).exported();
        beta.cluster.put_service(&web).await?;
        Ok(Self { alpha, beta, web, backend })
    }

    /// The host of `web` in alpha.
    pub(crate) fn host(&self) -> String {
        self.web.host("beta.example")
    }

    /// `web` as an import of a client's sidecar.
    pub(crate) fn import(&self) -> Import {
        Import { host: self.host(), port: 80, protocol: "HTTP" }
    }

    /// A client in alpha. Waits until its calls to `web` are answered.
    pub(crate) async fn client(&self) -> Result<Client> {
        let client = Client::start(&self.alpha, "client", &[self.import()]).await?;
        self.wait_answers(&client).await?;
        Ok(client)
    }

    /// Calls `web` through a sidecar of alpha.
    pub(crate) async fn call(&self, client: &Client) -> Result<Response> {
        let host = self.host();
        client
            .call(&self.host(), 80, move |address| async move { plain_get(address, &host).await })
            .await
    }

    /// Waits until `web` answers.
    pub(crate) async fn wait_answers(&self, client: &Client) -> Result<()> {
        wait::until("web to answer", SOON, async || {
            let answer = self.call(client).await?;
            ensure!(answer.status == 200 && answer.body == "this is web of beta", "{answer:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until calls to `web` are refused. No connection may reach the back end during a
    /// refused call.
    pub(crate) async fn wait_refused(&self, client: &Client) -> Result<()> {
        let refused =
            async || Ok(self.call(client).await.map_or(true, |answer| answer.status == 503));
        // Each worker thread of a proxy takes a change by itself, and a call meets only one of them.
        wait::until("web to be refused", SOON, async || {
            let before = self.backend.connections();
            wait::stays("web is refused", Duration::from_millis(500), refused).await?;
            ensure!(self.backend.connections() == before, "a connection reached web");
            Ok(Some(()))
        })
        .await
    }

    /// beta's access log, starting now.
    pub(crate) fn beta_log(&self) -> Result<AccessLog> {
        Ok(AccessLog::from_now(self.beta.gateway()?.agent().log()))
    }
}

/// Sets or removes a Service's export label.
pub(crate) async fn set_exported(mesh: &Mesh, name: &str, exported: bool) -> Result<()> {
    let label = if exported { json!("") } else { Value::Null };
    let patch = json!({ "metadata": { "labels": { EXPORT_LABEL: label } } });
    mesh.cluster
        .objects()
        .patch(Key::namespaced("v1", "Service", SHOP, name), &patch)
        .await
        .map(drop)
}
