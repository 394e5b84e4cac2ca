//! Peers behind an HTTP proxy.

use super::*;
use crate::loopback::read_head;
use crate::proxy::{Proxies, ProxyAddress, ProxySettings};
use std::sync::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

/// What the proxy is asked for, request by request.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that leads every name to `peer`, if the client shows this login.
async fn proxy(peer: SocketAddr, login: &'static str) -> (Server, Asked) {
    let asked = Asked::default();
    let noted = asked.clone();
    let server = Server::tcp(move |mut client| {
        let noted = noted.clone();
        async move {
            let Some(head) = read_head(&mut client).await else { return };
            let is_known = head.contains(login);
            noted.lock().unwrap().push(head);
            if !is_known {
                let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                let _ = client.write_all(refusal).await;
                return;
            }
            let _ = client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await;
            let Ok(mut peer) = TcpStream::connect(peer).await else { return };
            let _ = copy_bidirectional(&mut client, &mut peer).await;
        }
    })
    .await;
    (server, asked)
}

impl Scene {
    /// Asks all peers through this proxy from now on.
    fn through(&mut self, proxy: SocketAddr, login: &str) {
        let proxy = Some(ProxyAddress::new(format!("http://{login}{proxy}")));
        let proxies = Proxies::new(&ProxySettings { proxy, no_proxy: Vec::new() });
        self.start_again(|settings| settings.proxies = proxies);
    }

    /// A peer at a name that only the proxy can look up.
    fn distant(&self, name: &str) -> Peer {
        let endpoint = MetadataEndpoint::parse(&format!("https://{name}.invalid/metadata"));
        let here = self.peer(name, ([127, 0, 0, 1], 1).into());
        Peer { endpoint: endpoint.unwrap(), ..here }
    }
}

#[tokio::test]
async fn a_peer_is_asked_through_the_proxy_with_its_login() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    scene.judge(&beta, true);
    let tls = Transport::Tls(scene.ca.leaf_for("beta.invalid").tls());
    let published = beta.published(Some(&scene.identity));
    let clock = Arc::new(scene.clock.clone());
    let server = TestServer::start(published, ExporterLimits::default(), tls, clock).await;
    // "user:secret" in base64.
    let (proxy, asked) = proxy(server.address, "Basic dXNlcjpzZWNyZXQ=").await;
    scene.through(proxy.address, "user:secret@");
    scene.poll(&[scene.distant("beta")]);
    assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    let asked = asked.lock().unwrap().clone();
    assert!(asked.iter().all(|head| head.starts_with("CONNECT beta.invalid:443 ")), "{asked:?}");
    assert!(!asked.is_empty() && !asked.concat().contains("Bearer"));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_login() {
    let mut scene = Scene::new(NEVER);
    let (proxy, _asked) = proxy(([127, 0, 0, 1], 1).into(), "Basic other").await;
    scene.through(proxy.address, "user:secret@");
    scene.poll(&[scene.distant("beta")]);
    let update = scene.next().await;
    assert_eq!(reasons(&update), (FetchFailed, FetchFailed));
    let message = update.knowledge.public_exchange.unwrap().message;
    let expected = format!("through the proxy http://{}: ", proxy.address);
    assert!(message.starts_with(&expected) && message.contains("asks for a login"), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

/// A server on this machine needs no proxy.
#[tokio::test]
async fn an_endpoint_on_loopback_is_asked_directly() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let (proxy, asked) = proxy(server.address, "").await;
    scene.through(proxy.address, "");
    scene.poll(&[scene.peer("beta", server.address)]);
    assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    assert!(asked.lock().unwrap().is_empty());
}
