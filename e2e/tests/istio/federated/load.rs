//! A steady load while members die.

use super::super::fixture::run;
use super::super::load::Load;
use super::trio::{Trio, WEB, answered_by, wait_answers};
use anyhow::Result;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_when_gateways_and_clusters_die() -> Result<()> {
    let run = run("federated-load")?;
    let mut trio = Trio::start(&run).await?;
    let members = json!([{ "peers": ["beta"] }, { "peers": ["gamma"] }, { "local": {} }]);
    trio.put_web(members, &["beta", "gamma", "local"]).await?;
    trio.put_mail().await?;
    let client = trio.client_that_retries().await?;
    wait_answers(&client, WEB, "beta").await?;

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
