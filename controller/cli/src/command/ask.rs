//! Queries the running controller of a folder at its admin address.

use super::{Folder, http};
use anyhow::{Context, Result, bail};
use fedgate_files::admin::AdminAddress;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Does what [`fetch`] does, outside of async code.
pub(super) fn ask<T: DeserializeOwned>(
    folder: &Folder,
    path: &str,
    query: &[(&str, String)],
) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fetch(folder, path, query))
}

/// Fetches `path` with these query parameters from the controller that runs on the folder.
///
/// # Errors
/// When no controller runs there, or it does not answer.
pub(super) async fn fetch<T: DeserializeOwned>(
    folder: &Folder,
    path: &str,
    query: &[(&str, String)],
) -> Result<T> {
    Ok(serde_json::from_slice(&fetch_bytes(folder, path, query).await?)?)
}

/// Does the same, for an answer of any kind.
///
/// # Errors
/// As for [`fetch`].
pub(super) async fn fetch_bytes(
    folder: &Folder,
    path: &str,
    query: &[(&str, String)],
) -> Result<Vec<u8>> {
    let AdminAddress { address } = address(folder)?;
    let mut url = url::Url::parse(&format!("http://{address}{path}"))?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    get(url).await.with_context(|| {
        format!(
            "the controller of {0} does not answer at {address}; start it with `fedgate run --dir {0}`",
            folder.dir.display()
        )
    })
}

/// Where the controller of the folder answers.
///
/// # Errors
/// When no controller has run there.
pub(super) fn address(folder: &Folder) -> Result<AdminAddress> {
    let path = folder.dir.join("state/admin.json");
    let bytes = std::fs::read(&path).with_context(|| {
        format!(
            "no controller has run in {} (there is no {}): start one with `fedgate run --dir {0}`, or name another folder with --dir",
            folder.dir.display(),
            path.display()
        )
    })?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is not what a controller writes", path.display()))
}

async fn get(url: url::Url) -> Result<Vec<u8>> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let response = client.get(url).send().await.map_err(http::plain)?;
    let status = response.status();
    #[expect(clippy::disallowed_methods, reason = "it is this site's own controller that answers")]
    let body = response.bytes().await?;
    if !status.is_success() {
        bail!("{status}: {}", String::from_utf8_lossy(&body).trim());
    }
    Ok(body.into())
}
