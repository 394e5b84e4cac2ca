//! All peers see this cluster differently from one moment to the next, as after its metadata endpoint
//! was away. Each of them says so in its document, which wakes the request that waits there.

use crate::site::Site;
use anyhow::Result;
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::wait;
use std::time::{Duration, Instant};

/// How long it may take until all is calm.
const LONG: Duration = Duration::from_secs(120);
/// The documents that the controller has taken.
const DOCUMENTS: &str = "fedgate_importer_documents_total{document=\"private\"}";
/// The requests for private documents that succeeded.
const ANSWERS: &str = "fedgate_importer_exchanges_total{document=\"private\",reason=\"Succeeded\"}";

/// The views of all peers change twice. Fails if that costs more than a few compilations, or a
/// document counts as changed.
pub(crate) async fn change_at_once(site: &mut Site, fleet: &Fleet) -> Result<()> {
    for fails in [true, false] {
        change(site, fleet, fails).await?;
    }
    Ok(())
}

async fn change(site: &mut Site, fleet: &Fleet, fails: bool) -> Result<()> {
    let peers = site.answering(fleet).len() as f64;
    let (documents, answers) = (site.metric(DOCUMENTS).await?, site.metric(ANSWERS).await?);
    let first = site.meter().await?;
    let began = Instant::now();
    fleet.change_views(fails);
    let heard = async || Ok(site.metric(ANSWERS).await? >= answers + peers);
    wait::until_true("all views to be heard", LONG, heard).await?;
    let heard = began.elapsed();
    let mut compilations = site.metric("fedgate_compilations_total").await?;
    // Calm is a second without a compilation, with all requests waiting again.
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = site.metric("fedgate_compilations_total").await?;
        let waiting = site.metric("fedgate_importer_waiting").await?;
        if (now - compilations).abs() < 0.5 && waiting >= peers {
            break;
        }
        compilations = now;
        anyhow::ensure!(began.elapsed() < LONG, "not calm after {:?}", began.elapsed());
    }
    let calm = began.elapsed().saturating_sub(Duration::from_secs(1));
    let (_, text) = site.since(&first).await?;
    let changed = site.metric(DOCUMENTS).await? - documents;
    println!(
        "the views of {peers} peers change at once: all heard after {heard:.2?}, calm after {calm:.2?}; {text}; {changed} documents count as changed"
    );
    let made = compilations - first.compilations;
    site.limit(made <= site.scale.limits.views, format!("{made} compilations for views alone"));
    site.limit(calm < Duration::from_secs(60), format!("calm only after {calm:?}"));
    Ok(())
}
