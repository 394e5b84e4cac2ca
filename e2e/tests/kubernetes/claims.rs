//! Peers that claim what belongs to others, and objects that are not peers at all. Each is refused,
//! and nothing else is affected.

use crate::events::Events;
use crate::fixture::{
    at_rest, exported, import_objects, peer, versions, wait_condition, wait_imported,
    wait_not_imported,
};
use crate::trio::Trio;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{Key, KubernetesCluster};
use fedgate_e2e::manifest;
use fedgate_e2e::metadata_proxy::{MetadataProxy, PRIVATE, PUBLIC, announce};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

const PEERS_POLICY: Key<'_> = Key::cluster_scoped(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding",
    "peers.fedgate.dev",
);

/// alpha imports `web` from beta, which is honest, and `stock` from gamma, which can lie.
struct Claims<'a> {
    trio: &'a Trio,
    gamma: MetadataProxy,
    web: String,
    stock: String,
    /// The initial versions of alpha's imports from beta.
    honest: Vec<[Value; 2]>,
}

impl<'a> Claims<'a> {
    async fn new(trio: &'a Trio) -> Result<Self> {
        let gamma = trio.let_gamma_lie().await?;
        let [web, stock] = trio.export_to_alpha(&exported("web"), &exported("stock")).await?;
        let honest = at_rest(&trio.clusters()[0], &import_objects(&web)).await?;
        Ok(Self { trio, gamma, web, stock, honest })
    }

    fn alpha(&self) -> &KubernetesCluster {
        &self.trio.clusters()[0]
    }

    async fn uuid(&self, cluster: usize) -> Result<String> {
        let cluster = &self.trio.clusters()[cluster];
        let url = cluster.metadata_url() + PUBLIC;
        let ca = reqwest::Certificate::from_pem(cluster.metadata_authority().pem().as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
        let document: Value = client.get(url).send().await?.json().await?;
        Ok(document["clusterUUID"].as_str().context("a UUID")?.to_owned())
    }

    /// Waits until alpha has requested a document from gamma this many more times.
    async fn asked(&self, suffix: &str, times: usize) -> Result<()> {
        let enough = self.gamma.requests(suffix) + times;
        let what = format!("alpha to ask for {suffix}");
        wait::until_true(&what, SOON, async || Ok(self.gamma.requests(suffix) >= enough)).await
    }

    /// Checks that alpha's imports from beta were not written.
    async fn beta_is_untouched(&self) -> Result<()> {
        let now = versions(self.alpha(), &import_objects(&self.web)).await?;
        ensure!(now == self.honest, "beta's imports were written: {:?}, now {now:?}", self.honest);
        Ok(())
    }

    /// Makes gamma claim the UUID of this cluster.
    async fn claims_uuid_of(&self, cluster: usize, reason: &str) -> Result<()> {
        let uuid = self.uuid(cluster).await?;
        self.gamma
            .alter_json(PUBLIC, move |document| document["clusterUUID"] = uuid.clone().into());
        wait_condition(self.alpha(), "gamma", "Accepted", ("False", reason)).await?;
        wait_not_imported(self.alpha(), &self.stock).await?;
        // A token for that UUID would be valid at the other cluster.
        let tokens = self.gamma.tokens().len();
        self.asked(PUBLIC, 2).await?;
        ensure!(self.gamma.tokens().len() == tokens, "gamma was sent a token for another's UUID");
        self.beta_is_untouched().await?;
        self.gamma.alter(|_, reply| reply);
        wait_condition(self.alpha(), "gamma", "Accepted", ("True", "Accepted")).await?;
        wait_imported(self.alpha(), &self.stock).await
    }

    /// Applies an object that is not a peer because of its trust domain.
    async fn is_no_peer(&self, name: &str, trust_domain: &str, reason: &str) -> Result<()> {
        let gamma = &self.trio.clusters()[2];
        let ca = gamma.metadata_authority().pem();
        let object = manifest::federation(name, trust_domain, &self.gamma.url(), &ca);
        self.alpha().objects().apply(&object).await?;
        wait_condition(self.alpha(), name, "Accepted", ("False", reason)).await?;
        self.beta_is_untouched().await?;
        wait_condition(self.alpha(), "beta", "Accepted", ("True", "Accepted")).await?;
        wait_condition(self.alpha(), "gamma", "Accepted", ("True", "Accepted")).await?;
        wait_imported(self.alpha(), &self.stock).await
    }

    /// Addresses on which this cluster listens are dropped from the peer's gateways and reported.
    /// The peer's real gateway stays.
    async fn our_addresses(&self) -> Result<()> {
        let (alpha, own) = (self.alpha(), self.alpha().addresses());
        let honest = self.trio.clusters()[2].addresses().gateway.to_string();
        let in_services = own.services.replace(".0.0/16", ".0.7");
        let in_pods = own.pods.replace(".0.0/16", ".0.7");
        let events = Events::of(alpha, peer("gamma")).await?;
        for (address, port) in [
            (own.gateway.to_string(), 15443),
            (own.node.to_string(), 15443),
            (own.node.to_string(), 15090),
            ("127.0.0.1".to_owned(), 15001),
            (in_services, 443),
            // For example the metadata endpoint's Pods.
            (in_pods, 8443),
        ] {
            let announced = address.clone();
            self.gamma.alter_json(PRIVATE, move |document| {
                if let Some(gateways) = document["ingressGateways"].as_array_mut() {
                    gateways.push(json!({ "address": announced, "port": port }));
                }
            });
            events.wait_event("Warning", "OwnGateway", &format!("{address}:{port}")).await?;
            let [entry, _] = import_objects(&self.stock);
            let entry = alpha.objects().get(entry).await?.context("the import")?.to_string();
            let quoted = |address: &str| format!("\"{address}\"");
            ensure!(
                entry.contains(&quoted(&honest)) && !entry.contains(&quoted(&address)),
                "{entry}"
            );
        }
        self.beta_is_untouched().await?;
        self.gamma.alter(|_, reply| reply);
        wait_imported(alpha, &self.stock).await
    }

    /// A name outside gamma's domain is dropped and reported once. gamma's own names stay.
    async fn foreign_name(&self) -> Result<()> {
        let alpha = self.alpha();
        let good = versions(alpha, &import_objects(&self.stock)).await?;
        let events = Events::of(alpha, peer("gamma")).await?;
        for name in [
            self.web.as_str(),
            "db.shop.svc.alpha.example",
            "kubernetes.default.svc.cluster.local",
            // The name of a FederatedService.
            "web.shop.global",
        ] {
            let announced = name.to_owned();
            self.gamma.alter_json(PRIVATE, move |document| announce(document, &announced));
            let is_reported = |object: &Value| {
                let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                let mut refused =
                    conditions.filter(|condition| condition["type"] == "NamesRefused");
                refused.any(|condition| {
                    condition["message"].as_str().is_some_and(|message| message.contains(name))
                })
            };
            alpha
                .objects()
                .wait_for(peer("gamma"), &format!("to report that {name} is refused"), is_reported)
                .await?;
            wait_condition(alpha, "gamma", "NamesRefused", ("True", "ForeignName")).await?;
            events.wait_event("Warning", "ForeignName", name).await?;
            ensure!(
                events.times(name).await? == 1,
                "one change, one Event: {:#?}",
                events.list().await?
            );
            let before = events.times("").await?;
            self.asked(PRIVATE, 3).await?;
            ensure!(
                events.times("").await? == before,
                "no Event for each cycle: {:#?}",
                events.list().await?
            );
        }
        ensure!(
            versions(alpha, &import_objects(&self.stock)).await? == good,
            "gamma's good name was touched"
        );
        self.beta_is_untouched().await?;
        for key in import_objects("db.shop.svc.alpha.example") {
            ensure!(alpha.objects().get(key).await?.is_none(), "{key}");
        }
        self.gamma.alter(|_, reply| reply);
        wait_condition(alpha, "gamma", "NamesRefused", ("False", "AllOwn")).await?;
        events.wait_event("Normal", "AllOwn", "NamesRefused").await?;
        let described = self.alpha().kubectl(&["describe", "istiofederation", "gamma"]).await?;
        let described = String::from_utf8_lossy(&described.stdout).into_owned();
        ensure!(described.contains("ForeignName") && described.contains(&self.web), "{described}");
        Ok(())
    }
}

#[test]
fn a_peer_cannot_claim_what_belongs_to_another() {
    scenario("claims", async |run: &RunFolder| {
        let trio = Trio::start(run).await?;
        let claims = Claims::new(&trio).await?;
        claims.claims_uuid_of(1, "UuidTaken").await?;
        claims.claims_uuid_of(0, "OurUuid").await?;
        claims.is_no_peer("zeta", "beta.example", "SameTrustDomain").await?;
        claims.is_no_peer("alpha", "alpha.example", "ThisCluster").await?;

        let local = claims.is_no_peer("local", "cluster.local", "ClusterLocal").await;
        let refused = local.err().context("the admission policy took cluster.local")?;
        ensure!(format!("{refused:#}").contains("cluster.local is refused"), "{refused:#}");
        // An object that was created before the policy.
        let alpha = claims.alpha();
        alpha.objects().delete(PEERS_POLICY).await?;
        wait::until("the policy to end", SOON, async || {
            claims.is_no_peer("local", "cluster.local", "ClusterLocal").await.map(Some)
        })
        .await?;

        claims.our_addresses().await?;
        claims.foreign_name().await
    });
}
