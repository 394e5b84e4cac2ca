//! Two clusters become each other's peers.

use anyhow::ensure;
use fedgate_e2e::kubernetes::cluster::NAMESPACE;
use fedgate_e2e::kubernetes::{Key, KubernetesFederation};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

#[test]
fn an_exported_service_is_imported_and_another_is_not() {
    scenario("pairing", async |run: &RunFolder| {
        let mut federation = KubernetesFederation::start(run, ["alpha", "beta"]).await?;
        federation.start_controllers().await?;
        federation.pair().await?;
        let [alpha, beta] = &federation.clusters;
        let target = (beta.addresses().node, 8080).into();
        let web = Service::new("web", "http", 80, target).exported();
        let ledger = Service::new("ledger", "http", 80, target);
        beta.put_service(&ledger).await?;
        beta.put_service(&web).await?;

        let (web, ledger) = (web.host(&beta.trust_domain()), ledger.host(&beta.trust_domain()));
        let entry = |host| Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, host);
        let imported = alpha.objects().wait_present(entry(&web)).await?;
        ensure!(imported["spec"]["hosts"][0] == web.as_str(), "{imported:#}");
        ensure!(alpha.objects().get(entry(&ledger)).await?.is_none(), "it is not exported");
        ensure!(beta.objects().get(entry(&web)).await?.is_none(), "a cluster does not import its own");
        ensure!(alpha.leader().await? == "alpha-1", "the only one leads");
        Ok(())
    });
}
