//! Gateways by name, with a DNS server whose records change. These sites run without Kubernetes,
//! here because the tests on Istio have a network of their own.

use super::fixture::run;
use super::idle::Open;
use anyhow::{Result, ensure};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::dns_server::DnsServer;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::kubernetes::addresses::Addresses;
use fedgate_e2e::kubernetes::balancer::Balancer;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use std::net::IpAddr;

const NAME: &str = "gw.beta.test";

/// alpha and beta, whose gateway has one name and two ways to it.
struct Named {
    federation: Federation<2>,
    mail: Deployed,
    dns: DnsServer,
    ways: [Balancer; 2],
}

impl Named {
    async fn start(run: &RunFolder, more: &[IpAddr]) -> Result<Self> {
        let mut federation = Federation::new(run, ["alpha", "beta"])?;
        let addresses = Addresses::next()?;
        let [alpha, beta] = &mut federation.clusters;
        let dns = DnsServer::start(run.path(), addresses.gateway.into()).await?;
        let port = beta.gateway_address().port();
        let ways = [
            Balancer::start_at((addresses.gateway, port).into()).await?,
            Balancer::start_at((addresses.node, port).into()).await?,
        ];
        for way in &ways {
            way.set_targets(vec![beta.gateway_address()]);
        }
        dns.set(NAME, &[&[ways[0].address().ip()], more].concat());
        beta.settings().more.gateway.push(format!("advertiseTo: {{alpha: ['{NAME}:{port}']}}"));
        beta.write_settings()?;
        alpha.set_program(dns.program());
        let mut mail = Deployed::greeting(beta, "mail").await?;
        mail.apply(beta, Service::exported)?;
        federation.start().await?;
        Ok(Self { federation, mail, dns, ways })
    }

    fn alpha(&self) -> &Cluster {
        &self.federation.clusters[0]
    }

    async fn open(&self) -> Result<Open> {
        let port = self.alpha().wait_import(&self.mail.name()).await?;
        Open::to(port, &self.mail.identity()).await
    }

    async fn wait_open(&self) -> Result<Open> {
        wait::until("a greeting", SOON, async || self.open().await.map(Some)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_moves_is_followed_and_open_connections_stay() -> Result<()> {
    let run = run("names")?;
    let named = Named::start(&run, &[]).await?;
    let [old, new] = &named.ways;
    let mut open = named.wait_open().await?;
    ensure!(old.accepted() > 0 && new.accepted() == 0, "the name leads to the old address");

    named.dns.set(NAME, &[new.address().ip()]);
    wait::until_true("new connections to go to the new address", SOON, async || {
        let before = old.accepted();
        named.open().await?;
        Ok(new.accepted() > 0 && old.accepted() == before)
    })
    .await?;
    open.echo("still here").await?;

    // A name that is gone keeps its last addresses, and is reported.
    named.dns.set(NAME, &[]);
    let finding = wait::until("the finding", SOON, async || {
        named.alpha().wait_finding("gateway_not_found").await.map(Some)
    })
    .await?;
    ensure!(finding.severity == "warning" && finding.message.contains("NXDOMAIN"), "{finding:?}");
    named.open().await?.echo("by the last address").await?;
    open.echo("and here").await
}

/// This network has no way to any IPv6 address but its own.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_family_without_a_route_are_not_tried() -> Result<()> {
    let run = run("families")?;
    let named = Named::start(&run, &["2001:db8::77".parse()?, "2001:db8::78".parse()?]).await?;
    named.wait_open().await?;
    for _ in 0..10 {
        named.open().await?;
    }
    let cluster = std::fs::read_to_string(named.alpha().folder().join("envoy/egress/cds.json"))?;
    let used = named.ways[0].address().ip().to_string();
    ensure!(cluster.contains(&used) && !cluster.contains("2001:db8"), "{cluster}");

    // The twin: with nothing else to try, the failure is seen.
    named.dns.set(NAME, &["2001:db8::77".parse()?]);
    let failed = ["False", "ProbeFailed"];
    wait::until("the failure to be seen", SOON, async || {
        named.alpha().wait_condition("beta", "DataplaneConnectionReady", failed).await.map(Some)
    })
    .await
    .map(drop)
}
