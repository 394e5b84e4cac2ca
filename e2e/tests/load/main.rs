//! What the controller costs on a real API server. Run by `cargo xtask bench kubernetes`, alone on
//! the machine. The numbers are in `docs/sizing.md`.

mod large;

use anyhow::{Context, Result, ensure};
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::kubernetes::{
    AuditLog, CONTROLLER, Key, KubernetesCluster, KubernetesFederation, NAMESPACE,
};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::measure::{number, percentile};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::long_scenario;
use fedgate_e2e::usage::Usage;
use fedgate_e2e::wait;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(1800);

fn exported(name: &str) -> Service {
    Service::new(name, "http", 80, SocketAddr::from((Ipv4Addr::new(10, 77, 0, 5), 8080))).exported()
}

fn entry(host: &str) -> Key<'_> {
    Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, host)
}

/// The number of the controller's writes, without the Lease.
fn writes(audit: &AuditLog) -> usize {
    audit.writes_by(CONTROLLER).into_iter().filter(|request| request.resource != "leases").count()
}

/// From the label in beta to the import in alpha, while alpha waits for changes of 100 other peers.
#[test]
fn from_label_to_import_beside_a_hundred_idle_peers() {
    long_scenario("label", PATIENCE, async |run: &RunFolder| {
        label_to_import(run, &Fleet::start(100, 1).await?, Duration::from_millis(500)).await
    });
}

/// The same while every tenth of the other peers accepts connections and says nothing.
#[test]
fn from_label_to_import_beside_silent_peers() {
    long_scenario("silent", PATIENCE, async |run: &RunFolder| {
        let fleet = Fleet::start_with_gateways(100, 1).await?;
        label_to_import(run, &fleet, Duration::from_secs(2)).await
    });
}

/// Fails if the 99th percentile is above `most`. Nothing is polled meanwhile: the interval is longer
/// than the test.
async fn label_to_import(run: &RunFolder, fleet: &Fleet, most: Duration) -> Result<()> {
    const SAMPLES: usize = 100;
    let mut federation = KubernetesFederation::start(run, ["alpha", "beta"]).await?;
    for cluster in &mut federation.clusters {
        cluster.settings().insert("FEDGATE_POLL".into(), "1h".into());
    }
    federation.clusters[0].objects().apply(&fleet.federations()).await?;
    federation.pair().await?;
    federation.start_controllers().await?;
    let [alpha, beta] = &federation.clusters;
    let answering = (0..100).filter(|peer| !fleet.is_silent(*peer)).count();
    let all = async || Ok(alpha.count_imports().await? == answering);
    wait::until_true("the fleet's imports", Duration::from_secs(120), all).await?;
    let first = exported("first");
    beta.objects().apply_one(&labelled(&first)?).await?;
    alpha.objects().wait_present(entry(&first.host(&beta.trust_domain()))).await?;
    let mut times = Vec::new();
    for sample in 0..SAMPLES {
        let service = exported(&format!("sample-{sample}"));
        let host = service.host(&beta.trust_domain());
        // A random delay, so that samples are not in step with anything else.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..1000))).await;
        beta.objects().apply_one(&labelled(&service)?).await?;
        let began = Instant::now();
        alpha.objects().wait_present(entry(&host)).await?;
        times.push(began.elapsed());
    }
    times.sort();
    let [p50, p90, p99] = [50, 90, 99].map(|percent| percentile(&times, percent));
    println!(
        "from label to import, {answering} of 100 other peers answer: p50 {p50:?}, p90 {p90:?}, p99 {p99:?}"
    );
    ensure!(p99 < most, "p99 {p99:?}");
    Ok(())
}

/// The Service's object, without its EndpointSlice.
fn labelled(service: &Service) -> Result<serde_json::Value> {
    let port = service.ports.first().context("a port")?;
    Ok(serde_json::json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": service.namespace, "name": service.name,
            "labels": { fedgate_e2e::manifest::EXPORT_LABEL: "" } },
        "spec": { "ports": [{ "name": port.name, "port": port.number }] },
    }))
}

/// 500 peers with 100 Services each: memory, and the cost when nothing changes.
#[test]
fn five_hundred_peers_with_a_hundred_services_each() {
    let peers = number("LOAD_PEERS", 500);
    let services = number("LOAD_SERVICES", 100);
    long_scenario("fleet", PATIENCE, async |run: &RunFolder| {
        let mut cluster = KubernetesCluster::start(run, "alpha").await?;
        cluster.settings().insert("FEDGATE_POLL".into(), "30s".into());
        let fleet = Fleet::start(peers, services).await?;
        cluster.objects().apply(&fleet.federations()).await?;
        let began = Instant::now();
        cluster.start_replica().await?;
        let audit = cluster.plane().audit();
        let all = async || {
            let replica = cluster.first_replica()?;
            Ok(replica.metric("fedgate_imports").await? >= (peers * services) as f64)
        };
        wait::until_true("all peers to be known", PATIENCE, all).await?;
        println!("{peers} peers, {services} Services each: all known after {:?}", began.elapsed());
        let mut before = writes(&audit);
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let now = writes(&audit);
            println!("  {now} writes after {:?}, {}", began.elapsed(), usage(&mut cluster)?);
            if now == before {
                break;
            }
            before = now;
        }
        ensure!(cluster.count_imports().await? == peers * services);

        let (audit, first) = (cluster.plane().audit(), usage(&mut cluster)?);
        let idle = Duration::from_secs(120);
        tokio::time::sleep(idle).await;
        let last = usage(&mut cluster)?;
        let share = (last.cpu - first.cpu).as_secs_f64() / idle.as_secs_f64() * 100.0;
        println!("idle for {idle:?}: {share:.1} % of one core, {last}, {} writes", writes(&audit));
        ensure!(writes(&audit) == 0, "{:?}", audit.writes_by(CONTROLLER));
        ensure!(last.memory < 300 << 20, "{last}");
        ensure!(share < 5.0, "{share} % of one core");
        Ok(())
    });
}

fn usage(cluster: &mut KubernetesCluster) -> Result<Usage> {
    cluster.first_replica()?.process.usage()
}
