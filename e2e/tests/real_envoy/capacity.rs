//! Limited resources of a machine are shared, and never exceeded.

use crate::fixture::Pair;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::{Client, Connection, plain_greeting};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::net::{SocketAddr, TcpStream};
use tokio::task::JoinSet;
use xtask::ports;

/// All processes of a site may open 256 files each, and strangers open more connections than that.
#[test]
fn strangers_cannot_crash_a_gateway_with_few_descriptors() {
    scenario("few-descriptors", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, beta| {
            beta.limit_open_files(Some(256));
            Ok(())
        })
        .await?;
        let finding = pair.beta().wait_finding("too_few_descriptors").await?;
        ensure!(
            finding.message.contains("256 files") && finding.severity == "warning",
            "{finding:?}"
        );
        let validated = pair.beta().fedgate_in_folder(&["validate"]).await?;
        let printed = String::from_utf8_lossy(&validated.stderr).into_owned();
        ensure!(printed.contains("connections at a time"), "{printed}");
        survives(&mut pair).await
    });
}

/// Only the gateway's Envoy has few descriptors. The controller cannot know that before the Envoy
/// runs.
#[test]
fn an_envoy_with_few_descriptors_survives_a_flood_at_its_first_start() {
    scenario("first-start", async |run: &RunFolder| {
        let mut pair = Pair::with_controllers(run, |_, _| Ok(())).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        alpha.start_envoys().await?;
        alpha.wait_import(&pair.mail.name()).await?;
        let flood = Flood::new(alpha, beta, &pair.mail)?;
        beta.limit_open_files(Some(256));
        let (started, flooded) = tokio::join!(beta.start_gateway(), flood.start());
        started?;
        beta.gateway_process()?.check()?;
        ensure!((1..=80).contains(&flooded?.len()), "more got in than 256 files allow");
        refused_beyond(beta, 80).await?;
        pair.beta().wait_finding("too_few_descriptors").await?;
        survives(&mut pair).await
    });
}

/// The limit is that of the running Envoy: one with enough descriptors accepts all connections, a
/// restarted one with fewer does not.
#[test]
fn the_connection_limit_is_that_of_the_running_envoy() {
    scenario("running-descriptors", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let [alpha, beta] = &mut pair.federation.clusters;
        let flood = Flood::new(alpha, beta, &pair.mail)?;
        wait::until_true("the limit of an Envoy with many descriptors", SOON, async || {
            Ok(limit(beta).await? > 1_000)
        })
        .await?;
        let all = flood.start().await?;
        ensure!(all.len() == FLOOD, "{} of {FLOOD} got in", all.len());
        drop(all);

        beta.limit_open_files(Some(256));
        beta.start_gateway().await?;
        refused_beyond(beta, 80).await?;
        ensure!((1..=80).contains(&flood.start().await?.len()), "more got in than 256 files allow");
        beta.gateway_process()?.check()?;
        survives(&mut pair).await
    });
}

/// The number of connections in a flood: more than 256 files allow.
const FLOOD: usize = 150;
/// The number of connections from strangers, who present no certificate and are not forwarded.
const STRANGERS: usize = 300;

/// A peer that opens many connections at once. The gateway forwards each of them.
struct Flood {
    gateway: SocketAddr,
    client: Client,
    sni: String,
}

impl Flood {
    fn new(from: &Cluster, to: &Cluster, service: &Deployed) -> Result<Self> {
        let client = Client::new(Some(&from.workload()?))?;
        Ok(Self { gateway: to.gateway_address(), client, sni: service.sni() })
    }

    /// Starts as soon as the gateway listens. Returns the connections that were greeted, still
    /// open.
    async fn start(&self) -> Result<Vec<Connection>> {
        let listens = async || Ok(TcpStream::connect(self.gateway).is_ok());
        wait::until_true("the gateway to listen", 3 * SOON, listens).await?;
        let mut calls = JoinSet::new();
        for _ in 0..FLOOD {
            let (client, gateway, sni) = (self.client.clone(), self.gateway, self.sni.clone());
            calls.spawn(async move { client.greeting(gateway, &sni).await });
        }
        Ok(calls.join_all().await.into_iter().flatten().map(|(connection, _)| connection).collect())
    }
}

/// The number of connections that the gateway's Envoy accepts.
async fn limit(cluster: &Cluster) -> Result<u64> {
    let runtime: serde_json::Value =
        serde_json::from_str(&cluster.gateway()?.ask("/runtime").await?)?;
    let limit = &runtime["entries"]["overload.global_downstream_max_connections"]["final_value"];
    limit.as_str().context("a limit of connections")?.parse().context("a number")
}

async fn refused_beyond(cluster: &Cluster, connections: u64) -> Result<()> {
    let what = format!("a limit of {connections} connections");
    wait::until_true(&what, SOON, async || Ok(limit(cluster).await? == connections)).await
}

/// Checks that beta's gateway accepts no more connections than it can handle, and works once the
/// strangers are gone.
async fn survives(pair: &mut Pair) -> Result<()> {
    pair.web.wait_callable_from(pair.alpha()).await?;
    let gateway = pair.beta().gateway_address();
    let strangers: Vec<_> =
        (0..STRANGERS).map(|_| TcpStream::connect(gateway)).collect::<Result<_, _>>()?;
    let counted = async || {
        Ok(pair.beta().gateway()?.stat("listener.federation.downstream_cx_overflow").await? > 150)
    };
    wait::until_true("connections to be refused and counted", SOON, counted).await?;
    drop(strangers);
    pair.web.wait_callable_from(pair.alpha()).await?;
    pair.federation.clusters[1].gateway_process()?.check()
}

/// beta announces more services than alpha has ports for. gamma joins later and gets the port that
/// it needs.
#[test]
fn one_peer_does_not_take_all_ports() {
    scenario("port-shares", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, _] = &mut federation.clusters;
        alpha.settings().egress_ports = ports::free_range(8)?;
        alpha.write_settings()?;
        let mut of_beta = Vec::new();
        for number in 0..12 {
            let mut deployed = Deployed::http(beta, &format!("web{number}")).await?;
            deployed.apply(beta, Service::exported)?;
            of_beta.push(deployed);
        }
        federation.start().await?;
        let [alpha, _, gamma] = &mut federation.clusters;
        let finding = alpha.wait_finding("no_egress_port").await?;
        ensure!(finding.message.contains("beta.example: it has 5 of 8 ports"), "{finding:?}");
        let before = ports_of(alpha, &of_beta).await?;
        ensure!(before.len() == 5, "{before:?}");

        let mut mail = Deployed::greeting(gamma, "mail").await?;
        mail.apply(gamma, Service::exported)?;
        let port = alpha.wait_import(&mail.name()).await?;
        wait::until("a greeting", SOON, async || plain_greeting(port).await.map(Some)).await?;
        alpha.kill_controller()?;
        alpha.start_controller().await?;
        ensure!(alpha.wait_import(&mail.name()).await? == port, "after a restart");
        ensure!(ports_of(alpha, &of_beta).await? == before, "after a restart");
        Ok(())
    });
}

/// There is one port for the imports of two peers. `status` says which peer cannot be called.
#[test]
fn a_peer_whose_imports_have_no_port_is_not_ready() {
    scenario("no-port", async |run: &RunFolder| {
        let mut federation = Federation::new(run, ["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &mut federation.clusters;
        alpha.settings().egress_ports = ports::free_range(1)?;
        alpha.write_settings()?;
        let mut web = Deployed::http(beta, "web").await?;
        web.apply(beta, Service::exported)?;
        let mut mail = Deployed::greeting(gamma, "mail").await?;
        mail.apply(gamma, Service::exported)?;
        federation.start().await?;
        let [alpha, ..] = &federation.clusters;
        alpha.wait_finding("no_egress_port").await?;
        let one = async || {
            let printed = alpha.fedgate(&["status"]).await?.stdout;
            let without = "no import of it has a local port";
            Ok(String::from_utf8_lossy(&printed).matches(without).count() == 1)
        };
        wait::until_true("one peer without a port", SOON, one).await
    });
}

async fn ports_of(cluster: &Cluster, services: &[Deployed]) -> Result<Vec<SocketAddr>> {
    let status = cluster.status().await?;
    Ok(services.iter().filter_map(|service| status.import(&service.name())).collect())
}
