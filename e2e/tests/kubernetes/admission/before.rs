//! Objects that existed before the rules.

use super::server::{
    EXPORTED, FEDERATIONS, POLICIES, SERVICES, Server, federation, policy, service,
};
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::Key;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};

const SERVICE: Key<'_> = Key::namespaced("v1", "Service", "default", "web");
const FEDERATION: Key<'_> = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "beta");
const POLICY: Key<'_> = Key::cluster_scoped("fedgate.dev/v1alpha1", "FederationPolicy", "shop");

#[test]
fn objects_that_were_invalid_before_can_be_edited_repaired_and_deleted() {
    scenario("before", async |run: &RunFolder| {
        let server = Server::with_definitions(run).await?;
        let unnamed = json!({ "ports": [{ "port": 80 }] });
        server.create(SERVICES, &service(&json!({ EXPORTED: "" }), &unnamed)).await?;
        let local =
            json!({ "trustDomain": "cluster.local", "metadataEndpoint": "https://beta.example" });
        server.create(FEDERATIONS, &federation(&local)).await?;
        server.create(POLICIES, &policy(&json!({ "peer": ["beta"] }))).await?;
        server.admit().await?;

        for key in [SERVICE, FEDERATION, POLICY] {
            server
                .objects
                .patch(key, &json!({ "metadata": { "annotations": { "example.com/a": "b" } } }))
                .await?;
        }
        let target = json!({ "spec": { "ports": [{ "port": 80, "targetPort": 8080 }] } });
        server.objects.patch(SERVICE, &target).await?;
        server
            .objects
            .patch(FEDERATION, &json!({ "spec": { "metadataEndpoint": "https://beta.example/a" } }))
            .await?;

        refused(&server, SERVICE, json!({ "metadata": { "labels": { EXPORTED: "yes" } } })).await?;
        refused(&server, POLICY, json!({ "spec": { "modus": "Audit" } })).await?;
        refused(&server, POLICY, json!({ "callers": [{}] })).await?;

        server
            .objects
            .patch(SERVICE, &json!({ "spec": { "ports": [{ "port": 80, "name": "http" }] } }))
            .await?;
        refused(&server, SERVICE, json!({ "spec": { "ports": [{ "port": 80 }] } })).await?;
        server
            .objects
            .patch(SERVICE, &json!({ "metadata": { "labels": { EXPORTED: null } } }))
            .await?;
        server.objects.patch(SERVICE, &json!({ "spec": { "ports": [{ "port": 80 }] } })).await?;
        server
            .objects
            .patch(FEDERATION, &json!({ "spec": { "trustDomain": "beta.example" } }))
            .await?;
        refused(&server, FEDERATION, json!({ "spec": { "trustDomain": "cluster.local" } })).await?;
        server
            .objects
            .patch(POLICY, &json!({ "spec": { "peer": null, "peers": ["beta"] } }))
            .await?;
        for key in [SERVICE, FEDERATION, POLICY] {
            server.objects.delete(key).await?;
        }
        Ok(())
    });
}

async fn refused(server: &Server, key: Key<'_>, patch: Value) -> Result<()> {
    let answer = server.objects.patch(key, &patch).await;
    let by_policy =
        |error: &anyhow::Error| format!("{error:#}").contains("ValidatingAdmissionPolicy");
    ensure!(
        answer.as_ref().is_err_and(by_policy),
        "{key}, {patch}: expected to be refused, found {answer:?}"
    );
    Ok(())
}
