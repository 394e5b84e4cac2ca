//! What changes while it runs.

use super::reach::call;
use crate::stage::Stage;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::{Client, say, wait_closed};
use fedgate_e2e::wait;
use std::time::{Duration, Instant, SystemTime};

pub(crate) async fn label(stage: &Stage) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(3);
    let client = Client::new(Some(&stage.workloads[0]))?;
    let (gateway, sni) = (stage.beta().gateway_address(), stage.catalog.sni("beta"));
    ensure!(client.connect(gateway, &sni).await.is_err(), "it could be reached before");

    let start = Instant::now();
    stage.beta().put_service(&stage.catalog.service.clone().exported())?;
    let called = async || Ok(call(stage, &stage.catalog, "beta").await.ok());
    let body = wait::until("alpha to reach catalog", LIMIT, called).await?;
    let time = start.elapsed();
    ensure!(time <= LIMIT, "it took {time:?}");
    Ok(format!("\"{body}\", {} ms after the label", time.as_millis()))
}

pub(crate) async fn revoke(stage: &Stage) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(2);
    let egress = stage.alpha().wait_import(&stage.mail.import("beta")).await?;
    let (mut connection, _) = fedgate_e2e::client::plain_greeting(egress).await?;
    ensure!(say(&mut connection, "still here").await? == "250 still here", "the connection should be open");

    let table = stage.beta().folder().join("envoy/gateway/filter/filter.json");
    let arrived_before = std::fs::metadata(&table)?.modified()?;
    stage.beta().put_service(&stage.mail.service.clone().for_peers("gamma"))?;
    wait_closed(&mut connection, Duration::from_secs(10)).await?;
    let closed = SystemTime::now();
    let arrived = std::fs::metadata(&table)?.modified()?;
    ensure!(arrived > arrived_before, "it was closed before the new table came");
    let time = closed.duration_since(arrived).context("clock")?;
    ensure!(time <= LIMIT, "it took {time:?}");
    Ok(format!("closed {} ms after the new table was put in place", time.as_millis()))
}
