//! etcd is restored from a backup while the controllers are running.

use crate::fixture::{
    Pair, TABLE, exported, peer, wait_condition, wait_imported, wait_not_imported,
};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::kubernetes::{Key, SHOP, install};
use fedgate_e2e::manifest;
use fedgate_e2e::metadata_proxy::PUBLIC;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long after the API server is ready again both replicas may take to publish the restored
/// state.
const BOUND: Duration = Duration::from_secs(60);

/// The header of the cluster's table: `generation`, `exports`, `peers`.
async fn table(pair: &Pair) -> Result<[u64; 3]> {
    let table = pair.alpha().objects().wait_present(TABLE).await?.to_string();
    let number = |field: &str| {
        let (_, rest) = table
            .split_once(&format!("\\\"{field}\\\":"))
            .with_context(|| format!("no {field}: {table}"))?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        anyhow::Ok(digits.parse()?)
    };
    Ok([number("generation")?, number("exports")?, number("peers")?])
}

async fn wait_table(
    pair: &Pair,
    deadline: Duration,
    newer_than: u64,
    rows: [u64; 2],
) -> Result<u64> {
    let what = format!("a table newer than {newer_than} with {rows:?} exports and peers");
    wait::until(&what, deadline, async || {
        let [generation, exports, peers] = table(pair).await?;
        ensure!(
            generation > newer_than && [exports, peers] == rows,
            "generation {generation}: {exports}, {peers}"
        );
        Ok(Some(generation))
    })
    .await
}

/// Waits until each of alpha's replicas publishes these roots.
async fn wait_published(pair: &mut Pair, deadline: Duration, wanted: &str) -> Result<()> {
    let ca = reqwest::Certificate::from_pem(pair.alpha().metadata_authority().pem().as_bytes())?;
    let client =
        reqwest::Client::builder().tls_certs_only([ca]).timeout(Duration::from_secs(5)).build()?;
    for replica in pair.alpha_mut().replicas() {
        let url = format!("https://{}/metadata{PUBLIC}", replica.metadata());
        wait::until_true(
            &format!("{} to publish the roots", replica.name()),
            deadline,
            async || {
                let document: Value = client.get(&url).send().await?.json().await?;
                Ok(document["rootCA"].as_str().is_some_and(|found| roots(found) == roots(wanted)))
            },
        )
        .await?;
    }
    Ok(())
}

#[test]
fn after_a_restore_of_etcd_all_replicas_publish_the_restored_state() {
    scenario("restore", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        pair.alpha_mut().start_replica().await?;
        let [kept, taken_back, lost] = ["kept", "taken-back", "lost"].map(exported);
        let domain = pair.alpha().trust_domain();
        let ghost = manifest::federation(
            "ghost",
            "ghost.example",
            "https://127.0.0.1:1/metadata",
            &pair.alpha().metadata_authority().pem(),
        );
        pair.alpha().objects().apply(&ghost).await?;
        for service in [&kept, &taken_back] {
            pair.alpha().put_service(service).await?;
            wait_imported(pair.beta(), &service.host(&domain)).await?;
        }
        // The health name counts as an export.
        let before = wait_table(&pair, SOON, 0, [3, 2]).await?;
        pair.alpha_mut().plane_mut().back_up(run).await?;

        // Changes that the restore undoes: a new export, a deleted Service, a deleted peer, another
        // root.
        pair.alpha().put_service(&lost).await?;
        pair.alpha().objects().delete(Key::namespaced("v1", "Service", SHOP, "taken-back")).await?;
        pair.alpha().objects().delete(peer("ghost")).await?;
        let old = pair.alpha().authority().pem();
        let both = old.clone() + &Authority::root("another root of alpha")?.pem();
        install::mesh_root_certificate(pair.alpha().objects(), &both).await?;
        wait_imported(pair.beta(), &lost.host(&domain)).await?;
        wait_not_imported(pair.beta(), &taken_back.host(&domain)).await?;
        wait_published(&mut pair, SOON, &both).await?;
        let gone = wait_table(&pair, SOON, before, [3, 1]).await?;

        pair.alpha_mut().plane_mut().restore(run).await?;
        let restored = Instant::now();
        wait_published(&mut pair, BOUND, &old).await?;
        let after =
            wait_table(&pair, BOUND.saturating_sub(restored.elapsed()), gone, [3, 2]).await?;
        wait_imported(pair.beta(), &taken_back.host(&domain)).await?;
        wait_not_imported(pair.beta(), &lost.host(&domain)).await?;
        wait_condition(pair.alpha(), "beta", "Accepted", ("True", "Accepted")).await?;
        pair.wait_imported().await?;
        for replica in pair.alpha_mut().replicas() {
            replica.wait_ready().await?;
        }
        eprintln!(
            "restored {:?} after the API server: generation {before}, lost {gone}, now {after}",
            restored.elapsed()
        );
        ensure!(restored.elapsed() < BOUND, "{:?}", restored.elapsed());
        Ok(())
    });
}

/// The set of certificates in a PEM text.
fn roots(pem: &str) -> BTreeSet<String> {
    let blocks = pem.split("-----END CERTIFICATE-----");
    let body = |block: &str| {
        block
            .split_once("-----BEGIN CERTIFICATE-----")
            .map(|(_, body)| body.split_whitespace().collect())
    };
    blocks.filter_map(body).collect()
}
