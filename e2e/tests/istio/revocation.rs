//! A revocation closes connections, including open ones. How soon the filter does so is measured
//! without istiod (`e2e/tests/real_envoy/revocation.rs`).

use super::fixture::{of_delivery, run, set_exported};
use anyhow::Result;
use fedgate_e2e::backend::Backend;
use fedgate_e2e::client::{plain_greeting, send_line, wait_closed};
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::BufReader;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn revocation_by_envoy_filter_closes_open_connections() -> Result<()> {
    open_connections_are_closed("EnvoyFilter").await
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_by_wasm_plugin_closes_open_connections() -> Result<()> {
    open_connections_are_closed("WasmPlugin").await
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_by_dynamic_module_closes_open_connections() -> Result<()> {
    open_connections_are_closed("DynamicModule").await
}

async fn open_connections_are_closed(delivery: &str) -> Result<()> {
    let run = run(&format!("revocation-{delivery}"))?;
    let [alpha, mut beta] = federation(&run, ["alpha", "beta"], &of_delivery(delivery)).await?;
    beta.cluster.restart_with(&[("FEDGATE_DELIVERY", delivery)]).await?;
    let address = beta.cluster.addresses().node;
    let backends = [
        Backend::greeting_at(address, "mail", "beta").await?,
        Backend::greeting_at(address, "news", "beta").await?,
    ];
    let [mail, news] = [("mail", &backends[0]), ("news", &backends[1])]
        .map(|(name, backend)| Service::new(name, "smtp", 25, backend.address()).exported());
    for service in [&mail, &news] {
        beta.cluster.put_service(service).await?;
    }
    let import = |service: &Service| Import {
        host: service.host("beta.example"),
        port: 25,
        protocol: "TCP",
    };
    let client = Client::start(&alpha, "client", &[import(&mail), import(&news)]).await?;

    // TCP_USER_TIMEOUT makes the kernel cut off clients that do not read. Every thread has the
    // table: all workers and the main thread.
    let agent = beta.gateways()[0].agent();
    agent.wait_configured("/config_dump?resource=dynamic_listeners", "TCP_USER_TIMEOUT").await?;
    let count = async |name: &str| anyhow::Ok(agent.stat(name).await?.unwrap_or(0));
    let all = async || {
        let threads = count("wasmcustom.fedgate.table.threads").await?;
        Ok(threads == count("server.concurrency").await? + 1)
    };
    wait::until_true("every thread with the table", SOON, all).await?;

    // Unexporting a Service closes its own connections and no others.
    let (mut to_mail, mut to_news) = (open(&client, &mail).await?, open(&client, &news).await?);
    let changed = Instant::now();
    set_exported(&beta, "mail", false).await?;
    wait_closed(&mut to_mail, SOON).await?;
    println!("{delivery}: closed {:?} after the label went", changed.elapsed());
    assert_eq!(send_line(&mut to_news, "NOOP").await?, "250 NOOP");
    wait_refused(&client, &mail).await?;

    // Removing a peer closes its last connection.
    let changed = Instant::now();
    beta.cluster.remove_peer("alpha").await?;
    wait_closed(&mut to_news, SOON).await?;
    println!("{delivery}: closed {:?} after the peer went", changed.elapsed());
    wait_refused(&client, &news).await
}

/// Opens a connection through the client's sidecar.
async fn open(client: &Client, service: &Service) -> Result<BufReader<TcpStream>> {
    let open = async || client.call(&service.host("beta.example"), 25, greeted).await.map(Some);
    let stream = wait::until("a greeting", SOON, open).await?;
    Ok(BufReader::new(TcpStream::from_std(stream)?))
}

/// Returns a standard socket, which stays in its network whichever thread uses it.
async fn greeted(address: SocketAddr) -> Result<std::net::TcpStream> {
    let (mut connection, _) = plain_greeting(address).await?;
    send_line(&mut connection, "HELO").await?;
    Ok(connection.into_inner().into_std()?)
}

/// Waits until the client is not greeted any more: each worker thread closes its own connections, so
/// a closed one does not show that the others refuse new ones.
async fn wait_refused(client: &Client, service: &Service) -> Result<()> {
    let refused = async || Ok(once(client, service).await.is_err());
    wait::until_true("a new connection to be refused", SOON, refused).await
}

async fn once(client: &Client, service: &Service) -> Result<()> {
    client.call(&service.host("beta.example"), 25, greeted).await.map(drop)
}
