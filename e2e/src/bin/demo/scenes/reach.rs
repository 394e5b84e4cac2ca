//! Who may, gets through.

use crate::stage::{Stage, Staged};
use anyhow::{Result, ensure};
use fedgate_e2e::backend::identity;
use fedgate_e2e::client::{plain_get, plain_greeting, say};
use std::time::Instant;

pub(crate) async fn http(stage: &Stage) -> Result<String> {
    let start = Instant::now();
    let body = call(stage, &stage.web, "beta").await?;
    ensure!(stage.web.backend.connections() == 1, "the back end counted {}", stage.web.backend.connections());
    Ok(format!("status 200, \"{body}\", in {} ms", start.elapsed().as_millis()))
}

pub(crate) async fn server_first(stage: &Stage) -> Result<String> {
    let egress = stage.alpha().wait_import(&stage.mail.import("beta")).await?;
    let (mut connection, greeting) = plain_greeting(egress).await?;
    ensure!(greeting == format!("220 {}", identity("mail", "beta")), "the greeting was {greeting:?}");
    let answer = say(&mut connection, "hello").await?;
    ensure!(answer == "250 hello", "the answer was {answer:?}");
    Ok(format!("\"{greeting}\", and it answers: \"{answer}\""))
}

/// A program in alpha calls a service of another cluster, which must answer as itself.
pub(super) async fn call(stage: &Stage, service: &Staged, cluster: &str) -> Result<String> {
    let egress = stage.alpha().wait_import(&service.import(cluster)).await?;
    let response = plain_get(egress, &service.host(cluster)).await?;
    ensure!(response.status == 200, "the status was {}", response.status);
    ensure!(response.body == identity(&service.service.name, cluster), "the answer was {:?}", response.body);
    Ok(response.body)
}
