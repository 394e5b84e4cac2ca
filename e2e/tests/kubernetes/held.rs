//! A document that would remove a lot is held until an operator releases it.

use crate::events::Events;
use crate::fixture::{
    exported, import_objects, peer, wait_condition, wait_imported, wait_not_imported,
};
use crate::trio::Trio;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::kubernetes::KubernetesCluster;
use fedgate_e2e::metadata_proxy::{MetadataProxy, PRIVATE, PUBLIC, Reply};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// gamma's Services.
const SERVICES: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];

/// A document as DKP writes it, without sequence, count and health name, and with only the first
/// services.
fn as_dkp(path: &str, mut reply: Reply, services: usize) -> Reply {
    if let Ok(Value::Object(mut document)) = serde_json::from_slice(&reply.body)
        && [PUBLIC, PRIVATE].contains(&path)
    {
        document.remove("fedgate");
        if let Some(all) = document.get_mut("publicServices").and_then(Value::as_array_mut) {
            let announced = |host: &str| {
                SERVICES.iter().take(services).any(|name| host.starts_with(&format!("{name}.")))
            };
            all.retain(|service| service["hostname"].as_str().is_some_and(announced));
        }
        reply.body = Value::Object(document).to_string().into_bytes();
    }
    reply
}

/// Makes gamma a DKP peer of alpha. The number sets how many services it announces.
async fn dkp_peer(trio: &Trio) -> Result<(MetadataProxy, Arc<AtomicUsize>)> {
    let [alpha, _, gamma] = trio.clusters();
    let (proxy, count) = (
        MetadataProxy::in_front_of_kubernetes(gamma).await?,
        Arc::new(AtomicUsize::new(SERVICES.len())),
    );
    let services = Arc::clone(&count);
    proxy.alter(move |path, reply| as_dkp(path, reply, services.load(Ordering::Relaxed)));
    alpha.remove_peer("gamma").await?;
    alpha.objects().wait_absent(crate::fixture::config_map("fedgate-peer-gamma")).await?;
    alpha.put_peer_at(gamma, &proxy.url()).await?;
    Ok((proxy, count))
}

/// Waits for a held document other than `before`, and returns the digits that accept it.
async fn held(alpha: &KubernetesCluster, before: &str) -> Result<String> {
    wait::until("another document to be held", SOON, async || {
        let object =
            wait_condition(alpha, "gamma", "Held", ("True", "HeldDocument")).await?.to_string();
        let (_, rest) = object
            .split_once("accept-document: \\\"")
            .with_context(|| format!("no advice: {object}"))?;
        let id: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        Ok((id.len() == 16 && id != before).then_some(id))
    })
    .await
}

async fn accept(alpha: &KubernetesCluster, id: &str) -> Result<()> {
    let annotation =
        json!({ "metadata": { "annotations": { "fedgate.dev/accept-document": id } } });
    alpha.objects().patch(peer("gamma"), &annotation).await.map(drop)
}

/// The fingerprints of gamma's roots that alpha trusts, and the ID of what is held.
async fn trust(alpha: &KubernetesCluster) -> Result<(Value, Option<String>)> {
    let output = alpha.fedgate(&["status", "--output", "json"]).await?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let peers = status["peers"].as_array().cloned().unwrap_or_default();
    let gamma = peers.into_iter().find(|peer| peer["name"] == "gamma").unwrap_or_default();
    Ok((gamma["roots"].clone(), gamma["heldTrust"]["id"].as_str().map(str::to_owned)))
}

#[test]
fn a_swapped_root_is_held_until_an_operator_approves_it() {
    scenario("held-root", async |run: &RunFolder| {
        let trio = Trio::start(run).await?;
        let [alpha, _, gamma] = trio.clusters();
        let host = exported("s1").host(&gamma.trust_domain());
        gamma.put_service(&exported("s1")).await?;
        let (proxy, _) = dkp_peer(&trio).await?;
        wait_imported(alpha, &host).await?;
        let approve = json!({ "fedgate.dev/root-change": "Approve" });
        let annotation = json!({ "metadata": { "annotations": approve } });
        alpha.objects().patch(peer("gamma"), &annotation).await?;
        let (known, _) = trust(alpha).await?;

        let swapped = Authority::root("swapped root of gamma")?.pem();
        proxy.alter_json(PUBLIC, move |document| document["rootCA"] = swapped.clone().into());
        wait_condition(alpha, "gamma", "Held", ("True", "RootsChanged")).await?;
        Events::of(alpha, peer("gamma"))
            .await?
            .wait_event("Warning", "RootsChanged", "held since")
            .await?;
        let (still, held) = trust(alpha).await?;
        let held = held.context("nothing is held")?;
        ensure!(still == known, "{still}");
        wait_imported(alpha, &host).await?;

        let other = "0".repeat(32);
        let wrong = alpha.fedgate(&["peer", "approve", "gamma", "--id", &other]).await?;
        ensure!(wrong.status.code() == Some(1), "{wrong:?}");
        let shown = alpha.fedgate(&["peer", "approve", "gamma", "--dry-run"]).await?;
        ensure!(String::from_utf8_lossy(&shown.stdout).contains(&held), "{shown:?}");
        let object = alpha.objects().wait_present(peer("gamma")).await?;
        ensure!(object["metadata"]["annotations"]["fedgate.dev/approve"].is_null(), "{object}");

        let approved = alpha.fedgate(&["peer", "approve", "gamma", "--id", &held]).await?;
        ensure!(approved.status.success(), "{approved:?}");
        wait_condition(alpha, "gamma", "Held", ("False", "Believed")).await?;
        wait::until_true("the new root", SOON, async || Ok(trust(alpha).await?.0 != known)).await
    });
}

#[test]
fn an_operator_releases_exactly_the_document_that_is_held() {
    scenario("held", async |run: &RunFolder| {
        let trio = Trio::start(run).await?;
        let [alpha, _, gamma] = trio.clusters();
        let hosts = SERVICES.map(|name| exported(name).host(&gamma.trust_domain()));
        for name in SERVICES {
            gamma.put_service(&exported(name)).await?;
        }
        let (proxy, count) = dkp_peer(&trio).await?;
        for host in &hosts {
            wait_imported(alpha, host).await?;
        }

        count.store(1, Ordering::Relaxed);
        let first = held(alpha, "").await?;
        Events::of(alpha, peer("gamma"))
            .await?
            .wait_event("Warning", "HeldDocument", &first)
            .await?;
        let output = alpha.fedgate(&["status"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains("fedgate.dev/accept-document") && text.contains(&first), "{text}");

        // The digits of a document that is no longer announced release nothing.
        count.store(2, Ordering::Relaxed);
        let second = held(alpha, &first).await?;
        accept(alpha, &first).await?;
        let enough = proxy.requests(PRIVATE) + 3;
        wait::until_true("three more rounds", SOON, async || Ok(proxy.requests(PRIVATE) >= enough))
            .await?;
        ensure!(held(alpha, "").await? == second);
        for key in import_objects(&hosts[4]) {
            ensure!(alpha.objects().get(key).await?.is_some(), "{key} was taken away");
        }

        accept(alpha, &second).await?;
        for host in &hosts[2..] {
            wait_not_imported(alpha, host).await?;
        }
        wait_condition(alpha, "gamma", "Held", ("False", "Believed")).await?;
        for host in &hosts[..2] {
            wait_imported(alpha, host).await?;
        }
        Ok(())
    });
}
