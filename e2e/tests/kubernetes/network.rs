//! Two clusters with overlapping address ranges.

use crate::fixture::{Pair, wait_condition, wait_imported, wait_not_imported};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

const NETWORK: &str = "FEDGATE_NETWORK";
const PODS: &str = "FEDGATE_POD_CIDRS";

#[test]
fn overlapping_ranges_are_a_warning_between_networks_and_refused_within_one() {
    scenario("network", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        let host = pair.web.clone();
        let [alpha, beta] = &mut pair.federation.clusters;
        wait_condition(alpha, "beta", "NetworkOverlap", ("False", "NoOverlap")).await?;

        beta.restart_with(&[(NETWORK, "east"), (PODS, "10.240.0.0/16")]).await?;
        alpha.restart_with(&[(PODS, "10.240.128.0/24")]).await?;
        for (cluster, peer) in [(&*alpha, "beta"), (&*beta, "alpha")] {
            wait_condition(cluster, peer, "NetworkOverlap", ("True", "NetworkOverlap")).await?;
            wait_condition(cluster, peer, "Accepted", ("True", "Accepted")).await?;
        }
        wait_imported(alpha, &host).await?;

        alpha.restart_with(&[(NETWORK, "west")]).await?;
        wait_condition(alpha, "beta", "Accepted", ("True", "Accepted")).await?;
        wait_imported(alpha, &host).await?;

        alpha.restart_with(&[(NETWORK, "east")]).await?;
        wait_condition(alpha, "beta", "Accepted", ("False", "NetworkOverlap")).await?;
        wait_not_imported(alpha, &host).await?;

        // Sharing a network is fine if the ranges do not overlap.
        alpha.restart_with(&[(PODS, "10.241.0.0/16")]).await?;
        wait_condition(alpha, "beta", "Accepted", ("True", "Accepted")).await?;
        wait_condition(alpha, "beta", "NetworkOverlap", ("False", "NoOverlap")).await?;
        wait_imported(alpha, &host).await
    });
}
