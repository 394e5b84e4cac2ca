//! A large table on its way: from a label through the API server, the controller and istiod into the
//! gateway's filter.

use crate::fixture::{of_delivery, run};
use anyhow::{Result, ensure};
use fedgate_e2e::backend::Backend;
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::istio::Mesh;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::kubernetes::{Key, NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::measure::{number, percentile};
use fedgate_e2e::{usage, wait};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(600);
const PEERS: usize = 5;
/// How many labels are measured.
const LABELS: usize = 5;
const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes: cargo xtask bench istio"]
async fn a_table_of_ten_thousand_exports_with_the_wasm_filter() -> Result<()> {
    measure("EnvoyFilter").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes: cargo xtask bench istio"]
async fn a_table_of_ten_thousand_exports_with_the_native_filter() -> Result<()> {
    measure("DynamicModule").await
}

async fn measure(delivery: &str) -> Result<()> {
    let (run, exports) = (run(&format!("table-{delivery}"))?, number("COST_EXPORTS", 10_000));
    let options = MeshOptions { usual_stats: true, ..of_delivery(delivery) };
    let mut mesh = Mesh::start(&run, "beta", &options).await?;
    let fleet = Fleet::start(PEERS, 1).await?;
    mesh.cluster.objects().apply(&fleet.federations()).await?;
    let backend = Backend::http_at(mesh.cluster.addresses().node, "any", "beta").await?;
    let exported = |name: &str| Service::new(name, "http", 80, backend.address()).exported();
    let services = (0..exports).map(|number| exported(&format!("s{number}")));
    let put = async |service: Service| mesh.cluster.put_service(&service).await;
    stream::iter(services).map(put).buffer_unordered(8).try_collect::<Vec<_>>().await?;
    let began = Instant::now();
    mesh.cluster.start_replica().await?;
    wait::until("all exports", PATIENCE, async || {
        let found = mesh.cluster.first_replica()?.metric("fedgate_exports").await?;
        ensure!(found >= exports as f64, "{found} exports");
        Ok(Some(()))
    })
    .await?;
    mesh.start_gateway().await?;
    println!("{delivery}: {exports} exports in the gateway after {:.1?}", began.elapsed());
    let mut times = [Vec::new(), Vec::new()];
    for label in 0..LABELS {
        let found = one_more(&mesh, &exported(&format!("more-{label}"))).await?;
        times.iter_mut().zip(found).for_each(|(times, time)| times.push(time));
    }
    times.iter_mut().for_each(|times| times.sort());
    let [written, in_force] = &times;
    let size = table(&mesh).await?.to_string().len();
    println!(
        "{delivery}: a label with a table object of {} KiB: written p50 {:.2?}, at most {:.2?}; in the \
         gateway p50 {:.2?}, at most {:.2?}; gateway {}",
        size / 1024,
        percentile(written, 50),
        percentile(written, 100),
        percentile(in_force, 50),
        percentile(in_force, 100),
        usage::of(mesh.gateway()?.agent().envoy_id()?)?,
    );
    Ok(())
}

/// Labels one more Service. Returns how long it took until the table was in its object, and until
/// the gateway had it.
async fn one_more(mesh: &Mesh, service: &Service) -> Result<[Duration; 2]> {
    mesh.istiod.wait_idle().await?;
    let (objects, gateway) = (mesh.cluster.objects(), mesh.gateway()?);
    let before = version(&table(mesh).await?);
    let old = gateway.table_generation().await?;
    let began = Instant::now();
    mesh.cluster.put_service(service).await?;
    let newer = |object: &Value| version(object) != before;
    objects.wait_for(TABLE, "to have one more export", newer).await?;
    let written = began.elapsed();
    let there = async || Ok(gateway.table_generation().await? > old);
    wait::until_true("the table in the gateway", PATIENCE, there).await?;
    Ok([written, began.elapsed()])
}

async fn table(mesh: &Mesh) -> Result<Value> {
    let object = mesh.cluster.objects().get(TABLE).await?;
    object.ok_or_else(|| anyhow::anyhow!("there is no table"))
}

fn version(object: &Value) -> Value {
    object["metadata"]["resourceVersion"].clone()
}
