//! Roots change only when an operator wants that.

use crate::stage::{APPROVE, Stage};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::client::Client;
use fedgate_e2e::metadata_proxy::PUBLIC;
use fedgate_e2e::wait::{self, SOON};
use std::time::Instant;

pub(crate) async fn swapped_root(stage: &Stage) -> Result<String> {
    let ([_, beta, gamma], mail) = (&stage.federation.clusters, &stage.mail);
    let swapped = Authority::root("swapped root of gamma")?;
    let known = Client::new(Some(&stage.workloads[2]))?;
    let new = Client::new(Some(&swapped.workload(&gamma.spiffe_id("cart"))?))?;

    let pem = swapped.pem();
    stage
        .gamma_metadata
        .alter_json(PUBLIC, move |document| document["rootCA"] = pem.clone().into());
    let held = beta.wait_finding("roots_changed").await?;
    ensure!(held.message.starts_with("held since"), "the message is {:?}", held.message);
    mail.refuses(&new, beta).await.context("the swapped root")?;
    mail.wait_greeting(&known, beta).await.context("the known root")?;

    let shown = beta.fedgate(&["peer", "approve", "gamma"]).await?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let id = shown.lines().find_map(|line| line.trim().strip_prefix("fedgate.dev/approve: "));
    let id = id.with_context(|| format!("no annotation in {shown}"))?.trim_matches('"');
    let approve = ("fedgate.dev/approve", id);
    let approved = Instant::now();
    beta.put_annotated_peer(gamma, &stage.gamma_metadata.url(), &[APPROVE, approve])?;
    mail.wait_greeting(&new, beta).await.context("the approved root")?;
    let time = approved.elapsed();
    let refused = async || Ok(known.greeting(beta.gateway_address(), &mail.sni()).await.is_err());
    wait::until_true("the replaced root to be refused", SOON, refused).await?;

    // gamma's own root comes back.
    stage.gamma_metadata.alter(|_, reply| reply);
    let accept = (APPROVE.0, "Accept");
    beta.put_annotated_peer(gamma, &stage.gamma_metadata.url(), &[accept])?;
    mail.wait_greeting(&known, beta).await.context("gamma's own root")?;
    Ok(format!(
        "beta says {}, held: the swapped root's certificate is refused, the known root's is served; {} ms after the approval \
         it is the other way round",
        held.reason,
        time.as_millis()
    ))
}
