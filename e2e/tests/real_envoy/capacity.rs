//! What a machine gives is shared out, and nobody takes what is not there.

use crate::fixture::Pair;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::plain_greeting;
use fedgate_e2e::cluster::{Cluster, SOON};
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::ports;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait;
use std::net::{SocketAddr, TcpStream};

/// A site whose processes may all open 256 files, and strangers that open more connections than that.
#[test]
fn strangers_end_no_gateway_of_a_site_with_few_descriptors() {
    scenario("few-descriptors", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, beta| {
            beta.limit_open_files(Some(256));
            Ok(())
        })
        .await?;
        let finding = pair.beta().wait_finding("too_few_descriptors").await?;
        ensure!(finding.message.contains("256 files") && finding.severity == "warning", "{finding:?}");
        let validated = pair.beta().fedgate_in_folder(&["validate"]).await?;
        let said = String::from_utf8_lossy(&validated.stderr).into_owned();
        ensure!(said.contains("connections at a time"), "{said}");
        survives(&mut pair).await
    });
}

/// Only Envoy has few descriptors, which the controller cannot know until it sees that Envoy run.
#[test]
fn an_envoy_that_is_seen_with_few_descriptors_is_told_so_and_lives_from_its_next_start_on() {
    scenario("seen-descriptors", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let [_, beta] = &mut pair.federation.clusters;
        let limit = |beta: &Cluster| -> Result<u64> {
            let text = std::fs::read_to_string(beta.folder().join("envoy/gateway/bootstrap.json"))?;
            let value: serde_json::Value = serde_json::from_str(&text)?;
            let monitor = &value["overload_manager"]["resource_monitors"][0]["typed_config"];
            monitor["max_active_downstream_connections"].as_u64().context("a limit of connections")
        };
        let before = limit(beta)?;
        beta.limit_open_files(Some(256));
        beta.start_gateway().await?;
        // The controller looks whenever it compiles.
        pair.mail.apply(&pair.federation.clusters[1], |service| Service { exported: false, ..service })?;
        let beta = &mut pair.federation.clusters[1];
        let lowered = async || Ok(limit(beta)? < 128);
        wait::until_true("a limit that fits 256 files", SOON, lowered).await?;
        ensure!(before > 128, "it was {before}");
        let finding = beta.wait_finding("restart_needed").await?;
        ensure!(finding.message.contains("gateway/bootstrap.json"), "{finding:?}");
        beta.start_gateway().await?;
        pair.mail.apply(&pair.federation.clusters[1], Service::exported)?;
        pair.beta().wait_no_finding("restart_needed").await?;
        survives(&mut pair).await
    });
}

/// beta's gateway takes no more than it can, and works once the strangers are gone.
async fn survives(pair: &mut Pair) -> Result<()> {
    pair.web.wait_callable_from(pair.alpha()).await?;
    let gateway = pair.beta().gateway_address();
    let strangers: Vec<_> = (0..600).filter_map(|_| TcpStream::connect(gateway).ok()).collect();
    let counted =
        async || Ok(pair.beta().gateway()?.stat("listener.federation.downstream_global_cx_overflow").await? > 300);
    wait::until_true("connections to be refused and counted", SOON, counted).await?;
    drop(strangers);
    pair.web.wait_callable_from(pair.alpha()).await
}

/// beta announces more than alpha has ports for; gamma comes later and gets what it needs.
#[test]
fn one_peer_does_not_take_all_ports() {
    scenario("port-shares", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, _] = &mut federation.clusters;
        alpha.settings().egress_ports = ports::free_range(8)?;
        alpha.write_settings()?;
        let mut of_beta = Vec::new();
        for number in 0..12 {
            let mut deployed = Deployed::http(beta, &format!("web{number}")).await?;
            deployed.apply(beta, Service::exported)?;
            of_beta.push(deployed);
        }
        federation.start().await?;
        let [alpha, _, gamma] = &mut federation.clusters;
        let finding = alpha.wait_finding("no_egress_port").await?;
        ensure!(finding.message.contains("beta.example: it has 5 of 8 ports"), "{finding:?}");
        let before = ports_of(alpha, &of_beta).await?;
        ensure!(before.len() == 5, "{before:?}");

        let mut mail = Deployed::greeting(gamma, "mail").await?;
        mail.apply(gamma, Service::exported)?;
        let port = alpha.wait_import(&mail.name()).await?;
        plain_greeting(port).await?;
        alpha.kill_controller()?;
        alpha.start_controller().await?;
        ensure!(alpha.wait_import(&mail.name()).await? == port, "after a restart");
        ensure!(ports_of(alpha, &of_beta).await? == before, "after a restart");
        Ok(())
    });
}

async fn ports_of(cluster: &Cluster, services: &[Deployed]) -> Result<Vec<SocketAddr>> {
    let status = cluster.status().await?;
    Ok(services.iter().filter_map(|service| status.import(&service.name())).collect())
}
