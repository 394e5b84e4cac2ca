//! Gateways of one peer in several zones, and of either address family.

use crate::fixture::Pair;
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::balancer::Balancer;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait;
use std::time::Duration;

/// As long as a gateway may be out of rotation.
const BACK: Duration = Duration::from_secs(90);

/// alpha, whose egress has this locality, and beta, whose gateway has two addresses: one in
/// `eu/a`, one in `us/b`.
async fn start(
    run: &RunFolder,
    locality: Option<&str>,
    [near, far]: [&Balancer; 2],
) -> Result<Pair> {
    Pair::start(run, |alpha, beta| {
        for balancer in [near, far] {
            balancer.set_targets(vec![beta.gateway_address()]);
        }
        let told = format!("['{}@eu/a', '{}@us/b']", near.address(), far.address());
        beta.settings().more.gateway.push(format!("advertiseTo: {{alpha: {told}}}"));
        beta.write_settings()?;
        let locality = locality.map(|locality| format!("locality: {locality}"));
        alpha.settings().more.egress.extend(locality);
        alpha.write_settings()
    })
    .await
}

/// How many of several calls went to each.
async fn calls(pair: &Pair, balancers: [&Balancer; 2], count: usize) -> Result<[usize; 2]> {
    let egress = pair.alpha().wait_import(&pair.web.name()).await?;
    let before = balancers.map(Balancer::accepted);
    // Each call at once: the controller probes the gateways now and then.
    for _ in 0..count {
        pair.web.call_through(egress).await?;
    }
    let [near, far] = balancers.map(Balancer::accepted);
    Ok([near - before[0], far - before[1]])
}

#[test]
fn the_nearest_gateway_is_called_and_another_one_takes_over() {
    scenario("zones", async |run: &RunFolder| {
        let (near, far) = (Balancer::start().await?, Balancer::start().await?);
        let both = [&near, &far];
        let pair = start(run, Some("eu/a"), both).await?;
        let used = calls(&pair, both, 10).await?;
        // The controller probes each of them.
        ensure!(used[0] >= 10 && used[1] <= 1, "{used:?}");

        near.set_targets(Vec::new());
        pair.web.wait_callable_from(pair.alpha()).await?;
        let used = calls(&pair, both, 10).await?;
        ensure!(used[1] >= 10, "{used:?}");

        near.set_targets(vec![pair.federation.clusters[1].gateway_address()]);
        wait::until_true("the near gateway to be used again", BACK, async || {
            Ok(calls(&pair, both, 5).await?[1] <= 1)
        })
        .await
    });
}

/// The twin: who does not know where it is calls all of them.
#[test]
fn without_a_locality_of_its_own_an_egress_calls_all_gateways() {
    scenario("zones-unknown", async |run: &RunFolder| {
        let (near, far) = (Balancer::start().await?, Balancer::start().await?);
        let both = [&near, &far];
        let pair = start(run, None, both).await?;
        let used = calls(&pair, both, 20).await?;
        ensure!(used.iter().all(|used| *used >= 5), "{used:?}");
        Ok(())
    });
}

#[test]
fn a_peer_may_have_ipv6_alone() {
    scenario("ipv6", async |run: &RunFolder| {
        let pair = Pair::start(run, |_, beta| {
            let settings = beta.settings();
            settings.gateway.set_ip("::1".parse()?);
            settings.advertise = vec![settings.gateway];
            beta.write_settings()
        })
        .await?;
        pair.web.call_from(pair.alpha()).await?;
        let alpha = pair.alpha();
        alpha.wait_condition("beta", "DataplaneConnectionReady", ["True", "Succeeded"]).await?;
        let status = alpha.status().await?;
        let gateways = status.0["imports"][0]["gateways"].to_string();
        ensure!(gateways.contains("[::1]:"), "{gateways}");
        Ok(())
    });
}
