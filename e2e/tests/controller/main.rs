//! One controller with thousands of peers. Run by `cargo xtask bench controller`, alone on the
//! machine. The numbers are in `docs/sizing.md`. `cargo xtask bench controller --short` is a check
//! that takes less than a minute.
//!
//! One server in this process plays all peers, so it shares the processors with the controller.

mod asking;
mod load;
mod scale;
mod site;
mod views;
mod waiting;
mod watch;

use anyhow::{Result, ensure};
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::long_scenario;
use scale::Scale;
use site::Site;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(1200);

#[test]
fn a_controller_with_thousands_of_peers() {
    let scale = Scale::of_run();
    long_scenario("controller", PATIENCE, async |run: &RunFolder| {
        let fleet = Fleet::start_with_gateways(scale.peers, scale.services).await?;
        let mut site = Site::new(run, &fleet, scale)?;
        site.cold(&fleet).await?;
        site.idle().await?;
        site.single_changes(&fleet).await?;
        site.local_changes().await?;
        views::change_at_once(&mut site, &fleet).await?;
        let imports = site.answering(&fleet).len() * site.scale.services;
        site.restart(site.scale.load.poll, imports).await?;
        load::seen_changes(&mut site, &fleet).await?;
        site.restart(site.scale.poll, imports).await?;
        asked(&mut site, &fleet).await?;
        ensure!(site.missed.is_empty(), "{}", site.missed.join("; "));
        Ok(())
    });
}

/// All peers poll this cluster, at the default pace and at the fastest one. Then they wait for a
/// change.
async fn asked(site: &mut Site, fleet: &Fleet) -> Result<()> {
    let askers = asking::prepare(site, fleet).await?;
    let time = site.scale.load.time;
    for pace in [30, 1] {
        asking::poll(site, &askers, Duration::from_secs(pace), time).await?;
    }
    waiting::one_change(site, &askers[..askers.len().min(100)], "one-more").await?;
    waiting::one_change(site, &askers, "another").await?;
    Ok(())
}
