//! Imports by their own names: at an address of each host with its own ports, in a file that a real
//! CoreDNS serves, and by server name at one port.

use crate::fixture::Pair;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::{Authority, Leaf};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::{Client, plain_get};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::coredns::CoreDns;
use fedgate_e2e::dns::{self, Answer, MISSING};
use fedgate_e2e::envoy::access_log::{AccessLog, Entry};
use fedgate_e2e::manifest::{Service, federated_service};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use xtask::ports;

/// A port that needs no capability.
const PORT: u16 = 18_080;
const TLS_PORT: u16 = 18_443;

/// Loopback addresses that no other test uses.
fn range() -> Result<String> {
    let [high, low] = ports::free()?.port().to_be_bytes();
    Ok(format!("127.{}.{low}.0/24", 96 + high % 16))
}

/// beta's `web`, and `shop` whose back end speaks TLS.
struct Named {
    pair: Pair,
    server_names: SocketAddr,
    _shop: Backend,
}

impl Named {
    async fn start(run: &RunFolder) -> Result<Self> {
        let (range, server_names) = (range()?, ports::free()?);
        let pair = Pair::start(run, |alpha, beta| {
            alpha.settings().more.egress =
                vec![format!("addresses: {range}"), format!("serverNames: {server_names}")];
            alpha.write_settings()?;
            let settings = beta.settings();
            settings.poll = "1s".into();
            Ok(())
        })
        .await?;
        // The application's own certificate, which fedgate does not know.
        let host = "shop.shop.svc.beta.example";
        let certificate = Authority::root("application")?.sign(&Leaf::new().dns(host)?)?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let shop = Backend::https_at(any, &certificate, "shop", "beta").await?;
        let beta = pair.beta();
        beta.put_service(&Service::new("shop", "https", TLS_PORT, shop.address()).exported())?;
        let plain = Service::new("plain", "http", PORT, pair.web.backend.address());
        beta.put_service(&plain.clone().exported())?;
        beta.put_service(&Service::new("hidden", "https", TLS_PORT, shop.address()))?;
        pair.alpha().wait_import(&plain.import("beta.example")).await?;
        pair.alpha().wait_import(&format!("{host}:{TLS_PORT}")).await?;
        Ok(Self { pair, server_names, _shop: shop })
    }

    fn alpha(&self) -> &Cluster {
        self.pair.alpha()
    }
}

/// The lines of the file for other programs.
fn hosts(cluster: &Cluster) -> Result<Vec<(IpAddr, String)>> {
    let text = std::fs::read_to_string(cluster.folder().join("names/hosts"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (address, host) = line.split_once(' ').context("an address and a name")?;
            Ok((address.parse()?, host.to_owned()))
        })
        .collect()
}

async fn names(cluster: &Cluster, format: &str) -> Result<(bool, String)> {
    let output = cluster.fedgate(&["names", "--output", format]).await?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    Ok((output.status.success(), text))
}

#[test]
fn a_plain_client_calls_the_name_and_port_of_the_owner() {
    scenario("names", async |run: &RunFolder| {
        let named = Named::start(run).await?;
        let (alpha, host) = (named.alpha(), "plain.shop.svc.beta.example");
        let global = "plain.shop.global";
        let manifest = federated_service("plain", ("http", PORT), "[{peers: [beta]}]");
        alpha.put_manifest("plain.yaml", &manifest)?;
        alpha.wait_name(&format!("{global}:{PORT}")).await?;
        let (_, block) = names(alpha, "corefile").await?;
        let coredns = CoreDns::start(run.path(), Ipv4Addr::LOCALHOST.into(), &block).await?;
        let ask = async |name: &str| dns::ask(coredns.address(), name).await;
        let Answer { address: Some(address), .. } = wait::until("the name", SOON, async || {
            Ok(Some(ask(host).await?).filter(|answer| answer.address.is_some()))
        })
        .await?
        else {
            anyhow::bail!("it has no address")
        };
        ensure!(hosts(alpha)?.contains(&(address.into(), host.to_owned())), "{:?}", hosts(alpha)?);
        let call = async || {
            let answer = plain_get((address, PORT).into(), host).await?;
            ensure!(answer.body == identity("web", "beta"), "{answer:?}");
            Ok(Some(()))
        };
        wait::until("the call by name", SOON, call).await?;
        let (_, lines) = names(alpha, "hosts").await?;
        ensure!(lines.contains(&format!("{address} {host}\n")), "{lines}");
        let (_, text) = names(alpha, "text").await?;
        let line = text.lines().find(|line| line.contains(host)).context("no line")?;
        ensure!(!line.contains("nothing listens"), "{text}");

        // The name of a FederatedService has an address of its own, in a zone of its own.
        let shown =
            wait::until("the federated name", SOON, async || Ok(ask(global).await?.address))
                .await?;
        ensure!(shown != address && lines.contains(&format!("{shown} {global}\n")), "{lines}");
        wait::until("the call by the federated name", SOON, async || {
            let answer = plain_get((shown, PORT).into(), global).await?;
            ensure!(answer.body == identity("web", "beta"), "{answer:?}");
            Ok(Some(()))
        })
        .await?;
        assert_eq!(ask("other.shop.global").await?, MISSING);

        // Another port of that address, and a name that is not exported.
        ensure!(plain_get((address, PORT + 1).into(), host).await.is_err());
        assert_eq!(ask("hidden.shop.svc.beta.example").await?, MISSING);

        // With the import, its name and its listener go.
        let plain = Service::new("plain", "http", PORT, named.pair.web.backend.address());
        named.pair.beta().put_service(&plain)?;
        let is_gone = async || Ok(ask(host).await? == MISSING);
        wait::until_true("the name to be gone", SOON, is_gone).await?;
        let is_closed = async || Ok(plain_get((address, PORT).into(), host).await.is_err());
        wait::until_true("the address to be closed", SOON, is_closed).await
    });
}

#[test]
fn a_tls_client_reaches_an_import_by_server_name_and_nothing_else() {
    scenario("server-names", async |run: &RunFolder| {
        let named = Named::start(run).await?;
        let (alpha, host) = (named.alpha(), "shop.shop.svc.beta.example");
        let client = Client::new(None)?;
        let get = async |name: &str| client.get(named.server_names, name, name).await;
        let call = async || {
            let answer = get(host).await?;
            ensure!(answer.body == identity("shop", "beta"), "{answer:?}");
            Ok(Some(()))
        };
        wait::until("the call by server name", SOON, call).await?;
        let log = AccessLog::from_now(alpha.egress()?.log());
        // Each worker thread of the egress takes the name by itself.
        wait::until("another call", SOON, call).await?;
        let is_call = |entry: &Entry| entry.sni.as_deref() == Some(host) && entry.service.is_some();
        let entry = log.wait_for("the call", is_call).await?;
        assert_eq!(entry.service, Some(format!("{host}:{TLS_PORT}")));

        // What is not imported is closed, with its reason: it is no proxy to other hosts.
        for other in ["hidden.shop.svc.beta.example", "gw.beta.example", "localhost"] {
            ensure!(get(other).await.is_err(), "{other}: it was connected");
            let entry = log.wait_for(other, |entry| entry.sni.as_deref() == Some(other)).await?;
            assert_eq!(entry.reason.as_deref(), Some("filter_chain_not_found"), "{entry:?}");
            assert_eq!(entry.cluster, None, "{entry:?}");
        }
        // Without TLS there is no name.
        ensure!(plain_get(named.server_names, host).await.is_err());
        log.wait_for("a connection without a name", |entry| {
            entry.sni.is_none() && entry.reason.as_deref() == Some("filter_chain_not_found")
        })
        .await
        .map(drop)
    });
}
