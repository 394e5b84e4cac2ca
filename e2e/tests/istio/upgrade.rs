//! An upgrade from one build to the next under load. The next build's module differs only by a
//! custom section, which makes it another file.

use super::fixture::{Pair, of_delivery, run};
use super::load::Load;
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::{Key, NAMESPACE};
use fedgate_e2e::wait::SOON;
use fedgate_e2e::{programs, wait};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");

/// A WebAssembly custom section: ID 0, its size, and its length-prefixed name.
const SECTION: &[u8] = b"\x00\x05\x04next";

#[tokio::test(flavor = "multi_thread")]
async fn controllers_and_gateways_are_rolled_under_load() -> Result<()> {
    let run = run("upgrade")?;
    let mut pair = Pair::start_with(&run, &of_delivery("EnvoyFilter")).await?;
    pair.alpha.cluster.restart_with(&[("FEDGATE_CONNECTION_LIFETIME", "2s")]).await?;
    pair.beta.start_gateway().await?;
    let client = pair.client().await?;
    let old = module(&pair.beta.cluster.objects().wait_present(TABLE).await?);
    ensure!(old.ends_with(".wasm"), "the table names no file");
    let next = next_build(run.path())?;
    let host = pair.host();

    let beta = &mut pair.beta;
    let roll = async {
        // The controllers roll first: the new one starts, then the old one stops.
        beta.cluster.settings().insert("FEDGATE_FILTER_FILE".into(), next);
        let leader = beta.cluster.leader().await?;
        beta.cluster.start_replica().await?;
        beta.cluster.stop_replica(&leader).await?;
        let both =
            |object: &Value| object["binaryData"].as_object().is_some_and(|files| files.len() == 2);
        let modules = Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-filter");
        beta.cluster.objects().wait_for(modules, "to have both modules", both).await?;
        // Kubernetes timestamps have a resolution of one second: a Pod started in the same second
        // might count as older.
        let second = jiff::Timestamp::now().as_second();
        let later = async || Ok(jiff::Timestamp::now().as_second() > second);
        wait::until_true("the next second", Duration::from_secs(5), later).await?;

        // Then the gateway's Pods roll, one by one. While an old Pod exists, the table names the
        // old module.
        for _ in 0..2 {
            beta.start_gateway().await?;
            let named = module(&beta.cluster.objects().wait_present(TABLE).await?);
            ensure!(named == old, "the table names {named:?} though an old Pod is there");
            beta.retire_gateway().await?;
        }
        let another = |object: &Value| module(object) != old;
        beta.cluster.objects().wait_for(TABLE, "to name the next module", another).await?;
        let one =
            |object: &Value| object["binaryData"].as_object().is_some_and(|files| files.len() == 1);
        beta.cluster.objects().wait_for(modules, "to have the next module alone", one).await?;
        beta.wait_tables().await
    };
    Load::default().beside(&client, &host, roll).await?;
    // Naming another module makes no new generation of the table, so istiod may be about to send it.
    for pod in pair.beta.gateways() {
        let what = format!("{} to run {old} no more", pod.name());
        wait::until_true(&what, SOON, async || {
            Ok(!pod.agent().ask("/config_dump?resource=ecds_filters").await?.contains(&old))
        })
        .await?;
    }
    pair.wait_answers(&client).await
}

/// The module file named in the table's object; empty if there is none.
fn module(object: &Value) -> String {
    let text = object.to_string();
    let named = text.split_once(r#""filename":""#).and_then(|(_, rest)| rest.split_once('"'));
    named
        .map(|(file, _)| file.rsplit('/').next().unwrap_or_default().to_owned())
        .unwrap_or_default()
}

fn next_build(folder: &Path) -> Result<String> {
    let mut module = std::fs::read(programs::filter()?)?;
    module.extend(SECTION);
    let file = folder.join("next.wasm");
    std::fs::write(&file, module)?;
    Ok(file.display().to_string())
}
