//! A peer is removed.

use crate::fixture::{
    TABLE, at_rest, config_map, exported, import_objects, peer, versions, wait_condition,
    wait_imported, wait_not_imported,
};
use crate::table::TableObject;
use crate::trio::Trio;
use anyhow::{Result, bail, ensure};
use fedgate_e2e::kubernetes::KubernetesCluster;
use fedgate_e2e::kubernetes::objects::Key;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;

const BUNDLE: &str = "fedgate-trust-bundle";

/// Waits until the gateway trusts roots of exactly these trust domains.
async fn wait_trusted(cluster: &KubernetesCluster, expected: &[&str]) -> Result<()> {
    let trusted = |object: &Value| {
        let bundles: Value = serde_json::from_str(object["data"]["bundles.json"].as_str()?).ok()?;
        Some(bundles["trust_domains"].as_object()?.keys().eq(expected))
    };
    let what = format!("to have the roots of {expected:?}");
    cluster
        .objects()
        .wait_for(config_map(BUNDLE), &what, |object| trusted(object) == Some(true))
        .await
        .map(drop)
}

async fn wait_rows(table: &TableObject<'_>, expected: &[&str]) -> Result<()> {
    let what = format!("the table to have the peers {expected:?}");
    wait::until_true(&what, SOON, async || Ok(table.peers().await? == expected)).await
}

/// Fails and shows the object if any of them was written since.
async fn unchanged(
    cluster: &KubernetesCluster,
    keys: &[Key<'_>],
    before: &[[Value; 2]],
) -> Result<()> {
    for ((key, now), before) in keys.iter().zip(versions(cluster, keys).await?).zip(before) {
        if now != *before {
            let object = cluster.objects().get(*key).await?;
            bail!("{key}, which is beta's, was written: {object:?}");
        }
    }
    Ok(())
}

#[test]
fn a_removed_peer_leaves_nothing_behind_and_affects_no_other() {
    scenario("removal", async |run: &RunFolder| {
        let trio = Trio::start(run).await?;
        let [web, stock] = trio.export_to_alpha(&exported("web"), &exported("stock")).await?;
        let [alpha, _, gamma] = trio.clusters();
        let table = TableObject { run, cluster: alpha };
        for name in ["beta", "gamma"] {
            wait_condition(alpha, name, "RootsAcknowledged", ("True", "Acknowledged")).await?;
        }
        wait_rows(&table, &["beta", "gamma"]).await?;
        wait_trusted(alpha, &["beta.example", "gamma.example"]).await?;
        let memory = config_map("fedgate-peer-gamma");
        alpha.objects().wait_present(memory).await?;
        let mut of_beta = import_objects(&web).to_vec();
        of_beta.extend([config_map("fedgate-peer-beta"), peer("beta")]);
        let before = at_rest(alpha, &of_beta).await?;

        alpha.remove_peer("gamma").await?;
        wait_not_imported(alpha, &stock).await?;
        alpha.objects().wait_absent(memory).await?;
        wait_trusted(alpha, &["beta.example"]).await?;
        wait_rows(&table, &["beta"]).await?;
        unchanged(alpha, &of_beta, &before).await?;
        let table_object = alpha.objects().wait_present(TABLE).await?["metadata"]["uid"].clone();

        // The peer may return; the table is overwritten.
        alpha.put_peer(gamma).await?;
        wait_imported(alpha, &stock).await?;
        wait_trusted(alpha, &["beta.example", "gamma.example"]).await?;
        wait_rows(&table, &["beta", "gamma"]).await?;
        let now = alpha.objects().wait_present(TABLE).await?;
        ensure!(now["metadata"]["uid"] == table_object, "the table is another object");
        unchanged(alpha, &of_beta, &before).await?;
        Ok(())
    });
}
