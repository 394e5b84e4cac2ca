//! Connections on which nothing is sent, through a load balancer that forgets them in silence.

use super::fixture::run;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::PATIENCE;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::idle_balancer::IdleBalancer;
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import};
use fedgate_e2e::kubernetes::addresses::Addresses;
use fedgate_e2e::kubernetes::{Key, NAMESPACE};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// When the balancer forgets a connection.
const IDLE: Duration = Duration::from_secs(2);
/// How long the tests say nothing.
const SILENCE: Duration = Duration::from_secs(7);

/// An open connection to a server that has greeted.
pub(crate) struct Open(BufReader<TcpStream>);

impl Open {
    pub(crate) async fn to(address: SocketAddr, greeting: &str) -> Result<Self> {
        let mut open = Self(BufReader::new(TcpStream::connect(address).await?));
        let line = open.line().await?;
        ensure!(line.contains(greeting), "{line:?}");
        Ok(open)
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.context("no line")??;
        Ok(line)
    }

    /// Says a word, and hears it back.
    pub(crate) async fn echo(&mut self, word: &str) -> Result<()> {
        self.0.write_all(format!("{word}\r\n").as_bytes()).await?;
        let line = self.line().await?;
        ensure!(line.contains(word), "{line:?}");
        Ok(())
    }

    /// Says nothing for a while. Returns whether the connection still works.
    async fn survives_silence(&mut self) -> Result<bool> {
        self.echo("before").await?;
        wait::stays("nothing is said", SILENCE, async || Ok(true)).await?;
        Ok(self.echo("after").await.is_ok())
    }
}

/// Two sites without Kubernetes; beta's gateway is behind the balancer.
async fn sites(run: &RunFolder, keepalive: &str) -> Result<(bool, usize)> {
    let mut federation = Federation::new(run, ["alpha", "beta"])?;
    let [alpha, beta] = &mut federation.clusters;
    // The balancer's packets come from outside of this machine, so they cannot go to 127.0.0.1.
    beta.settings().gateway.set_ip(Addresses::next()?.node.into());
    let balancer = IdleBalancer::start(run, beta.gateway_address(), IDLE).await?;
    beta.settings().advertise = vec![balancer.front()];
    for cluster in [alpha, &mut *beta] {
        let section = format!("connections: {{keepalive: {keepalive}}}");
        cluster.settings().more.sections.push(section);
        cluster.write_settings()?;
    }
    let mut mail = Deployed::greeting(beta, "mail").await?;
    mail.apply(beta, Service::exported)?;
    federation.start().await?;
    let [alpha, _]: &[Cluster; 2] = &federation.clusters;
    let port = alpha.wait_import(&mail.name()).await?;
    let greeting = mail.identity();
    let mut open =
        wait::until("a greeting", SOON, async || Open::to(port, &greeting).await.map(Some)).await?;
    let survives = open.survives_silence().await?;
    Ok((survives, balancer.forgotten()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keepalive_below_the_balancers_limit_keeps_a_silent_connection() -> Result<()> {
    let run = run("idle-sites")?;
    let (survives, _) = sites(&run, "1s").await?;
    ensure!(survives, "the connection has died");
    Ok(())
}

/// The twin: the same connection, with a keepalive that comes too late.
#[tokio::test(flavor = "multi_thread")]
async fn without_it_the_connection_dies_in_silence() -> Result<()> {
    let run = run("idle-sites-late")?;
    let (survives, forgotten) = sites(&run, "60s").await?;
    ensure!(!survives && forgotten > 0, "survives: {survives}, forgotten: {forgotten}");
    Ok(())
}

const PORT: u16 = 25;

/// Two meshes; beta's gateway is behind the balancer.
async fn meshes(run: &RunFolder, keepalive: &str) -> Result<bool> {
    let controller = [("FEDGATE_KEEPALIVE".to_owned(), keepalive.to_owned())].into();
    let options = MeshOptions { controller, ..MeshOptions::default() };
    let [alpha, beta] = federation(run, ["alpha", "beta"], &options).await?;
    let balancer = IdleBalancer::start(run, beta.gateway()?.address(), IDLE).await?;
    let told = json!({ "fedgate.dev/advertise": balancer.front().to_string() });
    let key = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "alpha");
    beta.cluster.objects().patch(key, &json!({ "metadata": { "annotations": told } })).await?;
    let node = beta.cluster.addresses().node;
    let backend = Backend::greeting_at(node, "mail", "beta").await?;
    let mail = Service::new("mail", "tcp-smtp", PORT, backend.address()).exported();
    beta.cluster.put_service(&mail).await?;
    let host = mail.host("beta.example");
    // beta may announce the Service before it has read what alpha is to be told.
    let front = balancer.front().ip().to_string();
    let leads_there = |entry: &Value| entry["spec"]["endpoints"][0]["address"] == front.as_str();
    let entry = Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, &host);
    alpha.cluster.objects().wait_for(entry, "to lead to the balancer", leads_there).await?;
    let import = Import { host: host.clone(), port: PORT, protocol: "TCP" };
    let client = Client::start(&alpha, "client", &[import]).await?;
    let greeting = identity("mail", "beta");
    wait::until("a connection through the silence, or none", SOON * 2, async || {
        let greeting = greeting.clone();
        let call = move |address| async move {
            let mut open = Open::to(address, &greeting).await?;
            open.survives_silence().await
        };
        client.call(&host, PORT, call).await.map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_and_gateways_keep_silent_connections_too() -> Result<()> {
    let run = run("idle-meshes")?;
    ensure!(meshes(&run, "1s").await?, "the connection has died");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_mesh_a_late_keepalive_loses_them_as_well() -> Result<()> {
    let run = run("idle-meshes-late")?;
    ensure!(!meshes(&run, "60s").await?, "the connection lives, whatever the keepalive");
    Ok(())
}

/// A peer that waits for news says nothing for up to 50 seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_waits_hears_of_changes_through_such_a_balancer() -> Result<()> {
    let run = run("idle-metadata")?;
    let mut federation = Federation::new(&run, ["alpha", "beta"])?;
    let [alpha, beta] = &mut federation.clusters;
    let limit = Duration::from_secs(12);
    beta.settings().metadata.set_ip(Addresses::next()?.node.into());
    beta.write_settings()?;
    let balancer = IdleBalancer::start(&run, beta.metadata_address(), limit).await?;
    alpha.settings().poll = "10m".into();
    alpha.write_settings()?;
    // The certificate of the endpoint is for 127.0.0.1, and the CA is beta's.
    let leaf = fedgate_e2e::authority::Leaf::new().address(balancer.front().ip());
    beta.metadata_authority().sign(&leaf)?.write(&beta.folder().join("identity"), "metadata")?;
    alpha.put_peer(beta, &format!("https://{}/metadata", balancer.front()))?;
    federation.start_controllers().await?;
    let [alpha, beta] = &federation.clusters;
    let exchange = "PrivateMetadataExchangeReady";
    alpha.wait_condition("beta", exchange, ["True", "Succeeded"]).await?;
    wait::stays("nothing changes", limit * 2, async || Ok(true)).await?;
    let mut web = Deployed::http(beta, "web").await?;
    web.apply(beta, Service::exported)?;
    // A poll would come after ten minutes.
    wait::until_true("alpha to hear of web", SOON, async || {
        Ok(alpha.status().await?.0["imports"].to_string().contains(&web.name()))
    })
    .await?;
    ensure!(balancer.forgotten()? == 0, "the connection was forgotten");
    Ok(())
}
