//! Peers behind an ingress that asks for a client certificate.

use super::*;
use crate::loopback::{Leaf, acceptor};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::path::Path;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

/// An ingress in front of beta that lets in clients with a certificate of `clients`.
struct Ingress {
    server: Server,
    clients: TestCa,
    _beta: TestServer,
}

impl Scene {
    async fn ingress(&mut self, versions: &[&'static SupportedProtocolVersion]) -> Ingress {
        let beta = TestCluster::new("beta", &["web"]);
        self.judge(&beta, true);
        let (published, clock) =
            (beta.published(Some(&self.identity)), Arc::new(self.clock.clone()));
        let limits = ExporterLimits::default();
        let beta = TestServer::start(published, limits, Transport::Plain, clock).await;
        let (upstream, clients) = (beta.address, TestCa::new());
        let acceptor = acceptor(&self.ca.leaf(), &clients, versions);
        let server = Server::tcp(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let Ok(mut beta) = TcpStream::connect(upstream).await else { return };
                let _ = copy_bidirectional(&mut client, &mut beta).await;
            }
        })
        .await;
        Ingress { server, clients, _beta: beta }
    }

    /// Asks beta, with the client certificates in this folder.
    async fn asked(&mut self, ingress: &Ingress, folder: &Path) -> PeerUpdate {
        let certificates = ClientCertificates::new(Some(folder.to_owned()));
        self.start_again(|settings| settings.client_certificates = certificates);
        self.poll(&[self.peer("beta", ingress.server.address)]);
        self.next().await
    }
}

fn put(folder: &Path, leaf: &Leaf) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("tls.crt"), &leaf.chain).unwrap();
    std::fs::write(folder.join("tls.key"), &leaf.key).unwrap();
}

fn message(update: &PeerUpdate) -> String {
    assert_eq!(reasons(update), (FetchFailed, FetchFailed));
    update.knowledge.public_exchange.as_ref().unwrap().message.clone()
}

#[tokio::test]
async fn a_peers_own_certificate_comes_before_that_of_all_peers() {
    let (mut scene, folder) = (Scene::new(NEVER), TempDir::new().unwrap());
    let ingress = scene.ingress(&[&TLS13]).await;
    let (all, beta) = (folder.path(), folder.path().join("beta"));
    let told = message(&scene.asked(&ingress, all).await);
    assert!(told.contains("none for it") && told.contains("peers.clientTLS"), "{told}");
    put(&folder.path().join("gamma"), &ingress.clients.leaf());
    let told = message(&scene.asked(&ingress, all).await);
    assert!(told.contains("none for it"), "{told}");
    put(all, &ingress.clients.leaf());
    assert_eq!(reasons(&scene.asked(&ingress, all).await), (Succeeded, Succeeded));
    put(&beta, &TestCa::new().leaf());
    let told = message(&scene.asked(&ingress, all).await);
    assert!(told.contains(&format!("certificate in {}", beta.display())), "{told}");
    put(&beta, &ingress.clients.leaf());
    assert_eq!(reasons(&scene.asked(&ingress, all).await), (Succeeded, Succeeded));
}

#[tokio::test]
async fn a_certificate_is_shown_only_over_tls_1_3_and_to_a_verified_endpoint() {
    let (mut scene, folder) = (Scene::new(NEVER), TempDir::new().unwrap());
    let ingress = scene.ingress(&[&TLS12]).await;
    put(folder.path(), &ingress.clients.leaf());
    let told = message(&scene.asked(&ingress, folder.path()).await);
    assert!(told.contains("has to allow TLS 1.3"), "{told}");
    let ingress = scene.ingress(&[&TLS13]).await;
    put(folder.path(), &ingress.clients.leaf());
    let peer = scene.peer("beta", ingress.server.address);
    scene.poll(&[Peer { tls: EndpointTls::Unverified, ..peer }]);
    let told = message(&scene.next().await);
    assert!(told.contains("put its CA into spec.metadata.ca"), "{told}");
}

#[tokio::test]
async fn a_pair_that_does_not_match_is_reported_without_the_key_and_the_last_one_stays() {
    let (mut scene, folder) = (Scene::new(NEVER), TempDir::new().unwrap());
    let ingress = scene.ingress(&[&TLS13]).await;
    let (good, other) = (ingress.clients.leaf(), ingress.clients.leaf());
    let path = folder.path();
    put(path, &Leaf { chain: good.chain.clone(), key: other.key.clone() });
    let told = message(&scene.asked(&ingress, path).await);
    let secret = other.key.lines().nth(1).unwrap();
    assert!(told.contains("that of another") && !told.contains(secret), "{told}");
    std::fs::remove_file(path.join("tls.key")).unwrap();
    let told = message(&scene.asked(&ingress, path).await);
    assert!(told.contains("cannot read tls.key"), "{told}");
    put(path, &good);
    assert_eq!(reasons(&scene.asked(&ingress, path).await), (Succeeded, Succeeded));
    // Only one of the two files is replaced so far.
    std::fs::write(path.join("tls.key"), &other.key).unwrap();
    let certificates = scene.importer.shared.settings.client_certificates.clone();
    let name = PeerName::parse("beta").unwrap();
    let last = certificates.of(&name).unwrap().unwrap();
    std::fs::write(path.join("tls.crt"), &other.chain).unwrap();
    let new = certificates.of(&name).unwrap().unwrap();
    assert!(!Arc::ptr_eq(&last, &new));
    assert!(Arc::ptr_eq(&new, &certificates.of(&name).unwrap().unwrap()));
}
