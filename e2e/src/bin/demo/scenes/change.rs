//! Changes take effect while everything runs.

use crate::stage::Stage;
use anyhow::{Context, Result, bail, ensure};
use fedgate_e2e::client::{Client, plain_greeting, send_line, wait_closed};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use std::time::{Duration, Instant, SystemTime};

pub(crate) async fn label(stage: &mut Stage) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(1);
    let client = Client::new(Some(&stage.workloads[0]))?;
    let ([alpha, beta, _], catalog) = (&stage.federation.clusters, &mut stage.catalog);
    let mut times = Vec::new();
    // A machine that is busy with something else may need longer once.
    while times.len() < 3 {
        catalog.refuses(&client, beta).await.context("before the label")?;
        let start = Instant::now();
        catalog.apply(beta, Service::exported)?;
        let called = async || catalog.call_from(alpha).await.map(Some);
        let body = wait::until("alpha to reach catalog", SOON, called).await?;
        let time = start.elapsed();
        if time <= LIMIT {
            return Ok(format!("\"{body}\", {} ms after the label", time.as_millis()));
        }
        times.push(time);
        catalog.apply(beta, |service| Service { exported: false, ..service })?;
        alpha.wait_no_import(&catalog.name()).await?;
        catalog.wait_refused(&client, beta).await?;
    }
    bail!("it took {times:?}, and may take {LIMIT:?}")
}

pub(crate) async fn revoke(stage: &mut Stage) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(2);
    let egress = stage.alpha().wait_import(&stage.mail.name()).await?;
    let (mut connection, _) = plain_greeting(egress).await?;
    ensure!(
        send_line(&mut connection, "still here").await? == "250 still here",
        "the connection should be open"
    );

    let table = stage.beta().folder().join("envoy/gateway/filter/filter.json");
    let arrived_before = std::fs::metadata(&table)?.modified()?;
    stage.mail.apply(&stage.federation.clusters[1], |service| service.for_peers("gamma"))?;
    wait_closed(&mut connection, SOON).await?;
    let closed = SystemTime::now();
    let arrived = std::fs::metadata(&table)?.modified()?;
    ensure!(arrived > arrived_before, "it was closed before the new table came");
    let time = closed.duration_since(arrived).context("clock")?;
    ensure!(time <= LIMIT, "it took {time:?}");
    Ok(format!("closed {} ms after the new table was put in place", time.as_millis()))
}
