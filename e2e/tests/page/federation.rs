//! The picture of the federation, and changes that appear without a reload.

use crate::site::{origin, picture};
use anyhow::ensure;
use fedgate_e2e::browser::Browser;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use std::net::{Ipv4Addr, SocketAddr};

/// A Service that every peer may reach.
fn service(name: &str) -> Service {
    Service::new(name, "http", 80, SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))).exported()
}

#[test]
fn a_change_appears_without_a_reload() {
    scenario("page-live", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        federation.clusters[1].put_service(&service("web"))?;
        federation.start_controllers().await?;
        let [alpha, beta] = &federation.clusters;
        let origin = origin(alpha).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/")).await?;
        browser
            .wait("the peer", "document.querySelector('.peer')?.innerText.includes('beta')")
            .await?;
        browser
            .wait("an import", "document.querySelector('.peer').innerText.includes('1 import')")
            .await?;
        browser.evaluate("window.mark = 'the same page'").await?;
        browser.wait("a row", "document.querySelector('#peers a.row') !== null").await?;
        browser.evaluate("document.querySelector('#peers a.row').focus()").await?;
        beta.put_service(&service("stock"))?;
        browser
            .wait("a change", "document.querySelector('.peer').innerText.includes('2 imports')")
            .await?;
        alpha.put_service(&service("cart"))?;
        browser
            .wait("an export", "document.querySelector('.peer').innerText.includes('1 export')")
            .await?;
        ensure!(browser.evaluate("window.mark").await? == "the same page", "it was reloaded");
        let focused = browser.evaluate("document.activeElement.matches('#peers a.row')").await?;
        ensure!(focused == true, "the row lost the focus, which a keyboard's user needs");
        picture(&mut browser, "live").await?;
        browser.check(&origin).await
    });
}
