//! Members of which only a part works: how many calls they keep, and how many the next one gets.

use super::super::fixture::run;
use super::trio::{Trio, WEB, answered_by, wait_answers};
use anyhow::{Result, ensure};
use fedgate_e2e::istio::Client;
use fedgate_e2e::kubernetes::balancer::Balancer;
use fedgate_e2e::kubernetes::{Key, SHOP};
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const CALLS: usize = 200;

/// beta's gateway at four addresses, as four gateways would be. The first is that of its Service.
struct Gateways {
    gateway: SocketAddr,
    addresses: [SocketAddr; 3],
    others: Vec<Balancer>,
}

impl Gateways {
    async fn start(trio: &Trio) -> Result<Self> {
        let (beta, gateway) = (&trio.beta, trio.beta.gateway()?.address());
        let node = beta.cluster.addresses().node;
        let addresses = [15_444, 15_445, 15_446].map(|port| SocketAddr::from((node, port)));
        let all = addresses.into_iter().chain([beta.gateway_address()]);
        let all: Vec<_> = all.map(|address| address.to_string()).collect();
        let patch =
            json!({ "metadata": { "annotations": { "fedgate.dev/advertise": all.join(",") } } });
        let alpha = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "alpha");
        beta.cluster.objects().patch(alpha, &patch).await?;
        let mut gateways = Self { gateway, addresses, others: Vec::new() };
        gateways.set_working(4).await?;
        Ok(gateways)
    }

    /// The others are gone, with their connections.
    async fn set_working(&mut self, count: usize) -> Result<()> {
        self.others.truncate(count - 1);
        for address in &self.addresses[self.others.len()..count - 1] {
            let balancer = Balancer::start_at(*address).await?;
            balancer.set_targets(vec![self.gateway]);
            self.others.push(balancer);
        }
        Ok(())
    }
}

/// Waits until the client's sidecar finds so many addresses of beta's `web` healthy, of four.
async fn wait_healthy(client: &Client, count: usize) -> Result<()> {
    wait::until_true(&format!("{count} of 4 gateways to be healthy"), SOON, async || {
        let clusters = client.agent().ask("/clusters").await?;
        let flags = clusters.lines().filter_map(|line| {
            let address = line.strip_prefix("outbound|80||web.shop.svc.beta.example::")?;
            address.split_once("::health_flags::").map(|(_, flags)| flags)
        });
        let flags: Vec<_> = flags.collect();
        Ok(flags.len() == 4 && flags.iter().filter(|flags| **flags == "healthy").count() == count)
    })
    .await
}

/// How many of many calls each cluster answers.
async fn shares(client: &Client) -> Result<BTreeMap<String, usize>> {
    let mut shares = BTreeMap::new();
    for _ in 0..CALLS {
        *shares.entry(answered_by(client, WEB).await?).or_default() += 1;
    }
    println!("{shares:?}");
    Ok(shares)
}

/// Returns true if a share differs from the expected one by less than chance makes it in one of a
/// million runs (five standard deviations of a half, 35 calls of 200).
fn is_about(shares: &BTreeMap<String, usize>, cluster: &str, expected: usize) -> bool {
    shares.get(cluster).copied().unwrap_or_default().abs_diff(expected) < 35
}

async fn put_web(trio: &Trio, members: Value, in_use: &[&str]) -> Result<()> {
    let port = json!({ "name": "http", "port": 80, "healthCheck": { "path": "/healthz" } });
    trio.put_port("web", port, members, in_use).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_gateways_are_partly_out_shares_its_calls_with_the_next() -> Result<()> {
    let run = run("federated-spillover")?;
    let trio = Trio::start(&run).await?;
    let mut gateways = Gateways::start(&trio).await?;
    trio.put_mail().await?;
    let members = json!([{ "peers": ["beta"] }, { "peers": ["gamma"] }]);
    put_web(&trio, members, &["beta", "gamma"]).await?;
    let client = trio.client().await?;

    // Up to a quarter of the gateways may be out without an effect.
    for working in [4, 3] {
        gateways.set_working(working).await?;
        wait_healthy(&client, working).await?;
        let shares = shares(&client).await?;
        ensure!(shares.get("beta") == Some(&CALLS), "{working} of 4: {shares:?}");
    }
    // Two of four: 1.4 times a half. One of four: 1.4 times a quarter.
    for (working, beta) in [(2, 140), (1, 70)] {
        gateways.set_working(working).await?;
        wait_healthy(&client, working).await?;
        let shares = shares(&client).await?;
        ensure!(is_about(&shares, "beta", beta), "{working} of 4: {shares:?}");
        ensure!(is_about(&shares, "gamma", CALLS - beta), "{working} of 4: {shares:?}");
    }
    // Members that share by weight: beta keeps 70 % of its three quarters, the rest is gamma's.
    let members = json!([
        { "peers": ["beta"], "priority": 0, "weight": 3 },
        { "peers": ["gamma"], "priority": 0 },
        { "local": {} },
    ]);
    put_web(&trio, members, &["beta", "gamma", "local"]).await?;
    gateways.set_working(2).await?;
    wait_healthy(&client, 2).await?;
    wait_shared(&client).await?;
    // The last of the old orders may still be in use.
    let shares = wait::until("beta to have 105 of 200 calls, gamma the others", SOON, async || {
        let shares = shares(&client).await?;
        let is_shared = is_about(&shares, "beta", 105) && is_about(&shares, "gamma", 95);
        Ok(is_shared.then_some(shares))
    })
    .await?;
    ensure!(!shares.contains_key("alpha"), "{shares:?}");
    Ok(())
}

/// Waits until the sidecar shares calls among orders.
async fn wait_shared(client: &Client) -> Result<()> {
    let dump = "/config_dump?resource=dynamic_route_configs";
    client.agent().wait_configured(dump, "outbound|80|order-1|web.shop.global").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_service_with_a_ready_endpoint_keeps_all_calls() -> Result<()> {
    let run = run("federated-part-ready")?;
    let trio = Trio::start(&run).await?;
    trio.put_mail().await?;
    trio.put_web(json!([{ "local": {} }, { "peers": ["beta"] }]), &["local", "beta"]).await?;
    // Beside the one that is ready, three that are not. Nothing listens there.
    let key = Key::namespaced("discovery.k8s.io/v1", "EndpointSlice", SHOP, "web-1");
    let objects = trio.alpha.cluster.objects();
    let mut endpoints = objects.get(key).await?.unwrap_or_default()["endpoints"].clone();
    let more = (1..4).map(|number| {
        json!({ "addresses": [format!("192.0.2.{number}")], "conditions": { "ready": false } })
    });
    if let Value::Array(endpoints) = &mut endpoints {
        endpoints.extend(more);
    }
    objects.patch(key, &json!({ "endpoints": endpoints })).await?;
    let client = trio.client().await?;
    wait_answers(&client, WEB, "alpha").await?;
    let shares = shares(&client).await?;
    ensure!(shares.get("alpha") == Some(&CALLS), "{shares:?}");

    // The twin: the last one is not ready either.
    endpoints[0]["conditions"] = json!({ "ready": false });
    objects.patch(key, &json!({ "endpoints": endpoints })).await?;
    wait_answers(&client, WEB, "beta").await
}
