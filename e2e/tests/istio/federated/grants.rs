//! A federated name gives no rights: a member judges its callers, and refuses those it does not know.

use super::super::fixture::run;
use super::trio::{Trio, WEB, get, wait_answers};
use anyhow::{Result, ensure};
use fedgate_e2e::envoy::access_log::AccessLog;
use fedgate_e2e::manifest::policy;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_grant_is_refused_at_the_member() -> Result<()> {
    let run = run("federated-grants")?;
    let trio = Trio::start(&run).await?;
    trio.put_web(json!([{ "peers": ["beta"] }]), &["beta"]).await?;
    trio.put_mail().await?;
    let client = trio.client().await?;
    wait_answers(&client, WEB, "beta").await?;

    let log = AccessLog::from_now(trio.beta.gateway()?.agent().log());
    let callers = r#"{peers: [alpha], callers: [{namespace: shop, serviceAccount: clerk}]}"#;
    trio.beta.cluster.objects().apply(&policy("alpha", callers)).await?;
    let refused = async || Ok(get(&client).await?.status == 503);
    let call = async || refused().await.map(drop);
    let entry = log.call_until("caller_not_granted", call).await?;
    ensure!(entry.peer.as_deref() == Some("alpha"), "{entry:?}");
    wait::until("the client to be refused", SOON, async || {
        let before = trio.backends[0].connections();
        wait::stays("the client is refused", Duration::from_millis(500), refused).await?;
        ensure!(trio.backends[0].connections() == before, "a connection reached web");
        Ok(Some(()))
    })
    .await?;

    let callers = r#"{peers: [alpha], callers: [{namespace: shop, serviceAccount: client}]}"#;
    trio.beta.cluster.objects().apply(&policy("alpha", callers)).await?;
    wait_answers(&client, WEB, "beta").await
}
