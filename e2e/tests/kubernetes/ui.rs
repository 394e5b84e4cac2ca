//! The operators' page of a cluster, served by `kubectl fedgate ui` and read with a kubeconfig.

use crate::fixture::{Pair, config_map, exported};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::browser::Browser;
use fedgate_e2e::kubernetes::gateway::GatewayStub;
use fedgate_e2e::kubernetes::install::mesh_root_certificate;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A policy that grants beta no Service of the namespace `shop`.
const POLICY: &str = r#"{"peers": ["beta"], "services": [{"namespaces": ["other"]}]}"#;

impl Pair {
    /// What happened in alpha, newest first, as `fedgate changes` shows it.
    async fn happened(&self) -> Result<Vec<Value>> {
        let arguments = ["fedgate", "changes", "--limit", "500", "--output", "json"];
        let output = self.alpha().kubectl(&arguments).await?;
        let said: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        ensure!(said["trouble"].is_null() && output.status.success(), "{said:#}");
        said["changes"].as_array().cloned().context("a list of changes")
    }

    /// Waits for a change, and returns when it happened.
    pub(crate) async fn wait_happened(&self, about: &str, text: &str) -> Result<Timestamp> {
        let found = async || {
            let happened = self.happened().await?;
            let is_it = |change: &&Value| {
                change["about"] == about
                    && change["text"].as_str().is_some_and(|is| is.contains(text))
            };
            let at = happened.iter().find(is_it).map(|change| change["at"].clone());
            let at = at.with_context(|| format!("only {happened:#?}"))?;
            Ok(Some(serde_json::from_value(at)?))
        };
        wait::until(&format!("{about}: {text}"), SOON, found).await
    }
}

#[test]
fn what_changes_while_nobody_looks_is_kept_and_outlives_the_leader() {
    scenario("changes", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        pair.alpha_mut().start_replica().await?;
        let first = pair.alpha().leader().await?;
        pair.wait_happened(&first, "leads").await?;
        let more = "more.shop.svc.alpha.example:80";
        let labelled = Timestamp::now();
        pair.alpha().put_service(&exported("more")).await?;
        let at = pair.wait_happened(more, "is exported, granted to 1 peer").await?;
        let took = at.duration_since(labelled).as_secs_f64();
        ensure!((0.0..30.0).contains(&took), "the time is that of the label: {took} s");

        let spec: Value = serde_json::from_str(POLICY)?;
        let policy = json!({ "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederationPolicy", "metadata": { "name": "web-only" }, "spec": spec });
        pair.alpha().objects().apply_one(&policy).await?;
        let roots = pair.alpha().authority().pem() + &Authority::root("next root of alpha")?.pem();
        mesh_root_certificate(pair.alpha().objects(), &roots).await?;
        pair.wait_happened(more, "is granted to 0 peers, before to 1").await?;
        pair.wait_happened("alpha.example", "new root ").await?;

        // The next leader continues, also after a change that no leader has seen.
        pair.alpha_mut().kill_replica(&first)?;
        pair.alpha().put_service(&exported("later")).await?;
        let second = pair.alpha().leader().await?;
        pair.wait_happened(&second, "leads").await?;
        pair.wait_happened("later.shop.svc.alpha.example:80", "is exported").await?;
        ensure!(pair.wait_happened(more, "is exported").await? == at, "the old changes stay");
        let happened = pair.happened().await?;
        let of_beta =
            |text| happened.iter().any(|one| one["about"] == "beta" && one["text"] == text);
        ensure!(!of_beta("is not ready any more"), "a takeover is no trouble: {happened:#?}");

        // Broken content is replaced at once, because the leader knows better.
        let key = config_map("fedgate-changes");
        let broken = json!({ "binaryData": { "changes.json.gz": "AAAA" } });
        pair.alpha().objects().patch(key, &broken).await?;
        let is_whole = |object: &Value| object["binaryData"] != broken["binaryData"];
        pair.alpha().objects().wait_for(key, "to be whole", is_whole).await?;
        let size = pair.alpha().objects().get(key).await?.context("it")?.to_string().len();
        ensure!(size < 64 << 10, "{size} bytes");
        ensure!(pair.wait_happened(more, "is exported").await? == at, "nothing is lost");
        Ok(())
    });
}

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
        let explains_alike = async || {
            let arguments = ["fedgate", "explain", "--output", "json", "--to", to];
            let output = pair.alpha().kubectl(&arguments).await?;
            let said: Value = serde_json::from_slice(&output.stdout)?;
            let shown = format!("fetch('/page/explain?to={to}').then(r => r.json())");
            let shown = browser.evaluate(&shown).await?;
            ensure!(shown == said && said["passes"] == true, "{shown:#} {said:#}");
            Ok(Some(()))
        };
        wait::until("the terminal and the page to explain alike", SOON, explains_alike).await?;
        browser.evaluate("location.hash = '#/changes'; 0").await?;
        browser
            .wait("who leads", "document.querySelector('main').innerText.includes('leads')")
            .await?;
        pair.wait_happened(to, "is exported").await?;
        browser
            .wait("the change", "document.querySelector('main').innerText.includes('is exported')")
            .await?;
        let rows = "fetch('/page/changes?limit=200').then(r => r.json()).then(c => c.rows)";
        let is_same = async || {
            let (said, shown) = (pair.happened().await?, browser.evaluate(rows).await?);
            ensure!(shown == Value::from(said.clone()), "{shown:#} {said:#?}");
            Ok(Some(()))
        };
        wait::until("the terminal and the page to agree", SOON, is_same).await?;
        browser.check(url.trim_end_matches('/')).await?;
        command.kill().await?;
        browser.wait("the end", "document.getElementById('live').className === 'off'").await
    });
}
