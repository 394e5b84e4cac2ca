//! Pods of a headless Service, called by their own names through real sidecars.

use super::fixture::run;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::{self, plain_get};
use fedgate_e2e::databases::{self, LineServer, broker, replica};
use fedgate_e2e::envoy::access_log::AccessLog;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import, Mesh, Server};
use fedgate_e2e::kubernetes::{Key, NAMESPACE, SHOP};
use fedgate_e2e::stateful_set::{Member, StatefulSet};
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const BETA: &str = "beta.example";

/// The port of `db`. For the mesh its protocol is TCP, so each call is a connection of its own.
const PORT: u16 = 5432;

async fn put(mesh: &Mesh, set: &StatefulSet) -> Result<()> {
    mesh.cluster.objects().apply(&set.yaml()).await
}

/// Makes the workloads of a mesh refuse whoever does not use its mutual TLS.
async fn make_strict(mesh: &Mesh) -> Result<()> {
    let strict = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": { "namespace": SHOP, "name": "default" }, "spec": { "mtls": { "mode": "STRICT" } },
    });
    mesh.cluster.objects().apply_one(&strict).await.map(drop)
}

fn imports(set: &StatefulSet) -> Vec<Import> {
    let pods = (0..set.pods.len()).map(|pod| set.pod_host(pod, BETA));
    let hosts = pods.chain([set.host(BETA)]);
    hosts.map(|host| Import { host, port: set.port.1, protocol: "TCP" }).collect()
}

/// A Pod with a sidecar, whose server says who it is.
async fn server(mesh: &Mesh, name: &str) -> Result<Server> {
    let start = |socket| Backend::http_on(socket, name, mesh.cluster.name());
    Server::start_with(mesh, name, "TCP", start).await
}

async fn get(client: &Client, host: &str, port: u16) -> Result<String> {
    let name = host.to_owned();
    let call = move |address| async move { plain_get(address, &name).await };
    Ok(client.call(host, port, call).await?.body)
}

async fn wait_answer(client: &Client, (host, port): (&str, u16), who: &str) -> Result<()> {
    wait::until(&format!("{who} to answer as {host}"), SOON, async || {
        let answer = get(client, host, port).await?;
        ensure!(answer == identity(who, "beta"), "{answer:?}");
        Ok(Some(()))
    })
    .await
}

/// Calls a host at beta's gateway with a certificate of alpha's mesh.
async fn ask_gateway(alpha: &Mesh, beta: &Mesh, host: &str) -> Result<client::Response> {
    let cart = alpha.cluster.authority().workload("spiffe://alpha.example/ns/shop/sa/cart")?;
    let sni = format!("outbound_.{PORT}_._.{host}");
    client::Client::new(Some(&cart))?.get(beta.gateway_address(), &sni, host).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_called_by_its_name_with_the_meshs_mutual_tls() -> Result<()> {
    let run = run("pods")?;
    let [alpha, beta] = federation(&run, ["alpha", "beta"], &MeshOptions::default()).await?;
    make_strict(&beta).await?;
    let (first, second) = tokio::try_join!(server(&beta, "db-0"), server(&beta, "db-1"))?;
    let mut db =
        StatefulSet::new("db", "tcp-sql", PORT).with_pods([first.address(), second.address()]);
    put(&beta, &db).await?;
    let hosts = [db.pod_host(0, BETA), db.pod_host(1, BETA)];
    let client = Client::start(&alpha, "client", &imports(&db)).await?;
    for (host, who) in hosts.iter().zip(["db-0", "db-1"]) {
        wait_answer(&client, (host, PORT), who).await?;
    }
    ensure!(get(&client, &db.host(BETA), PORT).await?.starts_with("this is db-"), "the Service");

    // No other proxy of beta knows the name: only the gateway has a cluster for it.
    let local = Client::start(&beta, "local", &[]).await?;
    let clusters = local.agent().ask("/clusters").await?;
    ensure!(clusters.contains("db.shop.svc.beta.example"), "the sidecar knows the Service");
    ensure!(!clusters.contains(&hosts[0]), "beta's sidecars know the Pod's name");
    ensure!(beta.gateway()?.agent().ask("/clusters").await?.contains(&hosts[0]));

    // A Pod that its owner says to be outside the mesh is called without TLS, which a strict
    // sidecar refuses. A Pod without a sidecar answers.
    db.by_name = Some("plain".into());
    put(&beta, &db).await?;
    let refused = async || Ok(ask_gateway(&alpha, &beta, &hosts[0]).await.is_err());
    wait::until_true("the sidecar to refuse a call without TLS", SOON, refused).await?;
    let bare = Backend::http_at(beta.cluster.addresses().node, "db-0", "beta").await?;
    db.pods[0] = Member::new("db-0", bare.address());
    put(&beta, &db).await?;
    wait_answer(&client, (&hosts[0], PORT), "db-0").await?;
    ensure!(bare.connections() > 0);

    // The owner does not ask for Pods any more: the names are unknown, and the Service stays.
    db.by_name = Some("false".into());
    db.pods[0] = Member::new("db-0", first.address());
    put(&beta, &db).await?;
    // The sidecar, or a gateway without the cluster, may refuse it before the table does.
    let log = AccessLog::from_now(beta.gateway()?.agent().log());
    log.call_until("unknown_service", async || refused().await.map(drop)).await?;
    wait::until("the Pod to be refused", SOON, async || {
        let before = first.backend().connections();
        wait::stays("it is refused", Duration::from_millis(500), refused).await?;
        ensure!(first.backend().connections() == before, "a connection reached the Pod");
        Ok(Some(()))
    })
    .await?;
    wait::until_true("the Service to answer", SOON, async || {
        Ok(ask_gateway(&alpha, &beta, &db.host(BETA)).await?.body.starts_with("this is db-"))
    })
    .await?;
    for host in &hosts {
        let entry = Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, host);
        beta.cluster.objects().wait_absent(entry).await?;
        alpha.cluster.objects().wait_absent(entry).await?;
    }
    Ok(())
}

type Line = Server<LineServer>;

/// Two Pods with sidecars, each with a server of text lines.
async fn two(
    mesh: &Mesh,
    name: &str,
    server: impl Fn(tokio::net::TcpListener, &str, usize) -> Result<LineServer>,
) -> Result<Vec<Line>> {
    let mut pods = Vec::new();
    for number in 0..2 {
        let pod = format!("{name}-{number}");
        let start = |socket| server(socket, &pod, number);
        pods.push(Server::start_with(mesh, &pod, "TCP", start).await?);
    }
    Ok(pods)
}

async fn reach<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    client: &Client,
    (host, port): (&str, u16),
    call: fn(SocketAddr) -> F,
) -> Result<T> {
    client.call(host, port, call).await
}

/// A program that asks any broker who leads and calls the advertised name, and one that looks for
/// the server that takes writes. Both use the names as they are: no mapping, no other ports.
#[tokio::test(flavor = "multi_thread")]
async fn clients_follow_the_names_of_brokers_and_databases() -> Result<()> {
    let run = run("pods-followed")?;
    let [alpha, beta] = federation(&run, ["alpha", "beta"], &MeshOptions::default()).await?;
    make_strict(&beta).await?;
    let kafka = StatefulSet::new("kafka", "tcp-kafka", 9092);
    let leader = format!("{}:9092", kafka.pod_host(1, BETA));
    let brokers = two(&beta, "kafka", |socket, name, _| broker(socket, name, &leader)).await?;
    let kafka = kafka.with_pods(brokers.iter().map(Server::address));
    put(&beta, &kafka).await?;
    let client = Client::start(&alpha, "client", &imports(&kafka)).await?;

    let bootstrap = kafka.host(BETA);
    let told = async || reach(&client, (&bootstrap, 9092), databases::leader).await.map(Some);
    let (host, port) = wait::until("a broker to answer", SOON, told).await?;
    ensure!((host.as_str(), port) == (kafka.pod_host(1, BETA).as_str(), 9092), "{host}:{port}");
    // The Service's name does not show that istiod has sent the gateway the Pods' clusters.
    let by = wait::until("the leader to store a record", SOON, async || {
        let store = async |address| databases::store(address, "order-1").await;
        client.call(&host, port, store).await.map(Some)
    });
    let by = by.await?;
    ensure!(by == "kafka-1", "{by} stored it");
    // The counterpart: another Pod's name leads to a broker that does not lead.
    wait::until("the other broker to refuse", SOON, async || {
        let store = async |address| databases::store(address, "order-2").await;
        let refused = client.call(&kafka.pod_host(0, BETA), port, store).await;
        let refused = refused.err().context("it stored the record")?.to_string();
        ensure!(refused.contains("NOT_LEADER"), "{refused}");
        Ok(Some(()))
    })
    .await?;
    drop(brokers);

    let servers =
        two(&beta, "pg", |socket, name, number| replica(socket, name, number == 0)).await?;
    let pg = StatefulSet::new("pg", "tcp-postgresql", 5432)
        .with_pods(servers.iter().map(Server::address));
    put(&beta, &pg).await?;
    let client = Client::start(&alpha, "app", &imports(&pg)).await?;
    let mut found = Vec::new();
    for pod in 0..2 {
        let host = pg.pod_host(pod, BETA);
        let asked = async || reach(&client, (&host, 5432), databases::read_write).await.map(Some);
        found.push(wait::until(&format!("{host} to answer"), SOON, asked).await?);
    }
    ensure!(found == [None, Some("pg-1".to_owned())], "{found:?}");
    Ok(())
}
