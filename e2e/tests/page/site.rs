//! A page of a running controller.

use anyhow::{Context, Result};
use fedgate_e2e::browser::Browser;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::wait::{self, SOON};
use std::path::PathBuf;

/// Where the controller of a cluster serves the page.
pub(crate) async fn origin(cluster: &Cluster) -> Result<String> {
    let file = cluster.folder().join("state/admin.json");
    let read = async || {
        let admin: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let address = admin["address"].as_str().context("an address")?;
        Ok(Some(format!("http://{address}")))
    };
    wait::until("the admin address", SOON, read).await
}

/// Writes a picture, if pictures are asked for.
pub(crate) async fn picture(browser: &mut Browser, name: &str) -> Result<()> {
    let Some(folder) = std::env::var_os("PAGE_PICTURES") else { return Ok(()) };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    browser.screenshot(&folder.join(format!("{name}.png"))).await
}
