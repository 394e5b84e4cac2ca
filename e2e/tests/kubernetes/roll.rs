//! Both replicas of a controller are replaced one after the other, as a Deployment does it, while
//! peers wait for a change. No poll helps: the next one is far away.

use crate::fixture::{Pair, exported, wait_imported};
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::{AuditLog, CONTROLLER, KubernetesCluster};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::time::{Duration, Instant};

/// Longer than the test takes.
const POLL: &str = "1h";
/// How soon a request waits at another replica, and its change arrives. A poll or a pause after a
/// failure would take longer, a lost Lease much longer.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A pair with two replicas on each side, each of whose leaders waits at the other side.
struct Rolling {
    pair: Pair,
    services: usize,
}

/// The sum of a gauge over a cluster's replicas.
async fn sum(cluster: &mut KubernetesCluster, metric: &str) -> Result<f64> {
    let mut all = 0.0;
    for replica in cluster.replicas() {
        all += replica.metric(metric).await?;
    }
    Ok(all)
}

/// Waits until one request of the peer waits at this cluster.
async fn wait_waiting(cluster: &mut KubernetesCluster) -> Result<()> {
    let what = format!("a request to wait at {}", cluster.name());
    let (deadline, metric) = (Instant::now() + SOON, "fedgate_exporter_waiting");
    while Instant::now() < deadline {
        if sum(cluster, metric).await? >= 1.0 {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    anyhow::bail!("timed out waiting for {what}")
}

/// The requests of this cluster that did not succeed.
async fn failures(cluster: &mut KubernetesCluster) -> Result<String> {
    let mut all = String::new();
    for replica in cluster.replicas() {
        let text = replica.get("/metrics").await?;
        let failed = text.lines().filter(|line| {
            line.starts_with("fedgate_importer_exchanges_total{") && !line.contains("\"Succeeded\"")
        });
        failed.for_each(|line| all += &format!("{}: {line}\n", replica.name()));
    }
    Ok(all)
}

fn names(cluster: &mut KubernetesCluster) -> Vec<String> {
    cluster.replicas().iter().map(|replica| replica.name().to_owned()).collect()
}

impl Rolling {
    async fn start(run: &RunFolder) -> Result<Self> {
        let mut pair = Pair::start_with(run, &[("FEDGATE_POLL", POLL)]).await?;
        for cluster in &mut pair.federation.clusters {
            cluster.start_replica().await?;
        }
        for cluster in &mut pair.federation.clusters {
            wait_waiting(cluster).await?;
        }
        Ok(Self { pair, services: 1 })
    }

    fn cluster(&mut self, index: usize) -> &mut KubernetesCluster {
        &mut self.pair.federation.clusters[index]
    }

    /// Exports another Service in beta. Returns its host.
    async fn export(&mut self) -> Result<String> {
        self.services += 1;
        let service = exported(&format!("s{}", self.services));
        self.pair.beta().put_service(&service).await?;
        Ok(service.host(&self.pair.beta().trust_domain()))
    }

    /// Checks that alpha has exactly what beta exports, and has deleted nothing.
    async fn nothing_is_lost(&self, audit: &AuditLog) -> Result<()> {
        let count = self.pair.alpha().count_imports().await?;
        ensure!(count == self.services, "{count} imports of {}", self.services);
        let deleted =
            audit.matching(|request| request.user == CONTROLLER && request.verb == "delete");
        ensure!(deleted.is_empty(), "{deleted:#?}");
        Ok(())
    }
}

#[test]
fn a_request_that_waits_at_a_stopped_replica_goes_to_another_at_once() {
    scenario("roll-exporter", async |run: &RunFolder| {
        let mut rolling = Rolling::start(run).await?;
        let audit = rolling.pair.alpha().plane().audit();
        let before = failures(rolling.cluster(0)).await?;
        for old in names(rolling.cluster(1)) {
            rolling.cluster(1).start_replica().await?;
            let during = rolling.export().await?;
            let stopped = Instant::now();
            let status = rolling.cluster(1).stop_replica(&old).await?;
            ensure!(status.success(), "{status}");
            wait_waiting(rolling.cluster(1)).await?;
            let waits = stopped.elapsed();
            let after = rolling.export().await?;
            for host in [during, after] {
                wait_imported(rolling.pair.alpha(), &host).await?;
            }
            let arrived = stopped.elapsed();
            eprintln!(
                "{old} stopped: alpha waits elsewhere after {waits:?}, all is there after {arrived:?}"
            );
            ensure!(waits < AT_ONCE && arrived < AT_ONCE, "{waits:?}, {arrived:?}");
        }
        // No request failed on the way: the replicas have answered what waited at them.
        let failed = failures(rolling.cluster(0)).await?;
        ensure!(failed == before, "before the roll:\n{before}after it:\n{failed}");
        rolling.nothing_is_lost(&audit).await
    });
}

#[test]
fn a_roll_of_both_sides_loses_no_change() {
    scenario("roll-both", async |run: &RunFolder| {
        let mut rolling = Rolling::start(run).await?;
        let audit = rolling.pair.alpha().plane().audit();
        let old = [names(rolling.cluster(0)), names(rolling.cluster(1))];
        for (alphas, betas) in old[0].iter().zip(&old[1]) {
            for index in [0, 1] {
                rolling.cluster(index).start_replica().await?;
            }
            let mut hosts = vec![rolling.export().await?];
            let stopped = Instant::now();
            let [alpha, beta] = &mut rolling.pair.federation.clusters;
            let (first, second) =
                tokio::try_join!(alpha.stop_replica(alphas), beta.stop_replica(betas))?;
            ensure!(first.success() && second.success(), "{first}, {second}");
            hosts.push(rolling.export().await?);
            for host in &hosts {
                wait_imported(rolling.pair.alpha(), host).await?;
            }
            eprintln!("{alphas} and {betas} stopped: all is there after {:?}", stopped.elapsed());
        }
        let imported = async || rolling.nothing_is_lost(&audit).await.map(|()| true);
        wait::until_true("nothing to be lost", SOON, imported).await
    });
}
