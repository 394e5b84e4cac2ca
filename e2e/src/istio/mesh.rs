//! A cluster with its mesh: API server, istiod, fedgate's controller, and a gateway behind a load
//! balancer.

use super::gateway::{
    FILTER_FOLDER, GatewayPod, NATIVE_FOLDER, NATIVE_FOLDER_SETTING, TRUST_FOLDER,
};
use super::istiod::{Istiod, MeshOptions};
use crate::cluster::Filter;
use crate::kubernetes::balancer::Balancer;
use crate::kubernetes::install::{GATEWAY, GATEWAY_PORT};
use crate::kubernetes::objects::Key;
use crate::kubernetes::{KubernetesCluster, NAMESPACE};
use crate::programs;
use crate::run_folder::RunFolder;
use crate::wait::{self, SOON};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A mesh. Everything in it stops when dropped.
pub struct Mesh {
    // Declared before the cluster, which has the API server: fields are dropped in order.
    gateways: Vec<GatewayPod>,
    started: usize,
    /// Its istiod.
    pub istiod: Istiod,
    /// Its objects and its controllers.
    pub cluster: KubernetesCluster,
    balancer: Balancer,
    folder: PathBuf,
}

impl Mesh {
    /// Starts the API server and istiod, without controller and gateway.
    ///
    /// # Errors
    /// When a program does not become ready.
    pub async fn start(run: &RunFolder, name: &str, options: &MeshOptions) -> Result<Self> {
        let mut cluster = KubernetesCluster::start(run, name).await?;
        // Remove the installation's Pod object, which stands in for a gateway where none runs.
        cluster
            .objects()
            .delete_now(Key::namespaced("v1", "Pod", NAMESPACE, &format!("{GATEWAY}-1")))
            .await?;
        let mut settings = vec![
            ("FEDGATE_TRUST_FOLDER", TRUST_FOLDER.to_owned()),
            ("FEDGATE_FILTER_FOLDER", FILTER_FOLDER.to_owned()),
            ("FEDGATE_FILTER_FILE", programs::filter()?.display().to_string()),
        ];
        let native = options.filter.map_or_else(Filter::of_run, Ok)? == Filter::Native;
        if native {
            settings.push(("FEDGATE_DELIVERY", "DynamicModule".to_owned()));
        }
        if native || options.native_filter {
            settings.push((NATIVE_FOLDER_SETTING, NATIVE_FOLDER.to_owned()));
        }
        let settings = settings.into_iter().map(|(variable, value)| (variable.to_owned(), value));
        cluster.settings().extend(settings);
        cluster.settings().extend(options.controller.clone());
        let istiod = Istiod::start(run, &cluster, options).await?;
        let balancer =
            Balancer::start_at((cluster.addresses().gateway, GATEWAY_PORT).into()).await?;
        Ok(Self {
            gateways: Vec::new(),
            started: 0,
            istiod,
            cluster,
            balancer,
            folder: run.path().into(),
        })
    }

    /// Starts another Pod of the gateway and waits until its filter has the newest table.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_gateway(&mut self) -> Result<()> {
        let name = self.next_name();
        let pod = GatewayPod::start(&self.cluster, &self.istiod, &self.folder, &name).await?;
        self.gateways.push(pod);
        self.balance();
        self.wait_tables().await
    }

    /// Starts a Pod of the gateway that need not become ready and gets no connections from the load
    /// balancer.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_pending_gateway(&mut self) -> Result<GatewayPod> {
        let name = self.next_name();
        GatewayPod::start_pending(&self.cluster, &self.istiod, &self.folder, &name).await
    }

    fn next_name(&mut self) -> String {
        self.started += 1;
        format!("{GATEWAY}-{}", self.started)
    }

    /// Kills the Pods of the gateway, as a crash of their node would.
    ///
    /// # Errors
    /// When their objects cannot be deleted.
    pub async fn stop_gateways(&mut self) -> Result<()> {
        for pod in std::mem::take(&mut self.gateways) {
            self.cluster
                .objects()
                .delete_now(Key::namespaced("v1", "Pod", NAMESPACE, pod.name()))
                .await?;
        }
        self.balance();
        Ok(())
    }

    /// Takes the first Pod of the gateway out of the load balancer and stops it, as a rolling
    /// update does.
    ///
    /// # Errors
    /// When there is none, or it does not exit.
    pub async fn retire_gateway(&mut self) -> Result<()> {
        ensure!(!self.gateways.is_empty(), "there is no gateway");
        let pod = self.gateways.remove(0);
        self.balance();
        let name = pod.name().to_owned();
        pod.terminate().await?;
        self.cluster.objects().delete_now(Key::namespaced("v1", "Pod", NAMESPACE, &name)).await
    }

    /// The Pods of the gateway, in the order in which they started.
    pub fn gateways(&self) -> &[GatewayPod] {
        &self.gateways
    }

    /// The first Pod of the gateway.
    ///
    /// # Errors
    /// When there is none.
    pub fn gateway(&self) -> Result<&GatewayPod> {
        self.gateways.first().context("there is no gateway")
    }

    /// The gateway address that peers connect to.
    pub fn gateway_address(&self) -> SocketAddr {
        self.balancer.address()
    }

    /// The load balancer in front of the gateway.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// The folder with the Pods' files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until all Pods of the gateway have the table generation in the cluster's table object.
    ///
    /// # Errors
    /// When they do not get it in time.
    pub async fn wait_tables(&self) -> Result<()> {
        let name = self.cluster.name();
        wait::until_true(
            &format!("the gateway of {name} to have the newest table"),
            SOON,
            async || {
                let wanted = self.published_generation().await?;
                ensure!(wanted > 0, "no table was published");
                if self.oldest_generation().await? == wanted {
                    return Ok(true);
                }
                // Asking the gateways costs little, the command a quarter of a second of a processor.
                let what = format!("the gateway of {name} to have table {wanted}");
                let has = async || Ok(self.oldest_generation().await? >= wanted);
                wait::until_true(&what, SOON, has).await?;
                Ok(false)
            },
        )
        .await
    }

    /// The oldest generation that a Pod of the gateway has.
    async fn oldest_generation(&self) -> Result<u64> {
        let mut oldest = u64::MAX;
        for pod in &self.gateways {
            oldest = oldest.min(pod.table_generation().await?);
        }
        Ok(oldest)
    }

    /// The generation of the published table.
    async fn published_generation(&self) -> Result<u64> {
        let output = self.cluster.fedgate(&["table", "--output", "json"]).await?;
        let context = || format!("fedgate table: {}", String::from_utf8_lossy(&output.stderr));
        let table: serde_json::Value =
            serde_json::from_slice(&output.stdout).with_context(context)?;
        table["generation"].as_u64().with_context(|| format!("no generation in {table}"))
    }

    fn balance(&self) {
        self.balancer.set_targets(self.gateways.iter().map(GatewayPod::address).collect());
    }
}

/// Starts meshes with these names, all peers of each other, each with a controller and one gateway
/// Pod.
///
/// # Errors
/// When a program does not become ready, or an object is refused.
pub async fn federation<const N: usize>(
    run: &RunFolder,
    names: [&str; N],
    options: &MeshOptions,
) -> Result<[Mesh; N]> {
    let mut meshes = try_join_all(names.map(|name| Mesh::start(run, name, options))).await?;
    for mesh in &meshes {
        for peer in meshes.iter().filter(|peer| peer.cluster.name() != mesh.cluster.name()) {
            mesh.cluster.put_peer(&peer.cluster).await?;
        }
    }
    try_join_all(meshes.iter_mut().map(async |mesh| {
        mesh.cluster.start_replica().await?;
        mesh.start_gateway().await
    }))
    .await?;
    let Ok(meshes) = meshes.try_into() else { unreachable!("there are as many meshes as names") };
    Ok(meshes)
}
