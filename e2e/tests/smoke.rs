//! The only test on real Envoys in `cargo xtask test`: two clusters, one allowed call, two refused
//! calls.

use anyhow::ensure;
use fedgate_e2e::client::Client;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

#[test]
fn two_clusters_reach_what_they_export_and_nothing_else() {
    scenario("smoke", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let [_, beta] = &federation.clusters;
        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, Service::exported)?;
        let mut ledger = Deployed::http(beta, "ledger").await?;
        ledger.apply(beta, |service| service)?;
        federation.start().await?;

        let [alpha, beta] = &federation.clusters;
        web.wait_callable_from(alpha).await?;
        ledger.refuses(&Client::new(Some(&alpha.workload()?))?, beta).await?;
        let impostor = beta.authority().workload(&alpha.spiffe_id("cart"))?;
        let error = web.refuses(&Client::new(Some(&impostor))?, beta).await?;
        ensure!(error.contains("alert"), "the handshake should have failed: {error}");
        Ok(())
    });
}
