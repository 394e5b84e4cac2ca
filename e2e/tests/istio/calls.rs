//! Calls from one mesh into another.

use anyhow::Result;
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::plain_get;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_calls_an_imported_service() -> Result<()> {
    let mut run = RunFolder::new("istio-calls")?;
    if std::env::var_os("KEEP").is_some() {
        run.keep();
    }
    let [alpha, beta] = federation(&run, ["alpha", "beta"], &MeshOptions::default()).await?;
    let backend = Backend::http_at(beta.cluster.addresses().node, "web", "beta").await?;
    let web = Service::new("web", "http", 80, backend.address()).exported();
    beta.cluster.put_service(&web).await?;
    let host = web.host("beta.example");
    let import = Import { host: host.clone(), port: 80, protocol: "HTTP".into() };
    let client = Client::start(&alpha, "client", &[import]).await?;
    let answer = wait::until("an answer", Duration::from_secs(30), async || {
        let name = host.clone();
        let answer = client.call(&host, 80, move |address| async move { plain_get(address, &name).await }).await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(Some(answer))
    })
    .await?;
    assert_eq!(answer.body, "this is web of beta");
    Ok(())
}
