//! No byte for a peer leaves unencrypted: neither from an ambient Pod, nor from a sidecar that has
//! lost the DestinationRule.

use super::fixture::{Pair, run};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::workload_api::AddressBook;
use fedgate_e2e::istio::ztunnel::Route;
use fedgate_e2e::istio::{Client, Mesh};
use fedgate_e2e::kubernetes::{Key, NAMESPACE, SHOP};
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

/// The network of a mesh that does not name one.
const NETWORK: &str = "";
const USE_WAYPOINT: &str = "istio.io/use-waypoint";

/// Options for an istiod that serves ztunnels.
fn with_ambient() -> MeshOptions {
    let variables = [("PILOT_ENABLE_AMBIENT".to_owned(), "true".to_owned())];
    MeshOptions { variables: variables.into(), ..MeshOptions::default() }
}

/// The possible outcomes of an ambient Pod's connections to a host, once istiod has sent the host
/// and its endpoints.
async fn routes(mesh: &Mesh, host: &str) -> Result<Vec<Route>> {
    wait::until(&format!("istiod to send {host} to ztunnels"), SOON, async || {
        let book = AddressBook::ask(mesh.istiod.plaintext()).await?;
        let known = book
            .workloads
            .iter()
            .any(|workload| workload.services.keys().any(|name| name.ends_with(host)));
        ensure!(known, "{} services, {} workloads", book.services.len(), book.workloads.len());
        Ok(Some(book.routes(NETWORK, host, 80)))
    })
    .await
}

fn entry<'a>(name: &'a str) -> Key<'a> {
    Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, name)
}

fn without_network(endpoints: &mut Value) {
    for endpoint in endpoints.as_array_mut().into_iter().flatten() {
        endpoint.as_object_mut().map(|endpoint| endpoint.remove("network"));
    }
}

/// Applies a copy of an import's ServiceEntry for another host, with changed endpoints.
async fn put_copy(pair: &Pair, host: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let import = pair
        .alpha
        .cluster
        .objects()
        .get(entry(&pair.host()))
        .await?
        .context("there is no import")?;
    let mut spec = import["spec"].clone();
    spec["hosts"] = json!([host]);
    change(&mut spec["endpoints"]);
    let metadata = json!({ "namespace": NAMESPACE, "name": host });
    let copy = json!({ "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": spec });
    pair.alpha.cluster.objects().apply_one(&copy).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambient_pod_is_refused_and_a_sidecar_is_served() -> Result<()> {
    let run = run("ambient")?;
    let pair = Pair::start_with(&run, &with_ambient()).await?;
    // A call through a sidecar is answered.
    drop(pair.client().await?);

    let refused = vec![Route::Refused("no gateway to its network")];
    let found = routes(&pair.alpha, &pair.host()).await?;
    ensure!(found == refused, "an ambient Pod's request to web: {found:?}");

    // So is a name that several clusters serve, by the same means. A sidecar resolves it to members.
    let object = json!({
        "apiVersion": "fedgate.dev/v1alpha1",
        "kind": "FederatedService",
        "metadata": { "namespace": SHOP, "name": "web" },
        "spec": { "ports": [{ "name": "http", "port": 80 }], "members": [{ "peers": ["beta"] }] },
    });
    pair.alpha.cluster.objects().apply_one(&object).await?;
    let found = routes(&pair.alpha, "web.shop.global").await?;
    ensure!(found == refused, "an ambient Pod's request to web.shop.global: {found:?}");

    // The peer's announced address belongs to no workload: a Pod's other calls to it are left
    // alone.
    let gateway = pair.beta.gateway_address().ip();
    let book = AddressBook::ask(pair.alpha.istiod.plaintext()).await?;
    ensure!(
        book.at(NETWORK, gateway).is_none(),
        "{gateway} is taken for {:?}",
        book.at(NETWORK, gateway)
    );

    // The same without the endpoint's network, which shows what the network is for.
    put_copy(&pair, "clear.example", without_network).await?;
    let found = routes(&pair.alpha, "clear.example").await?;
    ensure!(matches!(found[..], [Route::Clear(_)]), "without a network: {found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_label_against_waypoints_is_restored() -> Result<()> {
    let run = run("ambient-label")?;
    let pair = Pair::start(&run).await?;
    let host = pair.host();
    let objects = pair.alpha.cluster.objects();
    let is_none = |object: &Value| object["metadata"]["labels"][USE_WAYPOINT] == "none";
    let before = objects.wait_for(entry(&host), "to refuse waypoints", is_none).await?;
    let theirs = json!({ "metadata": { "labels": { USE_WAYPOINT: "theirs" } } });
    objects.patch(entry(&host), &theirs).await?;
    let after = objects.wait_for(entry(&host), "to refuse waypoints again", is_none).await?;
    ensure!(after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]);
    Ok(())
}

/// Returns true if the sidecar's configuration for `web` is as the DestinationRule wants it.
async fn has_rule(client: &Client, host: &str) -> Result<bool> {
    let config = client.agent().ask("/config_dump?resource=dynamic_active_clusters").await?;
    let config: Value = serde_json::from_str(&config)?;
    let clusters = config["configs"].as_array().context("no clusters")?;
    let name = format!("outbound|80||{host}");
    let web = clusters
        .iter()
        .find(|cluster| cluster["cluster"]["name"] == name.as_str())
        .context("no cluster of web")?;
    Ok(web["cluster"]["outlier_detection"].is_object())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_without_the_destination_rule_uses_mutual_tls() -> Result<()> {
    let run = run("ambient-rule")?;
    let mut pair = Pair::start(&run).await?;
    let host = pair.host();
    let client = pair.client().await?;
    // A call is answered without the rule as well, as this test shows.
    wait::until_true("the rule to be in force", SOON, async || has_rule(&client, &host).await)
        .await?;

    // Without a controller, nothing restores the rule.
    pair.alpha.cluster.kill_leader().await?;
    let rule = Key::namespaced("networking.istio.io/v1", "DestinationRule", NAMESPACE, &host);
    pair.alpha.cluster.objects().delete(rule).await?;
    wait::until_true("the rule to be gone", SOON, async || Ok(!has_rule(&client, &host).await?))
        .await?;
    // A new sidecar, because open connections stay as they are.
    let second = Client::start(&pair.alpha, "second", &[pair.import()]).await?;
    ensure!(!has_rule(&second, &host).await?);
    pair.wait_answers(&second).await?;

    // Without the endpoint's label the sidecar sends plain text, which the gateway does not
    // understand.
    let import =
        pair.alpha.cluster.objects().get(entry(&host)).await?.context("there is no import")?;
    let mut endpoints = import["spec"]["endpoints"].clone();
    endpoints[0]["labels"] = json!({});
    pair.alpha
        .cluster
        .objects()
        .patch(entry(&host), &json!({ "spec": { "endpoints": endpoints } }))
        .await?;
    let third = Client::start(&pair.alpha, "third", &[pair.import()]).await?;
    pair.wait_refused(&third).await
}
