//! The Multi-Cluster Services API in real meshes: a call by a name that ends in
//! `svc.clusterset.local`.

use super::fixture::run;
use anyhow::{Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::{Response, plain_get};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::kubernetes::{Key, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::SOON;
use fedgate_e2e::{programs, wait};
use serde_json::{Value, json};

const EXPORT: Key<'_> =
    Key::namespaced("multicluster.x-k8s.io/v1alpha1", "ServiceExport", SHOP, "web");

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({ "namespace": SHOP, "name": name });
    json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec })
}

fn name(service: &str) -> String {
    format!("{service}.{SHOP}.svc.clusterset.local")
}

/// alpha and beta as peers, both with the API.
async fn meshes(run: &RunFolder) -> Result<[Mesh; 2]> {
    let settings = [
        ("FEDGATE_MCS_EXPORTS", "true"),
        ("FEDGATE_MCS_IMPORTS", "true"),
        ("FEDGATE_FEDERATED_SUFFIX", "svc.clusterset.local"),
    ];
    let controller = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = MeshOptions { controller, ..MeshOptions::default() };
    let (mut alpha, mut beta) =
        tokio::try_join!(Mesh::start(run, "alpha", &options), Mesh::start(run, "beta", &options))?;
    alpha.cluster.put_peer(&beta.cluster).await?;
    beta.cluster.put_peer(&alpha.cluster).await?;
    for mesh in [&mut alpha, &mut beta] {
        mesh.cluster.objects().apply_file(programs::mcs_crds()?).await?;
        mesh.cluster.objects().apply_file(&xtask::root().join("deploy/mcs/rbac.yaml")).await?;
        mesh.cluster.start_replica().await?;
        mesh.start_gateway().await?;
    }
    Ok([alpha, beta])
}

async fn get(client: &Client, service: &str) -> Result<Response> {
    let host = name(service);
    let path = host.clone();
    client.call(&host, 80, move |address| async move { plain_get(address, &path).await }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_by_the_clusterset_name_needs_an_export() -> Result<()> {
    let run = run("mcs")?;
    let [alpha, beta] = meshes(&run).await?;
    let backend = Backend::http_at(beta.cluster.addresses().node, "web", "beta").await?;
    // Neither has the label, and only web has a ServiceExport.
    for service in ["web", "ledger"] {
        beta.cluster.put_service(&Service::new(service, "http", 80, backend.address())).await?;
    }
    let export = object("multicluster.x-k8s.io/v1alpha1", "ServiceExport", "web", &json!({}));
    beta.cluster.objects().apply_one(&export).await?;
    let spec =
        json!({ "ports": [{ "name": "http", "port": 80 }], "members": [{ "allPeers": {} }] });
    let mut names = Vec::new();
    for service in ["web", "ledger"] {
        let named = object("fedgate.dev/v1alpha1", "FederatedService", service, &spec);
        alpha.cluster.objects().apply_one(&named).await?;
        names.push(Import { host: name(service), port: 80, protocol: "HTTP" });
    }
    let import = Key::namespaced("multicluster.x-k8s.io/v1alpha1", "ServiceImport", SHOP, "web");
    alpha.cluster.objects().wait_present(import).await?;
    let client = Client::start_for_names(&alpha, "client", &names).await?;
    let answered = async || {
        let answer = get(&client, "web").await?;
        Ok(answer.status == 200 && answer.body == identity("web", "beta"))
    };
    wait::until_true("web to answer", SOON, answered).await?;
    let refused = get(&client, "ledger").await?;
    ensure!(refused.status == 503, "a Service that nobody exports: {refused:?}");

    beta.cluster.objects().delete(EXPORT).await?;
    let ended = async || Ok(get(&client, "web").await?.status == 503);
    wait::until_true("web to be refused", SOON, ended).await?;
    alpha.cluster.objects().wait_absent(import).await?;
    let before = backend.connections();
    ensure!(ended().await? && backend.connections() == before, "a call reached web");
    beta.cluster.objects().apply_one(&export).await?;
    wait::until_true("web to answer again", SOON, answered).await
}
