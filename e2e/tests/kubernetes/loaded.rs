//! The controller reports which table is in force in the gateway.

use crate::fixture::{Pair, at_rest, exported, peer, wait_condition};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::gateway::GatewayStub;
use fedgate_e2e::kubernetes::{CONTROLLER, Key, NAMESPACE};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::time::Duration;

const TABLE: &str = "TableLoaded";

/// The generation of the cluster's current table.
async fn generation(pair: &Pair) -> Result<u64> {
    let metric = pair.alpha_metric("fedgate_table_generation").await?;
    Ok(metric as u64)
}

#[test]
fn a_gateway_with_an_old_table_is_reported_and_a_current_one_is_not() {
    scenario("loaded", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let alpha = pair.alpha();
        // No server answers at the Pod's address.
        let unknown = wait_condition(alpha, "beta", TABLE, ("Unknown", "Unreachable")).await?;
        ensure!(
            unknown.to_string().contains("fedgate-gateway-1: Connection refused"),
            "{unknown:#}"
        );

        let gateway = GatewayStub::start(alpha).await?;
        gateway.loads(generation(&pair).await?);
        wait_condition(alpha, "beta", TABLE, ("True", "Loaded")).await?;
        wait::until_true("the metric to say so", SOON, async || {
            Ok(pair.alpha_metric("fedgate_gateway_pods{state=\"Loaded\"}").await? == 1.0)
        })
        .await?;
        let output = alpha.fedgate(&["status"]).await?;
        ensure!(
            String::from_utf8_lossy(&output.stdout).contains("in force in every gateway Pod"),
            "{output:?}"
        );

        // If the gateway loads each new table soon, the status does not change.
        at_rest(alpha, &[peer("beta")]).await?;
        let audit = alpha.plane().audit();
        for name in ["one", "two", "three"] {
            let before = generation(&pair).await?;
            alpha.put_service(&exported(name)).await?;
            wait::until_true("a new table", SOON, async || Ok(generation(&pair).await? > before))
                .await?;
            gateway.loads(generation(&pair).await?);
        }
        let written = || {
            audit.matching(|request| {
                request.user == CONTROLLER
                    && request.resource == "istiofederations"
                    && request.verb == "patch"
            })
        };
        let quiet = wait::stays("no status is written", Duration::from_secs(3), async || {
            Ok(written().is_empty())
        })
        .await;
        quiet.with_context(|| format!("{:?}", written()))?;

        // A gateway that does not load the new table.
        let stays = generation(&pair).await?;
        alpha.objects().delete(Key::namespaced("v1", "Service", "shop", "one")).await?;
        let behind = wait_condition(alpha, "beta", TABLE, ("False", "Behind")).await?;
        let expected = format!("fedgate-gateway-1 stays at generation {stays}");
        ensure!(behind.to_string().contains(&expected), "{behind:#}");
        let output = alpha.fedgate(&["status"]).await?;
        ensure!(
            !output.status.success() && String::from_utf8_lossy(&output.stdout).contains(&expected),
            "{output:?}"
        );
        let event = |event: &Value| {
            event["reason"] == "TableNotLoaded" && event["regarding"]["namespace"] == NAMESPACE
        };
        wait::until_true("an Event", SOON, async || {
            Ok(alpha
                .objects()
                .list(("events.k8s.io/v1", "Event"), None, "")
                .await?
                .iter()
                .any(event))
        })
        .await?;
        gateway.loads(generation(&pair).await?);
        wait_condition(alpha, "beta", TABLE, ("True", "Loaded")).await?;
        Ok(())
    });
}
