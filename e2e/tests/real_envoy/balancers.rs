//! Gateways and metadata endpoints behind load balancers that send the PROXY protocol.

use crate::fixture::Pair;
use anyhow::{Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::kubernetes::balancer::{Balancer, Header};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::net::SocketAddrV4;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Addresses for documentation: no client here has one.
fn source(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([192, 0, 2, 77].into(), port)
}

/// beta behind one balancer for its gateway and one for its metadata.
struct Balanced {
    pair: Pair,
    gateway: Balancer,
    metadata: Balancer,
}

impl Balanced {
    async fn start(run: &RunFolder, binary: bool, proxy_protocol: bool) -> Result<Self> {
        let (gateway, metadata) = (Balancer::start().await?, Balancer::start().await?);
        let header = Header { binary, source: source(40_000) };
        gateway.set_header(Some(header));
        metadata.set_header(Some(header));
        let pair = Pair::with_controllers(run, |alpha, beta| {
            gateway.set_targets(vec![beta.gateway_address()]);
            metadata.set_targets(vec![beta.metadata_address()]);
            let settings = beta.settings();
            settings.advertise = vec![gateway.address()];
            if proxy_protocol {
                settings.more.gateway.push("proxyProtocol: true".into());
                settings.more.metadata.push("proxyProtocol: true".into());
            }
            beta.write_settings()?;
            alpha.settings().probe = "1s".into();
            alpha.write_settings()?;
            alpha.put_peer(beta, &format!("https://{}/metadata", metadata.address()))
        })
        .await?;
        Ok(Self { pair, gateway, metadata })
    }

    fn clusters(&mut self) -> &mut [Cluster; 2] {
        &mut self.pair.federation.clusters
    }
}

async fn calls_through_a_balancer(run: &RunFolder, binary: bool) -> Result<()> {
    let mut balanced = Balanced::start(run, binary, true).await?;
    for cluster in balanced.clusters() {
        cluster.start_envoys().await?;
    }
    let Balanced { pair, gateway, .. } = &balanced;
    let [alpha, beta] = &pair.federation.clusters;
    pair.web.wait_callable_from(alpha).await?;
    // alpha's probe goes through the balancer as well.
    alpha.wait_condition("beta", "DataplaneConnectionReady", ["True", "Succeeded"]).await?;

    let log = beta.access_log()?;
    pair.web.call_from(alpha).await?;
    let entry = log
        .wait_for("the client's own address", |entry| entry.outcome.as_deref() == Some("allowed"))
        .await?;
    ensure!(entry.client.as_deref() == Some("192.0.2.77:40000"), "{entry:?}");
    ensure!(entry.balancer.is_some_and(|address| address.starts_with("127.0.0.1:")), "{log:?}");

    // Whoever goes around the balancer, or sends something else first, gets nothing.
    let (client, sni) = (Client::new(Some(&alpha.workload()?))?, pair.web.sni());
    let around = client.get(beta.gateway_address(), &sni, &pair.web.host()).await;
    ensure!(around.is_err(), "{around:?}");
    let mut bare = TcpStream::connect(beta.gateway_address()).await?;
    bare.write_all(b"PROXY TCP4 not an address\r\n").await?;
    let end = timeout(SOON, bare.read(&mut [0; 16])).await?;
    ensure!(end.is_err() || end.is_ok_and(|bytes| bytes == 0), "it is closed");
    // Both are closed before the handshake, so the same client is let in through the balancer.
    client.get(gateway.address(), &sni, &pair.web.host()).await.map(drop)
}

#[test]
fn the_gateway_logs_the_client_that_the_balancer_names() {
    scenario("balancer-v1", async |run: &RunFolder| calls_through_a_balancer(run, false).await);
}

#[test]
fn the_binary_header_says_the_same() {
    scenario("balancer-v2", async |run: &RunFolder| calls_through_a_balancer(run, true).await);
}

/// The twin: a balancer's header is no TLS where nobody expects it, so it cannot name a client.
#[test]
fn a_header_that_is_not_expected_ends_the_connection() {
    scenario("balancer-unexpected", async |run: &RunFolder| {
        let mut balanced = Balanced::start(run, false, false).await?;
        for cluster in balanced.clusters() {
            cluster.start_envoys().await?;
        }
        let Balanced { pair, gateway, metadata } = &balanced;
        let [alpha, beta] = &pair.federation.clusters;
        let failed = ["False", "FetchFailed"];
        alpha.wait_condition("beta", "PublicMetadataExchangeReady", failed).await?;
        metadata.set_header(None);
        alpha.wait_condition("beta", "DataplaneConnectionReady", ["False", "ProbeFailed"]).await?;
        let (client, sni, host) =
            (Client::new(Some(&alpha.workload()?))?, pair.web.sni(), pair.web.host());
        let refused = client.get(gateway.address(), &sni, &host).await;
        ensure!(refused.is_err(), "{refused:?}");
        let log = beta.access_log()?;
        gateway.set_header(None);
        wait::until_true("the call without a header", SOON, async || {
            Ok(pair.web.call_from(alpha).await.is_ok())
        })
        .await?;
        let allowed = |outcome: &Option<String>| outcome.as_deref() == Some("allowed");
        let entry = log.wait_for("the call", |entry| allowed(&entry.outcome)).await?;
        ensure!(entry.client.is_some_and(|client| client.starts_with("127.0.0.1:")), "{log:?}");
        Ok(())
    });
}
