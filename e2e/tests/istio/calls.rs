//! Calls from a sidecar in one mesh to a service in another, with each protocol, in both
//! directions.

use super::fixture::run;
use anyhow::{Result, ensure};
use fedgate_e2e::authority::{Authority, Leaf};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::{self, plain_get, plain_greeting, send_line};
use fedgate_e2e::http2::{self, Http2Backend};
use fedgate_e2e::istio::istiod::MeshOptions;
use fedgate_e2e::istio::mesh::federation;
use fedgate_e2e::istio::{Client, Import, Mesh};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::wait::{self, SOON};
use std::net::SocketAddr;

/// The Service's name, its port's name and number, and Istio's name of the protocol.
pub(super) type Offer = (&'static str, &'static str, u16, &'static str);

/// One Service for each protocol. `mail` and `news` have the same port, and their servers speak
/// first, so only the address tells them apart.
pub(super) const OFFERS: [Offer; 7] = [
    ("web", "http", 80, "HTTP"),
    ("files", "http2", 81, "HTTP2"),
    ("health", "grpc", 82, "GRPC"),
    ("shop", "tls", 443, "TLS"),
    ("plain", "tcp", 83, "TCP"),
    ("mail", "smtp", 25, "TCP"),
    ("news", "smtp", 25, "TCP"),
];

/// The back ends of a mesh.
pub(super) struct Backends {
    _one: Vec<Backend>,
    _two: Http2Backend,
}

impl Backends {
    pub(super) async fn start(mesh: &Mesh) -> Result<Self> {
        let (name, address) = (mesh.cluster.name(), mesh.cluster.addresses().node);
        // The application's own certificate, which fedgate does not know.
        let host = format!("shop.shop.svc.{}", mesh.cluster.trust_domain());
        let certificate = Authority::root("application")?.sign(&Leaf::new().dns(&host)?)?;
        let one = vec![
            Backend::http_at(address, "web", name).await?,
            Backend::https_at((address, 0).into(), &certificate, "shop", name).await?,
            Backend::http_at(address, "plain", name).await?,
            Backend::greeting_at(address, "mail", name).await?,
            Backend::greeting_at(address, "news", name).await?,
        ];
        let two = Http2Backend::start_at(address, "files", name).await?;
        let at = |service: &str| match service {
            "web" => one[0].address(),
            "shop" => one[1].address(),
            "plain" => one[2].address(),
            "mail" => one[3].address(),
            "news" => one[4].address(),
            _ => two.address(),
        };
        for (service, port, number, _) in OFFERS {
            mesh.cluster
                .put_service(&Service::new(service, port, number, at(service)).exported())
                .await?;
        }
        Ok(Self { _one: one, _two: two })
    }
}

/// The host of a service under its owner's domain.
fn own_host(owner: &Mesh, service: &str) -> String {
    format!("{service}.shop.svc.{}", owner.cluster.trust_domain())
}

/// A client in one mesh with imports of everything that the other exports.
async fn client_of(mesh: &Mesh, peer: &Mesh) -> Result<Client> {
    let imports = OFFERS.map(|(service, _, port, protocol)| Import {
        host: own_host(peer, service),
        port,
        protocol,
    });
    Client::start(mesh, "client", &imports).await
}

/// Calls each service of `owner` by the host that `host` gives it, until the right back end answers.
pub(super) async fn call_all(
    client: &Client,
    owner: &Mesh,
    host: impl Fn(&str) -> String,
) -> Result<()> {
    for offer in OFFERS {
        let (service, _, port, protocol) = offer;
        let host = host(service);
        let expected = identity(service, owner.cluster.name());
        let what = format!("{host} ({protocol}) of {} to answer", owner.cluster.name());
        wait::until(&what, SOON, async || {
            let (name, expected) = (host.clone(), expected.clone());
            client
                .call(&host, port, move |address| call(offer, address, name, expected))
                .await
                .map(Some)
        })
        .await?;
    }
    Ok(())
}

/// Makes a call with the service's protocol and checks that the right back end answers.
async fn call(
    (service, ..): Offer,
    address: SocketAddr,
    host: String,
    expected: String,
) -> Result<()> {
    let found = match service {
        "web" | "plain" => plain_get(address, &host).await?.body,
        "files" => http2::get(address, &host).await?,
        "health" => return http2::grpc_check(address, &host).await,
        "shop" => client::Client::new(None)?.get(address, &host, &host).await?.body,
        _ => {
            let (mut connection, greeting) = plain_greeting(address).await?;
            ensure!(send_line(&mut connection, "HELO").await? == "250 HELO", "no echo");
            greeting.trim_start_matches("220 ").to_owned()
        }
    };
    ensure!(found == expected, "expected {expected:?}, found {found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_passes_both_ways() -> Result<()> {
    let run = run("calls")?;
    let [alpha, beta] = federation(&run, ["alpha", "beta"], &MeshOptions::default()).await?;
    let _backends = (Backends::start(&alpha).await?, Backends::start(&beta).await?);
    let (from_alpha, from_beta) =
        tokio::try_join!(client_of(&alpha, &beta), client_of(&beta, &alpha))?;
    call_all(&from_alpha, &beta, |service| own_host(&beta, service)).await?;
    call_all(&from_beta, &alpha, |service| own_host(&alpha, service)).await
}
