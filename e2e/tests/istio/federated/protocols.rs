//! Each protocol by a federated name.

use super::super::calls::{Backends, OFFERS, call_all};
use super::super::fixture::run;
use anyhow::Result;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import};
use fedgate_e2e::kubernetes::SHOP;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_passes_by_a_federated_name() -> Result<()> {
    let run = run("federated-protocols")?;
    let [alpha, beta] = federation(&run, ["alpha", "beta"], &MeshOptions::default()).await?;
    let _backends = Backends::start(&beta).await?;
    let mut names = Vec::new();
    for (service, port, number, protocol) in OFFERS {
        // Its local member does not exist, so it is passed over.
        let spec = json!({
            "ports": [{ "name": port, "port": number }],
            "members": [{ "local": {} }, { "peers": ["beta"] }],
        });
        let object = json!({
            "apiVersion": "fedgate.dev/v1alpha1",
            "kind": "FederatedService",
            "metadata": { "namespace": SHOP, "name": service },
            "spec": spec,
        });
        alpha.cluster.objects().apply_one(&object).await?;
        names.push(Import { host: format!("{service}.shop.global"), port: number, protocol });
    }
    let client = Client::start_for_names(&alpha, "client", &names).await?;
    call_all(&client, &beta, |service| format!("{service}.shop.global")).await
}
