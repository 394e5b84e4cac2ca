//! The operators' page of a cluster, served by `kubectl fedgate ui` and read with a kubeconfig.

use crate::fixture::{Pair, exported};
use anyhow::ensure;
use fedgate_e2e::browser::Browser;
use fedgate_e2e::kubernetes::gateway::GatewayStub;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::Value;

#[test]
fn the_page_reads_the_cluster_and_follows_it() {
    scenario("ui", async |run: &RunFolder| {
        let pair = Pair::start_with(run, &[("FEDGATE_PROBE", "1s")]).await?;
        let _alphas = GatewayStub::start(pair.alpha()).await?;
        let (mut command, url) = pair.alpha().page().await?;
        ensure!(url.starts_with("http://127.0.0.1:"), "it listens on {url}");
        let mut browser = Browser::start(run).await?;
        browser.open(&url).await?;
        browser
            .wait("the peer", "document.querySelector('.peer')?.innerText.includes('beta')")
            .await?;
        pair.alpha().put_service(&exported("more")).await?;
        let more = "document.querySelector('.hub') && /Exports\\s*[1-9]/i.test(document.querySelector('.tiles').innerText)";
        browser.wait("the export", more).await?;
        let to = "more.shop.svc.alpha.example:80";
        let output =
            pair.alpha().kubectl(&["fedgate", "explain", "--output", "json", "--to", to]).await?;
        let said: Value = serde_json::from_slice(&output.stdout)?;
        let shown = browser
            .evaluate(&format!("fetch('/page/explain?to={to}').then(r => r.json())"))
            .await?;
        ensure!(shown == said, "{shown:#} {said:#}");
        browser.evaluate("location.hash = '#/changes'; 0").await?;
        browser
            .wait("who leads", "document.querySelector('main').innerText.includes('leads')")
            .await?;
        browser.check(url.trim_end_matches('/')).await?;
        command.kill().await?;
        browser.wait("the end", "document.getElementById('live').className === 'off'").await
    });
}
