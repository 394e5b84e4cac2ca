//! Who may see and reach an export, by its label, its owner's annotation and the administrator's
//! policies.

use crate::fixture::{
    at_rest, exported, import_objects, peer, versions, wait_imported, wait_not_imported,
};
use crate::table::TableObject;
use crate::trio::Trio;
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::{CONTROLLER, Key, KubernetesCluster, SHOP};
use fedgate_e2e::manifest::{self, Service};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::Value;

const POLICY: Key<'_> =
    Key::cluster_scoped("fedgate.dev/v1alpha1", "FederationPolicy", "gamma-gets-little");

/// alpha's `web` as seen by beta and gamma.
struct Web<'a> {
    trio: &'a Trio,
    table: TableObject<'a>,
    service: Service,
    host: String,
}

impl Web<'_> {
    /// Waits until the gateway's table, the documents and the imports all agree that exactly these
    /// peers may reach it.
    async fn wait_for(&self, peers: &[&str]) -> Result<()> {
        let [_, beta, gamma] = self.trio.clusters();
        for cluster in [beta, gamma] {
            let imports = peers.contains(&cluster.name());
            match imports {
                true => wait_imported(cluster, &self.host).await?,
                false => wait_not_imported(cluster, &self.host).await?,
            }
            let listed = |object: &Value| self.is_listed(object) == imports;
            cluster
                .objects()
                .wait_for(peer("alpha"), "to have alpha's newest document", listed)
                .await?;
        }
        let granted = if peers.is_empty() { None } else { Some(peers) };
        self.table.wait_granted(&self.service, granted).await
    }

    /// Returns true if the importer's `IstioFederation` lists it among the fetched services.
    fn is_listed(&self, object: &Value) -> bool {
        let listed = object["status"]["metadataCache"]["private"]["publicServices"].as_array();
        listed.into_iter().flatten().any(|service| service["hostname"] == self.host.as_str())
    }

    async fn put(&self, service: &Service) -> Result<()> {
        self.alpha().put_service(service).await
    }

    fn alpha(&self) -> &KubernetesCluster {
        &self.trio.clusters()[0]
    }
}

#[test]
fn an_export_is_imported_only_by_peers_with_a_grant() {
    scenario("exports", async |run: &RunFolder| {
        let trio = Trio::start(run).await?;
        let [alpha, beta, _] = trio.clusters();
        let service = exported("web");
        let host = service.host(&alpha.trust_domain());
        let web = Web { trio: &trio, table: TableObject { run, cluster: alpha }, service, host };
        let audits = trio.clusters().each_ref().map(|cluster| cluster.plane().audit());
        let private = Service { exported: false, ..exported("ledger") };
        web.put(&private).await?;

        web.put(&web.service).await?;
        web.wait_for(&["beta", "gamma"]).await?;
        let kept = at_rest(beta, &import_objects(&web.host)).await?;

        // The owner restricts it.
        web.put(&web.service.clone().for_peers("beta")).await?;
        web.wait_for(&["beta"]).await?;
        web.put(&web.service).await?;
        web.wait_for(&["beta", "gamma"]).await?;

        // A policy limits gamma to Services in another namespace, then to this Service's
        // namespace.
        let policy = |namespaces| {
            let spec = format!(
                r#"{{"peers": ["gamma"], "services": [{{"namespaces": ["{namespaces}"]}}]}}"#
            );
            manifest::policy("gamma-gets-little", &spec)
        };
        alpha.objects().apply(&policy("billing")).await?;
        web.wait_for(&["beta"]).await?;
        alpha.objects().apply(&policy("sh*")).await?;
        web.wait_for(&["beta", "gamma"]).await?;
        alpha.objects().apply(&policy("billing")).await?;
        web.wait_for(&["beta"]).await?;
        alpha.objects().delete(POLICY).await?;
        web.wait_for(&["beta", "gamma"]).await?;
        ensure!(
            versions(beta, &import_objects(&web.host)).await? == kept,
            "what concerned gamma touched beta's import"
        );

        // The label is removed and set again, then the Service is deleted.
        web.put(&Service { exported: false, ..web.service.clone() }).await?;
        web.wait_for(&[]).await?;
        web.put(&web.service).await?;
        web.wait_for(&["beta", "gamma"]).await?;
        alpha.objects().delete(Key::namespaced("v1", "Service", SHOP, "web")).await?;
        web.wait_for(&[]).await?;

        let never = private.host(&alpha.trust_domain());
        for audit in audits {
            let written =
                audit.matching(|request| request.name == never && request.user == CONTROLLER);
            ensure!(written.is_empty(), "a Service without the label was imported: {written:#?}");
        }
        Ok(())
    });
}
