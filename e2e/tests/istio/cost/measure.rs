//! What istiod and a sidecar spend on the imports.

use super::sidecar::{cluster, wait_clusters, wait_roots};
use super::site::{PATIENCE, Site, host};
use anyhow::{Context, Result};
use fedgate_e2e::istio::{Client, Mesh};
use fedgate_e2e::measure::{metric, percentile};
use fedgate_e2e::{usage, wait};
use serde_json::json;
use std::time::{Duration, Instant};

/// How many changes of all clusters are measured.
const CHANGES: u32 = 5;

impl Site {
    /// Measures a sidecar's start with all imports, each bound to this number of roots; then
    /// changes that each push all clusters; then the start of another sidecar, and one more change.
    pub(super) async fn measure(&self, name: &str, roots: usize) -> Result<()> {
        println!("{name}: {} imports", self.imports);
        let client = self.start_sidecar("client", roots).await?;
        self.change_all(&[&client], 0).await?;
        let other = self.start_sidecar("other", roots).await?;
        self.change_all(&[&client, &other], CHANGES).await
    }

    async fn start_sidecar(&self, name: &str, roots: usize) -> Result<Client> {
        self.alpha.istiod.wait_idle().await?;
        let (istiod, pushes) = (self.alpha.istiod.usage()?.cpu, Pushes::of(&self.alpha).await?);
        let began = Instant::now();
        let client = Client::start_with_all(&self.alpha, name, &[]).await?;
        wait_clusters(&client, self.imports).await?;
        let ready = began.elapsed();
        self.alpha.istiod.wait_idle().await?;
        let spent = self.alpha.istiod.usage()?.cpu.saturating_sub(istiod);
        let sidecar = usage::of(client.agent().envoy_id()?)?;
        let (count, seconds, bytes) = Pushes::of(&self.alpha).await?.since(&pushes);
        println!(
            "  {name}: all clusters after {ready:.1?}; {spent:.2?} of istiod's CPU time, \
             {count} pushes of clusters in {seconds:.2} s with {:.1} MiB; sidecar {:.2?} of CPU \
             time, {sidecar}; istiod {}",
            bytes / f64::from(1 << 20),
            sidecar.cpu,
            self.alpha.istiod.usage()?,
        );
        wait_roots(&client, self.imports, roots).await?;
        Ok(client)
    }

    /// Changes one cluster several times, and waits until all sidecars have it.
    async fn change_all(&self, clients: &[&Client], first: u32) -> Result<()> {
        self.alpha.istiod.wait_idle().await?;
        let envoy = clients.first().context("a sidecar")?.agent().envoy_id()?;
        let pushes = Pushes::of(&self.alpha).await?;
        let (istiod, sidecar) = (self.alpha.istiod.usage()?.cpu, usage::of(envoy)?.cpu);
        let mut times = Vec::new();
        for number in first..first + CHANGES {
            times.push(change(&self.alpha, clients, number).await?);
        }
        self.alpha.istiod.wait_idle().await?;
        times.sort();
        let each = |now: Duration, before: Duration| now.saturating_sub(before) / CHANGES;
        let (count, seconds, bytes) = Pushes::of(&self.alpha).await?.since(&pushes);
        println!(
            "  a push of all clusters to {} of them: {:.0?} of istiod's CPU time, {:.0?} of a \
             sidecar's, there after p50 {:.0?}, at most {:.0?}; {count} pushes of clusters in \
             {seconds:.2} s with {:.1} MiB; istiod {}, sidecar {}",
            clients.len(),
            each(self.alpha.istiod.usage()?.cpu, istiod),
            each(usage::of(envoy)?.cpu, sidecar),
            percentile(&times, 50),
            percentile(&times, 100),
            bytes / f64::from(1 << 20),
            self.alpha.istiod.usage()?,
            usage::of(envoy)?,
        );
        Ok(())
    }
}

/// istiod's pushes of clusters so far, from its metrics.
struct Pushes {
    count: f64,
    seconds: f64,
    bytes: f64,
}

impl Pushes {
    async fn of(mesh: &Mesh) -> Result<Self> {
        let text = mesh.istiod.metrics().await?;
        let value = |series: &str| metric(&text, series).unwrap_or_default();
        Ok(Self {
            count: value("pilot_xds_push_time_count{type=\"cds\"}"),
            seconds: value("pilot_xds_push_time_sum{type=\"cds\"}"),
            bytes: value(
                "pilot_xds_config_size_bytes_sum{type=\"type.googleapis.com/envoy.config.cluster.v3.Cluster\"}",
            ),
        })
    }

    /// Number, seconds and bytes of the pushes since then.
    fn since(&self, before: &Self) -> (f64, f64, f64) {
        let Self { count, seconds, bytes } = before;
        (self.count - count, self.seconds - seconds, self.bytes - bytes)
    }
}

/// Patches one cluster. istiod evaluates the patch for every cluster and pushes all of them.
/// Returns how long the change took to reach the sidecars.
async fn change(mesh: &Mesh, clients: &[&Client], number: u32) -> Result<Duration> {
    let began = Instant::now();
    let timeout = format!("{}s", 20 + number);
    let patch = json!({
        "applyTo": "CLUSTER",
        "match": { "context": "SIDECAR_OUTBOUND", "cluster": { "service": host(0) } },
        "patch": { "operation": "MERGE", "value": { "connect_timeout": timeout } },
    });
    let object = json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": { "namespace": "shop", "name": "change" },
        "spec": { "configPatches": [patch] },
    });
    mesh.cluster.objects().apply_one(&object).await?;
    let expected = format!("\"connect_timeout\": \"{timeout}\"");
    for client in clients {
        let there = async || Ok(cluster(client, &host(0)).await?.contains(&expected));
        wait::until_true("the change in the sidecar", PATIENCE, there).await?;
    }
    Ok(began.elapsed())
}
