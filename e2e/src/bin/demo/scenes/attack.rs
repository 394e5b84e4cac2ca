//! Callers without permission are refused. The client is our own TLS client, which can use any
//! certificate and any SNI.

use crate::stage::Stage;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::{Identity, Leaf};
use fedgate_e2e::client::Client;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::envoy::access_log::Entry;

pub(crate) async fn unlabelled(stage: &Stage) -> Result<String> {
    let log = stage.beta().access_log()?;
    let error = refused(stage, &stage.workloads[0], &stage.ledger).await?;
    let entry = log.wait_for_reason("unknown_service").await?;
    ensure!(
        entry.client_uri_san.is_none(),
        "the gateway should not have seen a certificate: {entry:?}"
    );
    ensure!(
        error.contains("in the handshake"),
        "it should have been refused in the handshake: {error}"
    );
    Ok("closed in the handshake; the gateway says unknown_service; the back end counts 0 connections".into())
}

pub(crate) async fn not_granted(stage: &Stage) -> Result<String> {
    let log = stage.beta().access_log()?;
    refused(stage, &stage.workloads[2], &stage.web).await?;
    let entry = log.wait_for_reason("not_granted").await?;
    ensure!(entry.peer.as_deref() == Some("gamma"), "the peer should be gamma: {entry:?}");
    allowed(stage, &stage.workloads[2], &stage.mail).await.context("what gamma may have")?;
    Ok("refused; the gateway says not_granted for the peer gamma; the back end saw nothing. mail, which is exported to \
        all, greets gamma"
        .into())
}

pub(crate) async fn impostor(stage: &Stage) -> Result<String> {
    let name = stage.alpha().spiffe_id("cart");
    let impostor = stage.gamma().authority().workload(&name)?;
    let log = stage.beta().access_log()?;
    refused(stage, &impostor, &stage.web).await?;
    let entry = log.wait_for("a failed handshake", |entry| entry.tls_failure.is_some()).await?;
    let stock = stock_body(stage, &impostor).await?;
    Ok(format!("beta's gateway: {}; the stock gateway: \"{stock}\"", tls_failure(&entry)))
}

pub(crate) async fn two_names(stage: &Stage) -> Result<String> {
    let (gamma, alpha) = (stage.gamma().spiffe_id("cart"), stage.alpha().spiffe_id("cart"));
    let authority = stage.gamma().authority();
    let honest_first = authority.sign(&Leaf::new().uri(&gamma)?.uri(&alpha)?)?;
    let log = stage.beta().access_log()?;
    refused(stage, &honest_first, &stage.web).await?;
    // Connections of earlier scenes are logged when they end, which may be now.
    let is_refusal = |entry: &Entry| !matches!(entry.reason.as_deref(), None | Some("granted"));
    let entry = log.wait_for("a refusal", is_refusal).await?;
    let alpha_first = authority.sign(&Leaf::new().uri(&alpha)?.uri(&gamma)?)?;
    refused(stage, &alpha_first, &stage.web).await?;
    let failure = log.wait_for("a failed handshake", |entry| entry.tls_failure.is_some()).await?;
    let stock = stock_body(stage, &honest_first).await?;
    Ok(format!(
        "gamma's name first: refused as {}; alpha's name first: {}; the stock gateway: \"{stock}\"",
        entry.reason.unwrap_or_default(),
        tls_failure(&failure),
    ))
}

async fn refused(stage: &Stage, identity: &Identity, service: &Deployed) -> Result<String> {
    service.refuses(&Client::new(Some(identity))?, stage.beta()).await
}

/// Connects to a service of beta whose server speaks first.
async fn allowed(stage: &Stage, identity: &Identity, service: &Deployed) -> Result<String> {
    let client = Client::new(Some(identity))?;
    Ok(client.greeting(stage.beta().gateway_address(), &service.sni()).await?.1)
}

async fn stock_body(stage: &Stage, identity: &Identity) -> Result<String> {
    let client = Client::new(Some(identity))?;
    let answer = client.get(stage.stock_gateway.address, &stage.web.sni(), &stage.web.host()).await;
    Ok(answer.context("the stock gateway should have let it in")?.body)
}

/// Envoy's TLS error in readable form.
fn tls_failure(entry: &Entry) -> String {
    let text = entry.tls_failure.as_deref().unwrap_or_default();
    let mut parts =
        text.split(':').map(|part| part.trim_matches('_')).filter(|part| *part != "TLS_error_end");
    let cause = parts.next_back().unwrap_or(text).replace('_', " ");
    format!("refused in the handshake ({cause})")
}
