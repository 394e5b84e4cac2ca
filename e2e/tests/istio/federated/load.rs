//! A steady load while members die.

use super::super::fixture::{SOON, run};
use super::super::load::Load;
use super::trio::{Trio, WEB, answered_by, wait_answers};
use anyhow::Result;
use fedgate_e2e::kubernetes::SHOP;
use fedgate_e2e::wait;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_when_gateways_and_clusters_die() -> Result<()> {
    let run = run("federated-load")?;
    let mut trio = Trio::start(&run).await?;
    let members = json!([{ "peers": ["beta"] }, { "peers": ["gamma"] }, { "local": {} }]);
    trio.put_web(members, &["beta", "gamma", "local"]).await?;
    trio.put_mail().await?;
    // A request whose connection broke may have had an effect, so Istio does not repeat it unless
    // its owner says that it may.
    let routes = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "namespace": SHOP, "name": "web-global" },
        "spec": {
            "hosts": [WEB],
            "http": [{
                "retries": { "attempts": 3, "retryOn": "connect-failure,refused-stream,unavailable,cancelled,reset" },
                "route": [{ "destination": { "host": WEB } }],
            }],
        },
    });
    trio.alpha.cluster.objects().apply_one(&routes).await?;
    let client = trio.client().await?;
    wait_answers(&client, WEB, "beta").await?;
    client
        .agent()
        .wait_configured("/config_dump?resource=dynamic_route_configs", "cancelled,reset")
        .await?;

    let deaths = async {
        let answers = async |cluster: &str| {
            wait::until_true(&format!("{cluster} to answer"), SOON, async || {
                Ok(answered_by(&client, WEB).await? == cluster)
            })
            .await
        };
        trio.beta.stop_gateways().await?;
        answers("gamma").await?;
        trio.beta.start_gateway().await?;
        answers("beta").await?;
        // Its whole cluster.
        trio.beta.stop_gateways().await?;
        trio.beta.istiod.kill()?;
        trio.beta.cluster.kill_leader().await?;
        answers("gamma").await?;
        trio.gamma.stop_gateways().await?;
        answers("alpha").await
    };
    Load::default().beside(&client, WEB, deaths).await
}
