//! One name that two clusters serve.

use crate::stage::Stage;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::plain_get;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::manifest::{Service, federated_service};
use fedgate_e2e::wait;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const NAME: &str = "till.shop.global:80";

pub(crate) async fn local_dies(stage: &Stage) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(2);
    let mut theirs = Deployed::http(stage.beta(), "till").await?;
    theirs.apply(stage.beta(), Service::exported)?;
    let ours = Backend::http("till", "alpha").await?;
    let address = ours.address();
    stage.alpha().put_service(&Service::new("till", "http", 80, address))?;
    let members = "[{local: {}}, {peers: [beta]}]";
    let manifest = federated_service("till", ("http", 80), members);
    stage.alpha().put_manifest("name-till.yaml", &manifest)?;
    let egress = stage.alpha().wait_name(NAME).await?;
    stage.alpha().wait_members(NAME, &["*local ready", "beta ready"]).await?;
    wait_answer(egress, "this is till of alpha").await?;

    ours.stop().await;
    let start = Instant::now();
    while call(egress).await.context("a call failed")? != theirs.identity() {
        ensure!(start.elapsed() < LIMIT, "calls still go to alpha after {:?}", start.elapsed());
    }
    let over = start.elapsed();
    let _ours = Backend::http_on(TcpListener::bind(address).await?, "till", "alpha")?;
    let start = Instant::now();
    wait_answer(egress, "this is till of alpha").await?;
    Ok(format!(
        "\"{}\" {} ms after the death; back at alpha's after {:.1} s",
        theirs.identity(),
        over.as_millis(),
        start.elapsed().as_secs_f64()
    ))
}

async fn call(egress: SocketAddr) -> Result<String> {
    Ok(plain_get(egress, "till.shop.global").await?.body)
}

async fn wait_answer(egress: SocketAddr, answer: &str) -> Result<()> {
    wait::until_true(answer, Duration::from_secs(10), async || Ok(call(egress).await? == answer))
        .await
}
