//! A peer announces one of this site's own listeners as its gateway.

use crate::fixture::Liar;
use anyhow::{Result, ensure};
use fedgate_e2e::cluster::Settings;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::metadata_proxy::PRIVATE;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// More than an egress with three imports needs, but few enough that an egress that calls itself
/// soon runs out.
const DESCRIPTORS: u64 = 1_000;

impl Liar {
    fn announce(&self, gateways: Vec<Value>) {
        self.gamma.alter_json(PRIVATE, move |document| {
            document["ingressGateways"] = gateways.clone().into()
        });
    }

    /// Checks that alpha refuses gamma's announcement by name and everything else goes on.
    async fn refused(&mut self, what: &str, gateways: Vec<Value>) -> Result<()> {
        let stock = self.stock.name();
        self.announce(gateways);
        let finding = self.alpha().wait_finding("own_gateway").await?;
        ensure!(
            finding.object["name"] == "gamma" && finding.severity == "error",
            "{what}: {finding:?}"
        );
        self.alpha().wait_no_import(&stock).await?;
        self.web.call_from(self.alpha()).await?;
        let condition = self.alpha().status().await?;
        let condition = condition.condition("gamma", "DataplaneConnectionReady");
        ensure!(condition.is_some_and(|[status, ..]| status == "False"), "{what}: {condition:?}");
        self.gamma.alter(|_, truth| truth);
        self.alpha().wait_no_finding("own_gateway").await?;
        self.stock.wait_callable_from(self.alpha()).await?;
        self.federation.clusters[0].egress_process()?.check()
    }
}

fn probing_often(alpha: &mut Settings) {
    alpha.probe = "1s".into();
}

fn at(address: SocketAddr) -> Value {
    json!({ "address": address.ip().to_string(), "port": address.port() })
}

fn named(name: &str, port: u16) -> Value {
    json!({ "address": name, "port": port })
}

/// Otherwise the probe would connect to the egress, and the egress to itself, without end.
#[test]
fn a_peer_cannot_announce_our_own_port_as_its_gateway() {
    scenario("own-listeners", async |run: &RunFolder| {
        let mut liar = Liar::start(run, probing_often).await?;
        let alpha = liar.alpha();
        let [own, other] = [&liar.stock, &liar.web].map(Deployed::name);
        let (own, other) = (alpha.wait_import(&own).await?, alpha.wait_import(&other).await?);
        let (gateway, metadata) = (alpha.gateway_address(), alpha.metadata_address());
        let pid = liar.federation.clusters[0].egress_process()?.id();
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
        prlimit(pid, Resource::Nofile, limit)?;
        liar.refused("the port of its own import", vec![at(own)]).await?;
        liar.refused("the port of another peer's import", vec![at(other)]).await?;
        let mapped = json!({ "address": format!("::ffff:{}", own.ip()), "port": own.port() });
        liar.refused("a mapped address", vec![mapped]).await?;
        liar.refused("our gateway", vec![at(gateway)]).await?;
        liar.refused("our metadata endpoint", vec![at(metadata)]).await?;
        liar.refused("a name that leads to us", vec![named("localhost", own.port())]).await?;
        liar.refused("a name with the root's dot", vec![named("LOCALHOST.", own.port())]).await
    });
}

/// One good gateway is enough.
#[test]
fn a_peers_valid_gateway_is_used_although_it_also_announces_ours() {
    scenario("own-and-good", async |run: &RunFolder| {
        let liar = Liar::start(run, probing_often).await?;
        let own = liar.alpha().wait_import(&liar.stock.name()).await?;
        liar.announce(vec![at(own), at(liar.federation.clusters[2].gateway_address())]);
        liar.alpha().wait_finding("own_gateway").await?;
        for _ in 0..10 {
            liar.stock.call_from(liar.alpha()).await?;
        }
        Ok(())
    });
}

/// The controller resolves the name, with or without the trailing dot.
#[test]
fn a_gateway_may_be_announced_by_name() {
    scenario("named-gateway", async |run: &RunFolder| {
        let liar = Liar::start(run, probing_often).await?;
        let port = liar.federation.clusters[2].gateway_address().port();
        for name in ["localhost", "localhost."] {
            liar.announce(vec![named(name, port)]);
            let shown = format!("localhost:{port}");
            wait::until_true("alpha to use the name", SOON, async || {
                let status = liar.alpha().status().await?;
                let imports = status.0["imports"].as_array().cloned().unwrap_or_default();
                Ok(imports.iter().any(|import| import["gateways"] == json!([shown])))
            })
            .await?;
            liar.stock.wait_callable_from(liar.alpha()).await?;
        }
        liar.announce(vec![named("gateway.invalid", port)]);
        let finding = liar.alpha().wait_finding("gateway_not_found").await?;
        ensure!(finding.object["name"] == "gamma", "{finding:?}");
        liar.web.call_from(liar.alpha()).await.map(drop)
    });
}
