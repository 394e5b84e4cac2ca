//! What many imports cost istiod and a sidecar, without the binding to the peer's roots, and with
//! each form of it.
//!
//! Run by `cargo xtask bench istio`. Asserts that each form binds every cluster that it should, and
//! that no call fails while imports and roots are added.

mod delivery;
mod measure;
mod sidecar;
mod site;

use super::fixture::run;
use anyhow::{Context, Result};
use fedgate_e2e::measure::number;
use serde_json::{Value, json};
use site::{Site, patches};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes: cargo xtask bench istio"]
async fn bindings_of_several_hundred_imports() -> Result<()> {
    let run = run("cost")?;
    let mut site = Site::start(&run, 400).await?;
    let bindings = site.bindings().await?;
    site.stop_controller().await?;
    let all: Vec<Value> = patches(&bindings).cloned().collect();

    // A mesh's first sidecar waits for work that istiod has not done yet.
    site.measure("warming up", 1).await?;
    site.measure(&format!("as built, {} objects", bindings.len()), 1).await?;
    site.replace(&[]).await?;
    site.measure("no binding", 0).await?;
    site.replace(std::slice::from_ref(&all)).await?;
    site.measure("one object for the peer", 1).await?;
    site.replace(&all.into_iter().map(|patch| vec![patch]).collect::<Vec<_>>()).await?;
    site.measure("an object for each host", 1).await
}

/// The patches of 5,000 hosts fit into no single object, and an object for each host would take
/// istiod minutes: a few large objects take their place.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes: cargo xtask bench istio"]
async fn bindings_of_thousands_of_imports() -> Result<()> {
    let run = run("cost-of-thousands")?;
    let mut site = Site::start(&run, number("COST_IMPORTS", 5000)).await?;
    let client = site.client().await?;
    site.add_imports_under_load(&client).await?;
    site.add_root_under_load(&client).await?;
    drop(client);
    site.stop_controller().await?;
    let bindings = site.bindings().await?;
    let all: Vec<Value> = patches(&bindings).cloned().collect();

    site.measure(&format!("as built, {} objects", bindings.len()), 2).await?;
    let named: Vec<_> = bindings.iter().map(by_cluster).collect::<Result<_>>()?;
    site.replace(&named).await?;
    site.measure("the same objects, matching clusters by name", 2).await?;
    let fewer: Vec<_> = all.chunks(700).map(<[Value]>::to_vec).collect();
    site.replace(&fewer).await?;
    site.measure(&format!("{} objects", fewer.len()), 2).await?;
    site.replace(&[]).await?;
    site.measure("no binding", 0).await
}

/// The patches of an object, each for one cluster instead of a host.
fn by_cluster(binding: &Value) -> Result<Vec<Value>> {
    let mut found: Vec<Value> = patches(std::slice::from_ref(binding)).cloned().collect();
    for patch in &mut found {
        let cluster = &mut patch["match"]["cluster"];
        let host = cluster["service"].as_str().context("a patch without a host")?;
        *cluster = json!({ "name": format!("outbound|80||{host}") });
    }
    Ok(found)
}
