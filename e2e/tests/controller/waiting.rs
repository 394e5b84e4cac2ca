//! All peers wait at this cluster's metadata endpoint for a change.

use crate::site::{Site, export, percentiles};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::fleet::Asker;
use fedgate_e2e::wait;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Within this time a change reaches as many peers as [`FEW`].
const SOON: Duration = Duration::from_millis(200);
const FEW: usize = 100;
/// How many connect at once. One that does not wait yet gives up its place if too many do.
const AT_ONCE: usize = 100;
/// What a peer that waits may take, in KiB.
const MOST_KIB: u64 = 50;

/// One change reaches all these peers, which wait. Fails if one is not answered, if it takes too
/// long, or if a peer that waits takes too much memory.
pub(crate) async fn one_change(site: &mut Site, askers: &[Arc<Asker>], name: &str) -> Result<()> {
    // Those that do not know the current document are answered at once.
    for asker in askers {
        asker.round().await?;
    }
    let before = site.memory_kib()?;
    let mut waiting = JoinSet::new();
    for some in askers.chunks(AT_ONCE) {
        for asker in some {
            let asker = Arc::clone(asker);
            waiting.spawn(async move { asker.wait_for_change().await });
        }
        let begun = waiting.len() as f64;
        let all = async || Ok(site.metric("fedgate_exporter_waiting").await? >= begun);
        wait::until_true("all peers to wait", wait::SOON, all).await?;
    }
    let peers = askers.len();
    let each = site.memory_kib()?.saturating_sub(before) / peers as u64;

    let table = site.cluster.folder().join("envoy/gateway/filter/filter.json");
    let old = std::fs::read(&table)?;
    site.cluster.put_service(&export(name))?;
    let written = async || Ok(std::fs::read(&table)? != old);
    wait::until_true("the table", wait::SOON, written).await?;
    // Some answers may be there before this program has seen the table.
    let age = std::fs::metadata(&table)?.modified()?.elapsed()?;
    let began = Instant::now().checked_sub(age).context("a table from before the start")?;
    let mut times = Vec::new();
    for answer in waiting.join_all().await {
        let (status, at) = answer?;
        ensure!(status == 200, "a peer that waited got {status}");
        times.push(at.saturating_duration_since(began));
    }
    let what = format!("{peers} peers wait ({each} KiB each here): from the table to the answer");
    percentiles(&what, &mut times);
    let soon = times.iter().filter(|time| **time <= SOON).count();
    println!("{soon} of {peers} within {SOON:?}");
    site.limit(soon >= peers.min(FEW), format!("a change reached {soon} peers within {SOON:?}"));
    if peers > FEW {
        site.limit(each < MOST_KIB, format!("{each} KiB for each peer that waits"));
    }
    Ok(())
}
