//! A peer is absent: it falls silent, or cannot hear. What both sides show, and what stays in force.
//!
//! One of these tests waits for more than two minutes. Tests run in the order of their names, so it
//! begins first and does not prolong the whole run.

use crate::fixture::{
    config_map, exported, import_objects, peer, wait_condition, wait_imported, wait_not_imported,
};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{CertificateServer, Key, KubernetesCluster, KubernetesFederation};
use fedgate_e2e::metadata_proxy::{MetadataProxy, PRIVATE, Reply};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// alpha and beta. Each reaches the other through a proxy that can fall silent.
struct Behind {
    federation: KubernetesFederation<2>,
    /// In front of beta, then in front of alpha.
    proxies: [MetadataProxy; 2],
    host: String,
    _gateways: [CertificateServer; 2],
}

impl Behind {
    async fn start(run: &RunFolder, settings: &[(&str, &str)]) -> Result<Self> {
        let mut federation = KubernetesFederation::start(run, ["alpha", "beta"]).await?;
        let [alpha, beta] = &mut federation.clusters;
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        alpha.settings().extend(settings);
        let proxies = [
            MetadataProxy::in_front_of_kubernetes(beta).await?,
            MetadataProxy::in_front_of_kubernetes(alpha).await?,
        ];
        alpha.put_peer_at(beta, &proxies[0].url()).await?;
        beta.put_peer_at(alpha, &proxies[1].url()).await?;
        let web = exported("web");
        alpha.put_service(&web).await?;
        beta.put_service(&web).await?;
        let host = web.host(&beta.trust_domain());
        // For the probes.
        let gateways =
            [alpha.serve_gateway_certificate().await?, beta.serve_gateway_certificate().await?];
        federation.start_controllers().await?;
        wait_imported(&federation.clusters[0], &host).await?;
        Ok(Self { federation, proxies, host, _gateways: gateways })
    }

    fn alpha(&self) -> &KubernetesCluster {
        &self.federation.clusters[0]
    }

    async fn at_expiry(&self, word: &str) -> Result<()> {
        let annotation =
            json!({ "metadata": { "annotations": { "fedgate.dev/at-expiry": word } } });
        self.alpha().objects().patch(peer("beta"), &annotation).await.map(drop)
    }

    /// Waits until alpha's gateway knows beta in its table, and beta's roots, or does not.
    async fn wait_gateway(&self, in_table: bool, has_roots: bool) -> Result<()> {
        let what = format!("beta to be in the table ({in_table}), its roots ({has_roots})");
        wait::until_true(&what, SOON, async || {
            let table = self.alpha().fedgate(&["table", "--output", "json"]).await?;
            let table: Value = serde_json::from_slice(&table.stdout)?;
            let peers = table["peers"].as_array().context("no peers")?;
            let bundle = self.alpha().objects().get(BUNDLE).await?.context("no bundle")?;
            Ok(peers.iter().any(|peer| peer["name"] == "beta") == in_table
                && bundle["data"].to_string().contains("beta.example") == has_roots)
        })
        .await
    }
}

const BUNDLE: Key<'_> = config_map("fedgate-trust-bundle");

#[test]
fn at_expiry_says_what_stays_of_a_silent_peer() {
    scenario("at-expiry", async |run: &RunFolder| {
        let times = [("FEDGATE_STALE_AFTER", "5s"), ("FEDGATE_STALENESS_LIMIT", "10s")];
        let behind = Behind::start(run, &times).await?;
        let (alpha, host) = (behind.alpha(), behind.host.as_str());
        behind.wait_gateway(true, true).await?;
        behind.at_expiry("Keep").await?;
        behind.proxies[0].alter(|_, _| Reply { status: 503, ..Reply::ok("") });
        // Keep: the import, the table and the roots stay.
        wait_condition(alpha, "beta", "Stale", ("True", "Expired")).await?;
        let entry = import_objects(host)[0];
        ensure!(alpha.objects().get(entry).await?.is_some(), "the import is gone");
        behind.wait_gateway(true, true).await?;
        // Drain: imports and roots go; the table still has the peer, for its open connections.
        behind.at_expiry("Drain").await?;
        wait_not_imported(alpha, host).await?;
        behind.wait_gateway(true, false).await?;
        // Drop: the table closes those as well.
        behind.at_expiry("Drop").await?;
        behind.wait_gateway(false, false).await?;
        // A fetch that succeeds restores everything.
        behind.proxies[0].alter(|_, reply| reply);
        wait_imported(alpha, host).await?;
        behind.wait_gateway(true, true).await?;
        wait_condition(alpha, "beta", "Stale", ("False", "Confirmed")).await.map(drop)
    });
}

/// A mismatch becomes a condition after two minutes.
const SETTLED: Duration = Duration::from_secs(150);

#[test]
fn each_side_shows_what_the_other_does_not_get() {
    scenario("far-side", async |run: &RunFolder| {
        let behind = Behind::start(run, &[]).await?;
        let alpha = behind.alpha();
        let mismatch = async || {
            let output = alpha.fedgate(&["status", "--output", "json"]).await?;
            let status: Value = serde_json::from_slice(&output.stdout)?;
            Ok::<_, anyhow::Error>(status["peers"][0]["farSide"]["mismatches"].clone())
        };
        let is_fetch = |mismatches: &Value| {
            let rows = mismatches.as_array().into_iter().flatten();
            rows.clone().any(|row| row["kind"] == "fetch" && row["turn"] == "ours")
        };
        let none = async || Ok(!is_fetch(&mismatch().await?));
        wait::until_true("beta to fetch alpha's document", SOON, none).await?;

        // Something refuses beta's requests on the way to alpha.
        let refused = |path: &str, reply| match path {
            PRIVATE => Reply { status: 503, ..Reply::ok("") },
            _ => reply,
        };
        behind.proxies[1].alter(refused);
        let began = Instant::now();
        let has_condition = async || {
            let object = alpha.objects().get(peer("beta")).await?.context("no beta")?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            Ok(conditions
                .into_iter()
                .find(|row| row["type"] == "FarSideDiffers")
                .filter(|row| row["status"] == "True"))
        };
        ensure!(has_condition().await?.is_none(), "a mismatch of a moment is no condition");
        let condition = wait::until("the condition", SETTLED, has_condition).await?;
        let message = condition["message"].as_str().unwrap_or_default();
        ensure!(message.contains("our turn") && message.contains("NonOKResponse"), "{condition}");
        eprintln!("alpha's condition shows beta's trouble after {:?}", began.elapsed());
        let told = async || Ok(is_fetch(&mismatch().await?));
        wait::until_true("alpha's status to show it", SOON, told).await?;
        let check = alpha.fedgate(&["check"]).await?;
        let check = String::from_utf8_lossy(&check.stdout).into_owned();
        ensure!(check.contains("WARN it sees this cluster as it is") && check.contains("our turn"));

        // After two minutes of failures, beta asks only once a minute.
        behind.proxies[1].alter(|_, reply| reply);
        let is_gone = async || Ok(has_condition().await?.is_none());
        wait::until_true("the condition to go", SETTLED, is_gone).await?;
        wait::until_true("alpha's status to show that it is over", SOON, none).await
    });
}
