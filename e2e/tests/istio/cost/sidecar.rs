//! What a sidecar has of the imports.

use super::site::{PATIENCE, host};
use anyhow::{Result, ensure};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::istio::Client;
use fedgate_e2e::wait;

pub(super) const VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";
/// One certificate in a bundle.
const ROOT: &str = "x5c";

/// The sidecar's cluster for this host, as JSON text; empty if there is none.
pub(super) async fn cluster(client: &Client, host: &str) -> Result<String> {
    let path = format!(
        "/config_dump?resource=dynamic_active_clusters&name_regex=outbound.80..{}",
        host.replace('.', r"\.")
    );
    client.agent().ask(&path).await
}

/// Waits until the sidecar has a cluster for each import.
pub(super) async fn wait_clusters(client: &Client, imports: usize) -> Result<()> {
    wait::until("all clusters", PATIENCE, async || {
        let active = client.agent().stat("cluster_manager.active_clusters").await?;
        ensure!(active >= Some(imports as u64), "{active:?} clusters are active");
        Ok(Some(()))
    })
    .await
}

/// Waits until the sidecar has each import with this number of the peer's roots.
pub(super) async fn wait_roots(client: &Client, imports: usize, roots: usize) -> Result<()> {
    let what = format!("{imports} clusters with {roots} roots");
    wait::until(&what, PATIENCE, async || {
        let mut found = [0; 3];
        // A dump of all clusters is large, so a tenth is asked for at a time.
        for digit in 0..10 {
            let clusters = cluster(client, &format!(r"s\d*{digit}.shop.svc.beta.example")).await?;
            let wanted = ["\"name\": \"outbound|80||s", VALIDATOR, ROOT];
            for (count, text) in found.iter_mut().zip(wanted) {
                *count += clusters.matches(text).count();
            }
        }
        let bound = if roots == 0 { 0 } else { imports };
        ensure!(found == [imports, bound, imports * roots], "{found:?} imports, bound, roots");
        Ok(Some(()))
    })
    .await
}

/// Waits until calls to this host are answered.
pub(super) async fn wait_answers(client: &Client, name: &str) -> Result<()> {
    wait::until(&format!("{name} to answer"), PATIENCE, async || {
        // Its name resolves. The sidecar listens only at the first import's address, for all.
        client.call(name, 80, |_| async { Ok(()) }).await?;
        let name = name.to_owned();
        let call = move |address| async move { plain_get(address, &name).await };
        let answer = client.call(&host(0), 80, call).await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(Some(()))
    })
    .await
}
