//! The controller may be stopped, killed or restarted: gateways go on with what they have.

use crate::fixture::Pair;
use anyhow::{Context, ensure};
use fedgate_e2e::client::{plain_greeting, send_line};
use fedgate_e2e::run_folder::{RunFolder, files_below};
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::time::Duration;

#[test]
fn gateways_restart_without_a_controller() {
    scenario("controller-down", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let egress = pair.alpha().wait_import(&pair.web.name()).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        alpha.kill_controller()?;
        beta.kill_controller()?;
        beta.start_gateway().await?;
        alpha.start_egress().await?;
        pair.web.call_through(egress).await?;
        let refused = fedgate_e2e::client::Client::new(None)?;
        pair.web.refuses(&refused, pair.beta()).await.map(drop)
    });
}

/// A restarted controller starts from `state/`. With the peers out of reach nothing changes, and no
/// connection is cut.
#[test]
fn a_restarted_controller_starts_from_its_saved_state() {
    scenario("controller-restart", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let egress = pair.alpha().wait_import(&pair.mail.name()).await?;
        let web = pair.alpha().wait_import(&pair.web.name()).await?;
        let (mut connection, _) = plain_greeting(egress).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        // alpha cannot fetch from beta, nor beta from alpha.
        beta.kill_controller()?;
        alpha.kill_controller()?;
        alpha.start_controller().await?;
        ensure!(
            alpha.wait_import(&pair.mail.name()).await? == egress,
            "the import has another port"
        );
        pair.web.call_from(alpha).await?;
        alpha.kill_controller()?;
        beta.start_controller().await?;
        pair.web.call_through(web).await?;
        ensure!(
            send_line(&mut connection, "still here").await? == "250 still here",
            "the open connection was cut"
        );
        Ok(())
    });
}

/// On SIGTERM it exits by itself within seconds.
#[test]
fn the_controller_shuts_down_cleanly() {
    scenario("controller-stops", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let [_, beta] = &mut pair.federation.clusters;
        let status = beta.controller()?.terminate(SOON).await?;
        ensure!(status.success(), "it ended with {status}");
        pair.web.call_from(pair.alpha()).await.map(drop)
    });
}

/// Killed repeatedly while it writes: half-written files are never read, and it starts from what is
/// left.
#[test]
fn a_controller_killed_while_writing_starts_again() {
    scenario("controller-killed", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        for round in 0..5 {
            let [_, beta] = &mut pair.federation.clusters;
            for change in 0..3 {
                pair.mail.apply(beta, |service| {
                    service.for_peers(&format!("alpha,none-{round}-{change}"))
                })?;
            }
            // Each millisecond more or less is written.
            tokio::time::sleep(Duration::from_millis(round * 7)).await;
            beta.kill_controller()?;
            beta.start_controller().await?;
            pair.web.call_from(pair.alpha()).await.with_context(|| format!("round {round}"))?;
        }
        // A kill can also leave an incomplete file behind.
        let [_, beta] = &mut pair.federation.clusters;
        beta.kill_controller()?;
        for file in files_below(&beta.folder().join("state"))? {
            let bytes = std::fs::read(&file)?;
            std::fs::write(&file, &bytes[..bytes.len() / 2])?;
        }
        beta.start_controller().await?;
        pair.web.wait_callable_from(pair.alpha()).await
    });
}

/// Changes in the operator's own folder are picked up at once, not at the next poll.
#[test]
fn changes_in_the_folder_are_picked_up_at_once() {
    scenario("watch", async |run: &RunFolder| {
        let slow = |_: &mut _, beta: &mut fedgate_e2e::cluster::Cluster| {
            beta.settings().poll = "1h".into();
            beta.write_settings()
        };
        let mut pair = Pair::start(run, slow).await?;
        let table = pair.beta().folder().join("envoy/gateway/filter/filter.json");
        let before = std::fs::read(&table)?;
        pair.mail.apply(&pair.federation.clusters[1], |service| service.for_peers("none"))?;
        let changed = async || Ok(std::fs::read(&table)? != before);
        wait::until_true("the new table", SOON, changed).await
    });
}
