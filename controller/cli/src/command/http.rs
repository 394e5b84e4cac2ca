//! Requests to programs of this site, with a limit of the answer.

use anyhow::{Result, anyhow, bail};
use fedgate_process::words;
use std::time::Duration;

/// Why a request failed, without the client's own words and the URL, which the message around it
/// names already.
pub(super) fn plain(error: reqwest::Error) -> anyhow::Error {
    if error.is_timeout() {
        return anyhow!("it took too long");
    }
    let error = error.without_url();
    let system = words::causes(&error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match system {
        Some(system) => anyhow!(words::io(system)),
        None => error.into(),
    }
}

/// The answer to a GET, cut off after `limit` bytes. Returns true beside it if it was cut off.
///
/// # Errors
/// When there is no answer, or one without success.
pub(super) async fn get(url: &str, limit: usize) -> Result<(Vec<u8>, bool)> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()?;
    let mut response = client.get(url).send().await.map_err(plain)?;
    if !response.status().is_success() {
        bail!("it answers {}", response.status());
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        let room = limit - body.len();
        body.extend(piece.iter().take(room));
        if piece.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}
