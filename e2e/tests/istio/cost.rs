//! What several hundred imports cost istiod and a sidecar, without the binding to the peer's roots,
//! and with each form of it.
//!
//! Run by `cargo xtask bench istio`. The only assertion: each form binds every cluster that it
//! should.

use super::fixture::run;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::{Client, Mesh};
use fedgate_e2e::kubernetes::{Key, KubernetesCluster, MESH_NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::{usage, wait};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const IMPORTS: usize = 400;
const CHANGES: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(180);
const VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes: cargo xtask bench istio"]
async fn bindings_of_several_hundred_imports() -> Result<()> {
    let run = run("cost")?;
    let mut beta = KubernetesCluster::start(&run, "beta").await?;
    let mut alpha = Mesh::start(&run, "alpha", &MeshOptions::default()).await?;
    beta.put_peer(&alpha.cluster).await?;
    alpha.cluster.put_peer(&beta).await?;
    let target = (beta.addresses().node, 8080).into();
    let services = (0..IMPORTS)
        .map(|number| Service::new(&format!("s{number}"), "http", 80, target).exported());
    let put = async |service: Service| beta.put_service(&service).await;
    stream::iter(services).map(put).buffer_unordered(8).try_collect::<Vec<_>>().await?;
    beta.start_replica().await?;
    alpha.cluster.start_replica().await?;
    let bindings = wait::until("all imports", PATIENCE, async || {
        let found = bindings(&alpha).await?;
        // A host's binding is written before its ServiceEntry.
        let all =
            patches(&found).count() == IMPORTS && alpha.cluster.count_imports().await? == IMPORTS;
        Ok(all.then_some(found))
    })
    .await?;
    let leader = alpha.cluster.leader().await?;
    alpha.cluster.stop_replica(&leader).await?;
    let all: Vec<Value> = patches(&bindings).cloned().collect();

    // A mesh's first sidecar waits for work that istiod has not done yet.
    measure(&alpha, "warming up", IMPORTS).await?;
    measure(&alpha, &format!("as built, {} objects", bindings.len()), IMPORTS).await?;
    replace(&alpha, &[]).await?;
    measure(&alpha, "no binding", 0).await?;
    replace(&alpha, std::slice::from_ref(&all)).await?;
    measure(&alpha, "one object for the peer", IMPORTS).await?;
    replace(&alpha, &all.into_iter().map(|patch| vec![patch]).collect::<Vec<_>>()).await?;
    measure(&alpha, "an object for each host", IMPORTS).await
}

fn patches(bindings: &[Value]) -> impl Iterator<Item = &Value> {
    bindings.iter().filter_map(|binding| binding["spec"]["configPatches"].as_array()).flatten()
}

/// Replaces all EnvoyFilters in the mesh's root namespace: one for each list of patches.
async fn replace(mesh: &Mesh, wanted: &[Vec<Value>]) -> Result<()> {
    for binding in bindings(mesh).await? {
        mesh.cluster.objects().delete(key(&binding)?).await?;
    }
    for (number, patches) in wanted.iter().enumerate() {
        let metadata = json!({ "namespace": MESH_NAMESPACE, "name": format!("binding-{number}") });
        let object = json!({
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": metadata,
            "spec": { "configPatches": patches },
        });
        mesh.cluster.objects().apply_one(&object).await?;
    }
    Ok(())
}

async fn bindings(mesh: &Mesh) -> Result<Vec<Value>> {
    let kind = ("networking.istio.io/v1alpha3", "EnvoyFilter");
    mesh.cluster.objects().list(kind, Some(MESH_NAMESPACE), "").await
}

fn key(object: &Value) -> Result<Key<'_>> {
    let name = object["metadata"]["name"].as_str().context("a name")?;
    Ok(Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", MESH_NAMESPACE, name))
}

/// Measures a sidecar's start with all imports, then ten changes that each push all clusters.
async fn measure(mesh: &Mesh, form: &str, bound: usize) -> Result<()> {
    let start = Instant::now();
    let istiod = mesh.istiod.usage()?;
    let client = Client::start_with_all(mesh, "client").await?;
    let what = format!("{bound} bound clusters");
    wait::until(&what, PATIENCE, async || {
        let clusters = client.agent().ask("/config_dump?resource=dynamic_active_clusters").await?;
        let found = clusters.matches(VALIDATOR).count();
        ensure!(found == bound, "{found} are bound");
        let imported = clusters.matches("\"name\": \"outbound|80||s").count();
        ensure!(imported == IMPORTS, "{imported} are imported");
        Ok(Some(()))
    })
    .await?;
    let (ready, first) = (start.elapsed(), mesh.istiod.usage()?.cpu.saturating_sub(istiod.cpu));
    let envoy = client.agent().envoy_id()?;
    let memory = usage::of(envoy)?.memory >> 20;

    let (istiod, sidecar) = (mesh.istiod.usage()?, usage::of(envoy)?);
    let mut slowest = Duration::ZERO;
    for change in 0..CHANGES {
        slowest = slowest.max(change_all(mesh, &client, change).await?);
    }
    let each = |now: Duration, before: Duration| {
        now.saturating_sub(before).as_secs_f64() * 1000.0 / f64::from(CHANGES)
    };
    println!(
        "{form}: {IMPORTS} imports; first push {} ms of istiod's CPU, ready after {} ms; sidecar {memory} MiB; a push of all clusters \
         {:.0} ms of istiod's CPU, {:.0} ms of the sidecar's, at most {} ms until it is there",
        first.as_millis(),
        ready.as_millis(),
        each(mesh.istiod.usage()?.cpu, istiod.cpu),
        each(usage::of(envoy)?.cpu, sidecar.cpu),
        slowest.as_millis()
    );
    Ok(())
}

/// Patches one cluster. istiod evaluates the patch for every cluster and pushes all of them.
/// Returns how long the change took to reach the sidecar.
async fn change_all(mesh: &Mesh, client: &Client, change: u32) -> Result<Duration> {
    let start = Instant::now();
    let host = "s0.shop.svc.beta.example";
    let timeout = format!("{}s", 20 + change);
    let patch = json!({
        "applyTo": "CLUSTER",
        "match": { "context": "SIDECAR_OUTBOUND", "cluster": { "service": host } },
        "patch": { "operation": "MERGE", "value": { "connect_timeout": timeout } },
    });
    let metadata = json!({ "namespace": "shop", "name": "change" });
    let object = json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": metadata, "spec": { "configPatches": [patch] },
    });
    mesh.cluster.objects().apply_one(&object).await?;
    let expected = format!("\"connect_timeout\": \"{timeout}\"");
    let there = async || {
        let path = format!(
            "/config_dump?resource=dynamic_active_clusters&name_regex=outbound.80..{}",
            host.replace('.', r"\.")
        );
        Ok(client.agent().ask(&path).await?.contains(&expected))
    };
    wait::until_true("the change in the sidecar", PATIENCE, there).await?;
    Ok(start.elapsed())
}
