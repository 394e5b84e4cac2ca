//! A Service that has lost one of its two endpoints.

use super::fixture::run;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::kubernetes::{Key, NAMESPACE, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

/// The protocol is TCP, so each call is a separate connection through the gateway.
const PORT: u16 = 83;
const CALLS: usize = 40;

/// How many of several calls failed.
async fn failures(client: &Client, host: &str) -> Result<usize> {
    let mut failures = 0;
    for _ in 0..CALLS {
        let name = host.to_owned();
        let answer = client
            .call(host, PORT, move |address| async move { plain_get(address, &name).await })
            .await;
        let is_answered = answer.is_ok_and(|answer| answer.body == identity("plain", "beta"));
        failures += usize::from(!is_answered);
    }
    Ok(failures)
}

/// Changes the number of connection attempts in fedgate's EnvoyFilters. The controller must be
/// stopped, or it would restore them.
async fn set_attempts(mesh: &Mesh, attempts: u32) -> Result<()> {
    let kind = ("networking.istio.io/v1alpha3", "EnvoyFilter");
    let mut changed = 0;
    for filter in mesh.cluster.objects().list(kind, Some(NAMESPACE), "").await? {
        let mut spec = filter["spec"].clone();
        let found = replace(&mut spec, attempts);
        if found > 0 {
            let name = filter["metadata"]["name"].as_str().context("a name")?;
            mesh.cluster
                .objects()
                .patch(Key::namespaced(kind.0, kind.1, NAMESPACE, name), &json!({ "spec": spec }))
                .await?;
        }
        changed += found;
    }
    ensure!(changed > 0, "no EnvoyFilter says how many endpoints are tried");
    Ok(())
}

fn replace(json: &mut Value, attempts: u32) -> usize {
    match json {
        Value::Object(fields) => {
            let own = fields
                .get_mut("max_connect_attempts")
                .map(|value| *value = attempts.into())
                .into_iter()
                .count();
            own + fields.values_mut().map(|value| replace(value, attempts)).sum::<usize>()
        }
        Value::Array(rows) => rows.iter_mut().map(|value| replace(value, attempts)).sum(),
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_to_the_endpoint_that_answers() -> Result<()> {
    let run = run("endpoints")?;
    let [alpha, mut beta] = federation(&run, ["alpha", "beta"], &MeshOptions::default()).await?;
    let backend = Backend::http_at(beta.cluster.addresses().node, "plain", "beta").await?;
    let plain = Service::new("plain", "tcp", PORT, backend.address()).exported();
    beta.cluster.put_service(&plain).await?;
    let host = plain.host("beta.example");
    let client = Client::start(
        &alpha,
        "client",
        &[Import { host: host.clone(), port: PORT, protocol: "TCP" }],
    )
    .await?;
    wait::until_true("all calls to be answered", SOON, async || {
        Ok(failures(&client, &host).await? == 0)
    })
    .await?;

    // No server listens on the other address.
    let addresses =
        [backend.address().ip().to_string(), beta.cluster.addresses().gateway.to_string()];
    let endpoints =
        json!({ "endpoints": addresses.map(|address| json!({ "addresses": [address] })) });
    let slice = Key::namespaced("discovery.k8s.io/v1", "EndpointSlice", SHOP, "plain-1");
    beta.cluster.objects().patch(slice, &endpoints).await?;

    // With one attempt every second call fails: the gateway does use both endpoints.
    beta.cluster.kill_leader().await?;
    let before = EnvoyFilters::of(&beta).await?;
    set_attempts(&beta, 1).await?;
    let some_fail = async || {
        let failures = failures(&client, &host).await?;
        ensure!(failures > CALLS / 5, "{failures} of {CALLS} failed");
        Ok(Some(failures))
    };
    let without = wait::until("calls to fail", SOON, some_fail).await?;

    // The controller restores the number of attempts.
    beta.cluster.start_replica().await?;
    before.wait_restored(&beta).await?;
    let none_fails = async || Ok(failures(&client, &host).await? == 0);
    wait::until_true("no call to fail", SOON, none_fails).await?;
    let with = failures(&client, &host).await? + failures(&client, &host).await?;
    eprintln!(
        "of {CALLS} calls {without} failed with one attempt, and of {} {with} with ours",
        CALLS * 2
    );
    ensure!(with == 0, "{with} of {} calls failed", CALLS * 2);
    Ok(())
}

/// The specs of all EnvoyFilters in fedgate's namespace, which contain the number of attempts.
struct EnvoyFilters(Vec<Value>);

impl EnvoyFilters {
    async fn of(mesh: &Mesh) -> Result<Self> {
        let kind = ("networking.istio.io/v1alpha3", "EnvoyFilter");
        let all = mesh.cluster.objects().list(kind, Some(NAMESPACE), "").await?;
        Ok(Self(all.iter().map(|filter| filter["spec"].clone()).collect()))
    }

    async fn wait_restored(&self, mesh: &Mesh) -> Result<()> {
        let same = async || Ok(Self::of(mesh).await?.0 == self.0);
        wait::until_true("the EnvoyFilters to be put right", SOON, same).await
    }
}
