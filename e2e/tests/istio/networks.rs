//! Gateways behind load balancers, at different addresses for different peers, and in several
//! zones.

use super::fixture::{Pair, run};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::{Client, plain_get};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::{self, Mesh};
use fedgate_e2e::kubernetes::balancer::{Balancer, Header};
use fedgate_e2e::kubernetes::{Key, NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::net::SocketAddrV4;

fn with_setting(variable: &str, value: &str) -> MeshOptions {
    let controller = [(variable.to_owned(), value.to_owned())].into();
    MeshOptions { controller, ..MeshOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_logs_the_client_that_the_balancer_names() -> Result<()> {
    let run = run("proxy-protocol")?;
    let pair =
        Pair::start_with(&run, &with_setting("FEDGATE_GATEWAY_PROXY_PROTOCOL", "true")).await?;
    for mesh in [&pair.alpha, &pair.beta] {
        let source = SocketAddrV4::new([192, 0, 2, 77].into(), 40_000);
        mesh.balancer().set_header(Some(Header { binary: true, source }));
    }
    pair.client().await?;
    let caller = pair.alpha.cluster.authority().workload("spiffe://alpha.example/ns/shop/sa/x")?;
    let (caller, sni) = (Client::new(Some(&caller))?, pair.web.sni("beta.example"));
    let log = pair.beta_log()?;
    let answer = caller.get(pair.beta.gateway_address(), &sni, &pair.host()).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let allowed = |outcome: &Option<String>| outcome.as_deref() == Some("allowed");
    let entry = log.wait_for("a call", |entry| allowed(&entry.outcome)).await?;
    ensure!(entry.client.as_deref() == Some("192.0.2.77:40000"), "{entry:?}");
    ensure!(entry.balancer.is_some(), "{entry:?}");

    // From now on only the controller connects to the Pod itself, to see its certificate. Before the
    // balancers sent headers, probes were refused.
    let gateway = pair.beta.gateway()?;
    let refused = async || {
        let counter = "proxy_proto.not_found_disallowed";
        Ok::<_, anyhow::Error>(gateway.agent().stat(counter).await?.unwrap_or_default())
    };
    let earlier = refused().await?;
    wait::until_true("the controller to accept the certificate", SOON, async || {
        let output = pair.beta.cluster.fedgate(&["status", "--output", "json"]).await?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        Ok(!findings.iter().any(|finding| finding["object"]["kind"] == "Pod"))
    })
    .await?;

    // The twin: a peer that goes around the balancer gets nothing.
    let before = pair.backend.connections();
    let around = caller.get(gateway.address(), &sni, &pair.host()).await;
    ensure!(around.is_err() && pair.backend.connections() == before, "{around:?}");
    ensure!(refused().await? == earlier + 1, "this one alone is counted");
    Ok(())
}

/// The peer's object in beta.
fn alpha() -> Key<'static> {
    Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "alpha")
}

async fn tell_alpha(beta: &Mesh, addresses: Option<&str>) -> Result<()> {
    let annotations = json!({ "fedgate.dev/advertise": addresses });
    let patch = json!({ "metadata": { "annotations": annotations } });
    beta.cluster.objects().patch(alpha(), &patch).await.map(drop)
}

/// The endpoints of `plain` in alpha, each with its locality.
async fn endpoints(pair: &Pair) -> Result<Vec<(String, Option<String>)>> {
    let host = HOST;
    let key = Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, host);
    let entry = pair.alpha.cluster.objects().get(key).await?.context("no ServiceEntry")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let endpoints = entry["spec"]["endpoints"].as_array().context("no endpoints")?;
    let endpoint =
        |one: &Value| (text(&one["address"]).unwrap_or_default(), text(&one["locality"]));
    Ok(endpoints.iter().map(endpoint).collect())
}

async fn wait_endpoints(pair: &Pair, expected: &[(&str, Option<&str>)]) -> Result<()> {
    wait::until("the endpoints in alpha", SOON, async || {
        let found = endpoints(pair).await?;
        let text: Vec<_> =
            found.iter().map(|(address, at)| (address.as_str(), at.as_deref())).collect();
        ensure!(text == expected, "{text:?}, expected {expected:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_connects_where_it_is_told_and_to_the_nearest_gateway_first() -> Result<()> {
    let run = run("zones")?;
    let pair = Pair::start(&run).await?;
    let beta = &pair.beta;
    // The same gateway by another way, as a gateway in another zone would be.
    let far = Balancer::start_at((beta.cluster.addresses().node, 15_444).into()).await?;
    far.set_targets(vec![beta.gateway()?.address()]);
    let (near, [near_ip, far_ip]) = (
        beta.balancer(),
        [beta.gateway_address().ip(), far.address().ip()].map(|ip| ip.to_string()),
    );
    let plain = Service::new("plain", "tcp", PORT, pair.backend.address()).exported();
    beta.cluster.put_service(&plain).await?;
    let client = istio::Client::start(&pair.alpha, "client", &[import()]).await?;
    wait_calls(&client).await?;
    wait_endpoints(&pair, &[(&near_ip, None)]).await?;
    quiet_connections_are_kept(&pair, &client).await?;

    // Only alpha is told the second address.
    tell_alpha(beta, Some(&far.address().to_string())).await?;
    wait_endpoints(&pair, &[(&far_ip, None)]).await?;
    wait_calls(&client).await?;
    let before = near.accepted();
    let output = beta.cluster.fedgate(&["status"]).await?;
    let shown = String::from_utf8(output.stdout)?;
    ensure!(shown.contains(&format!("{}, told to alpha", far.address())), "{shown}");

    // The client is in the near zone.
    let labels =
        json!({ "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-a" });
    for node in pair.alpha.cluster.objects().list(("v1", "Node"), None, "").await? {
        let name = node["metadata"]["name"].as_str().context("a node's name")?;
        let key = Key::cluster_scoped("v1", "Node", name);
        let patch = json!({ "metadata": { "labels": labels } });
        pair.alpha.cluster.objects().patch(key, &patch).await?;
    }
    let both = format!("{}@eu/eu-a,{}@us/us-1", beta.gateway_address(), far.address());
    tell_alpha(beta, Some(&both)).await?;
    let mut expected = [(near_ip.as_str(), Some("eu/eu-a")), (far_ip.as_str(), Some("us/us-1"))];
    expected.sort_unstable();
    wait_endpoints(&pair, &expected).await?;
    let client = istio::Client::start(&pair.alpha, "zoned", &[import()]).await?;
    wait_calls(&client).await?;
    let (near_before, far_before) = (near.accepted(), far.accepted());
    calls(&client, 20).await;
    ensure!(near.accepted() > near_before.max(before), "the near gateway is used");
    let new = far.accepted() - far_before;
    ensure!(new <= PROBES, "the far gateway got {new} connections");

    // With the near gateway gone, the far one takes over; and the near one takes back.
    near.set_targets(Vec::new());
    wait_calls(&client).await?;
    let far_before = far.accepted();
    let answered = calls(&client, 20).await;
    ensure!(answered == 20 && far.accepted() >= far_before + 20, "{answered} calls are answered");
    near.set_targets(vec![beta.gateway()?.address()]);
    wait::until_true("the near gateway to be used again", SOON * 3, async || {
        let before = near.accepted();
        calls(&client, 5).await;
        Ok(near.accepted() >= before + 5)
    })
    .await?;

    tell_alpha(beta, None).await?;
    wait_endpoints(&pair, &[(&near_ip, None)]).await
}

/// alpha's controller probes each gateway once a minute.
const PROBES: usize = 2;

const HOST: &str = "plain.shop.svc.beta.example";
/// The protocol is TCP, so each call is a separate connection.
const PORT: u16 = 83;

fn import() -> istio::Import {
    istio::Import { host: HOST.into(), port: PORT, protocol: "TCP" }
}

/// How many of several calls are answered.
async fn calls(client: &istio::Client, count: usize) -> usize {
    let mut answered = 0;
    for _ in 0..count {
        let call = move |address| async move { plain_get(address, HOST).await };
        let answer = client.call(HOST, PORT, call).await;
        answered += usize::from(answer.is_ok_and(|answer| answer.status == 200));
    }
    answered
}

async fn wait_calls(client: &istio::Client) -> Result<()> {
    wait::until_true("calls to be answered", SOON, async || Ok(calls(client, 3).await == 3)).await
}

/// istiod passes the settings on to the client's sidecar and to the gateway.
async fn quiet_connections_are_kept(pair: &Pair, client: &istio::Client) -> Result<()> {
    let dump = client.agent().ask("/config_dump").await?;
    let dump: Value = serde_json::from_str(&dump)?;
    let cluster = find(&dump, &|value| {
        let name = value["name"].as_str().unwrap_or_default();
        name.starts_with("outbound|83|") && name.ends_with(HOST)
    });
    let cluster = cluster.context("no cluster for plain")?;
    let keepalive = &cluster["upstream_connection_options"]["tcp_keepalive"];
    let expected = json!({ "keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 10 });
    ensure!(*keepalive == expected, "{keepalive}");
    let dump: Value =
        serde_json::from_str(&pair.beta.gateway()?.agent().ask("/config_dump").await?)?;
    let listener = find(&dump, &|value| {
        value["socket_options"].is_array() && value["filter_chains"].is_array()
    });
    let listener = listener.context("no listener with socket options")?.to_string();
    for part in ["SO_KEEPALIVE", "TCP_KEEPIDLE", "\"idle_timeout\":\"3600s\""] {
        ensure!(listener.contains(part), "{part} is missing in {listener}");
    }
    Ok(())
}

/// The first object in a JSON for which `is` returns true.
fn find<'a>(json: &'a Value, is: &impl Fn(&Value) -> bool) -> Option<&'a Value> {
    if is(json) {
        return Some(json);
    }
    match json {
        Value::Object(fields) => fields.values().find_map(|value| find(value, is)),
        Value::Array(rows) => rows.iter().find_map(|value| find(value, is)),
        _ => None,
    }
}
