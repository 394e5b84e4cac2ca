//! Callers with permission get through.

use crate::stage::Stage;
use anyhow::{Result, ensure};
use fedgate_e2e::client::{plain_greeting, send_line};
use std::time::Instant;

pub(crate) async fn http(stage: &Stage) -> Result<String> {
    let start = Instant::now();
    let body = stage.web.call_from(stage.alpha()).await?;
    ensure!(
        stage.web.backend.connections() == 1,
        "the back end counted {}",
        stage.web.backend.connections()
    );
    Ok(format!("status 200, \"{body}\", in {} ms", start.elapsed().as_millis()))
}

pub(crate) async fn server_first(stage: &Stage) -> Result<String> {
    let egress = stage.alpha().wait_import(&stage.mail.name()).await?;
    let (mut connection, greeting) = plain_greeting(egress).await?;
    ensure!(greeting == format!("220 {}", stage.mail.identity()), "the greeting was {greeting:?}");
    let answer = send_line(&mut connection, "hello").await?;
    ensure!(answer == "250 hello", "the answer was {answer:?}");
    Ok(format!("\"{greeting}\", and it answers: \"{answer}\""))
}
