//! A peer's documents are checked and bounded, and never wipe what is known to be good.

use crate::fixture::{Liar, Pair};
use anyhow::{Result, bail, ensure};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::metadata_proxy::{PRIVATE, PUBLIC, Reply, announce};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::time::Duration;

impl Liar {
    /// Waits until alpha has requested a document from gamma this many more times.
    async fn asked(&self, suffix: &str, times: usize) -> Result<()> {
        let enough = self.gamma.requests(suffix) + times;
        let what = format!("alpha to ask for {suffix}");
        // Consecutive failures slow down alpha's polling: after three it waits for several seconds.
        wait::until_true(&what, 4 * SOON, async || Ok(self.gamma.requests(suffix) >= enough)).await
    }

    /// Checks that both peers' services are still reachable, whatever gamma did.
    async fn all_is_well(&self) -> Result<()> {
        self.web.call_from(self.alpha()).await?;
        self.stock.call_from(self.alpha()).await.map(drop)
    }
}

/// Names of other clusters and malformed names are dropped and reported. The good name stays.
#[test]
fn a_foreign_name_is_dropped_and_the_rest_stays() {
    scenario("foreign-names", async |run: &RunFolder| {
        let liar = Liar::start(run, |_| ()).await?;
        let foreign = [
            "web.shop.svc.beta.example",
            "web.shop.svc.alpha.example",
            "kubernetes.default.svc.cluster.local",
            "stock.shop.svc.evil-gamma.example",
            "gamma.example",
        ];
        for name in foreign {
            liar.gamma.alter_json(PRIVATE, move |document| announce(document, name));
            liar.asked(PRIVATE, 2).await?;
            let finding = wait::until(&format!("{name} to be reported"), SOON, async || {
                let finding = liar.alpha().wait_finding("foreign_name").await?;
                ensure!(finding.message.contains(name), "{finding:?}");
                Ok(Some(finding))
            })
            .await?;
            ensure!(finding.object["name"] == "gamma", "{name}: {finding:?}");
            liar.all_is_well().await?;
        }
        liar.gamma.alter(|_, reply| reply);
        liar.alpha().wait_no_finding("foreign_name").await
    });
}

/// Documents that are empty, invalid, too large, or missing.
#[test]
fn no_bad_document_removes_known_services() {
    scenario("documents", async |run: &RunFolder| {
        let liar = Liar::start(run, |_| ()).await?;
        for (what, reply) in bad_replies() {
            for suffix in [PUBLIC, PRIVATE] {
                let reply = reply.clone();
                liar.gamma
                    .alter(move |path, truth| if path == suffix { reply.clone() } else { truth });
                liar.asked(suffix, 2).await?;
                if let Err(error) = liar.all_is_well().await {
                    bail!("{what} as {suffix}: {error:#}");
                }
                // A success in between: consecutive failures slow down alpha's polling.
                liar.gamma.alter(|_, truth| truth);
                liar.asked(PRIVATE, 1).await?;
            }
        }
        // The counterpart: once gamma is sane again, its new export is imported.
        liar.gamma.alter(|_, reply| reply);
        let gamma = &liar.federation.clusters[2];
        let mut more = Deployed::http(gamma, "more").await?;
        more.apply(gamma, Service::exported)?;
        more.wait_callable_from(liar.alpha()).await
    });
}

fn bad_replies() -> Vec<(&'static str, Reply)> {
    let status = |status| Reply { status, ..Reply::ok("{}") };
    vec![
        ("status 500", status(500)),
        ("status 401", status(401)),
        ("a redirect", Reply { location: Some("https://127.0.0.1:1/".into()), ..status(302) }),
        ("nothing", Reply::ok("")),
        ("no JSON", Reply::ok("<html>")),
        ("an empty object", Reply::ok("{}")),
        ("null", Reply::ok("null")),
        (
            "an empty list of gateways",
            Reply::ok(r#"{"ingressGateways": [], "publicServices": []}"#),
        ),
        (
            "no gateways and no services",
            Reply::ok(r#"{"ingressGateways": null, "publicServices": null}"#),
        ),
        ("an empty root", Reply::ok(r#"{"clusterUUID": "x", "authnKeyPub": "", "rootCA": ""}"#)),
        ("deep JSON", Reply::ok("[".repeat(100_000))),
        ("64 MiB", Reply::ok(vec![b' '; 64 << 20])),
    ]
}

/// An old document is not accepted, although its signature was valid.
#[test]
fn a_replayed_document_changes_nothing() {
    scenario("replay", async |run: &RunFolder| {
        let liar = Liar::start(run, |_| ()).await?;
        let (sender, old) = std::sync::mpsc::channel();
        liar.gamma.alter(move |path, reply| {
            if path == PRIVATE {
                let _ = sender.send(reply.body.clone());
            }
            reply
        });
        let old = wait::until("gamma's document", SOON, async || Ok(old.try_recv().ok())).await?;
        let gamma = &liar.federation.clusters[2];
        let mut more = Deployed::http(gamma, "more").await?;
        more.apply(gamma, Service::exported)?;
        more.wait_callable_from(liar.alpha()).await?;
        let replay =
            move |path: &str, truth| if path == PRIVATE { Reply::ok(old.clone()) } else { truth };
        liar.gamma.alter(replay);
        liar.asked(PRIVATE, 3).await?;
        more.call_from(liar.alpha()).await?;
        liar.all_is_well().await
    });
}

/// A peer that accepts connections and never answers does not block the others.
#[test]
fn a_silent_peer_does_not_delay_the_others() {
    scenario("silent-peer", async |run: &RunFolder| {
        let liar = Liar::start(run, |_| ()).await?;
        liar.gamma.alter(|_, reply| Reply { stalls: true, ..reply });
        liar.asked(PUBLIC, 1).await?;
        let beta = &liar.federation.clusters[1];
        let mut more = Deployed::http(beta, "more").await?;
        more.apply(beta, Service::exported)?;
        let start = std::time::Instant::now();
        more.wait_callable_from(liar.alpha()).await?;
        ensure!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        liar.all_is_well().await
    });
}

/// An unconfirmed document is first reported as stale and still used, then no longer used.
#[test]
fn stale_documents_are_reported_and_dropped_at_the_limit() {
    scenario("stale", async |run: &RunFolder| {
        let liar = Liar::start(run, |alpha| {
            (alpha.stale_after, alpha.staleness_limit) = ("3s".into(), "12s".into());
        })
        .await?;
        let port = liar.alpha().wait_import(&liar.stock.name()).await?;
        liar.gamma.alter(|_, _| Reply { status: 503, ..Reply::ok("") });
        let finding = liar.alpha().wait_finding("stale").await?;
        ensure!(finding.object["name"] == "gamma", "{finding:?}");
        liar.stock.call_through(port).await?;
        liar.alpha().wait_finding("expired").await?;
        liar.alpha().wait_no_import(&liar.stock.name()).await?;
        let gone = async || Ok(plain_get(port, "stock").await.is_err());
        wait::until_true("the import's port to close", SOON, gone).await?;
        liar.web.call_from(liar.alpha()).await?;
        liar.gamma.alter(|_, reply| reply);
        liar.stock.wait_callable_from(liar.alpha()).await
    });
}

/// A peer cannot take over another peer, or this cluster, by claiming its UUID.
#[test]
fn a_uuid_belongs_to_one_cluster() {
    scenario("uuid", async |run: &RunFolder| {
        let mut liar = Liar::start(run, |_| ()).await?;
        for (cluster, reason) in [(1, "uuid_taken"), (0, "our_uuid")] {
            let uuid = liar.federation.clusters[cluster].settings().uuid.clone();
            liar.gamma
                .alter_json(PUBLIC, move |document| document["clusterUUID"] = uuid.clone().into());
            let finding = liar.alpha().wait_finding(reason).await?;
            ensure!(finding.object["name"] == "gamma", "{finding:?}");
            liar.web.call_from(liar.alpha()).await?;
        }
        Ok(())
    });
}

/// Without a valid token every answer is the same, and reveals nothing.
#[test]
fn only_peers_get_the_private_document() {
    scenario("token", async |run: &RunFolder| {
        let pair = Pair::start(run, |_, _| Ok(())).await?;
        let ca = reqwest::Certificate::from_pem(pair.beta().metadata_authority().pem().as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
        let url = pair.beta().metadata_url() + PRIVATE;
        let mut bodies = Vec::new();
        for token in
            ["", "Bearer ", "Bearer a.b.c", "Basic YTpi", "Bearer eyJhbGciOiJub25lIn0.e30."]
        {
            let response = client.get(&url).header("authorization", token).send().await?;
            ensure!(response.status() == 401, "{token:?}: status {}", response.status());
            bodies.push(response.text().await?);
        }
        ensure!(bodies.iter().all(|body| *body == bodies[0]), "the answers differ: {bodies:?}");
        let public = client.get(pair.beta().metadata_url() + PUBLIC).send().await?;
        ensure!(public.status() == 200, "the public document: status {}", public.status());
        Ok(())
    });
}
