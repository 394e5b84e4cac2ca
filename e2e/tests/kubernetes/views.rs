//! Many peers see this cluster differently from one moment to the next.

use anyhow::{Result, ensure};
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::kubernetes::{CONTROLLER, KubernetesCluster};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait;
use std::net::Ipv4Addr;
use std::time::Duration;

const PEERS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(90);
const ANSWERS: &str = "fedgate_importer_exchanges_total{document=\"private\",reason=\"Succeeded\"}";

/// Changes something at all peers, and waits until the controller has heard of it from each and
/// waits there again.
async fn all_heard(alpha: &KubernetesCluster, change: impl FnOnce()) -> Result<()> {
    let replica = alpha.first_replica()?;
    let before = replica.metric(ANSWERS).await?;
    change();
    let heard = async || {
        let answers = replica.metric(ANSWERS).await? - before;
        let waiting = replica.metric("fedgate_importer_waiting").await?;
        Ok(answers >= PEERS as f64 && waiting >= PEERS as f64)
    };
    wait::until_true("all peers to be heard", PATIENCE, heard).await
}

#[test]
fn what_peers_see_of_this_cluster_for_a_moment_is_not_written_down() {
    scenario("views", async |run: &RunFolder| {
        let fleet = Fleet::start(PEERS, 1).await?;
        let mut alpha = KubernetesCluster::start(run, "alpha").await?;
        alpha.objects().apply(&fleet.federations()).await?;
        alpha.start_replica().await?;
        let imported = async || Ok(alpha.count_imports().await? == PEERS);
        wait::until_true("an import of each peer", PATIENCE, imported).await?;
        let waiting = async || {
            let waiting = alpha.first_replica()?.metric("fedgate_importer_waiting").await?;
            Ok(waiting >= PEERS as f64)
        };
        wait::until_true("a request to wait at each peer", PATIENCE, waiting).await?;
        let writes = |audit: &fedgate_e2e::kubernetes::AuditLog| {
            let writes = audit.writes_by(CONTROLLER).into_iter();
            writes.filter(|request| request.resource != "leases").collect::<Vec<_>>()
        };
        // What the probes found is written at first, and the history of it within eleven seconds.
        let calm = async || {
            let audit = alpha.plane().audit();
            let none = async || Ok(writes(&audit).is_empty());
            Ok(wait::stays("nothing is written", Duration::from_secs(12), none).await.is_ok())
        };
        wait::until_true("the first writes to end", PATIENCE, calm).await?;

        let audit = alpha.plane().audit();
        for fails in [true, false] {
            all_heard(&alpha, || fleet.change_views(fails)).await?;
        }
        let written = writes(&audit);
        ensure!(written.is_empty(), "{} writes, such as {:?}", written.len(), written.first());
        // The counterpart: what is in force is written.
        let before = alpha.plane().audit();
        fleet.move_gateway(7, Ipv4Addr::new(198, 18, 255, 1))?;
        let moved = async || Ok(!writes(&before).is_empty());
        wait::until_true("a moved gateway to be written", PATIENCE, moved).await
    });
}
