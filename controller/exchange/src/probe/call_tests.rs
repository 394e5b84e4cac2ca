//! Probes that show this cluster's certificate: a gateway that accepts it, and counterparts that do
//! not.

use super::probe_tests::{Beta, GATEWAY};
use super::{ProbeIdentity, ProbeSettings, Probing, probe};
use crate::loopback::{Leaf, Server, TestCa, acceptor, read_head};
use fedgate_federation::{
    federate::ProbeTarget,
    knowledge::{ProbeDepth, ProbeResult},
};
use rustls::version::{TLS12, TLS13};
use std::{future::pending, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::server::TlsStream;

/// Alpha, which probes, and beta, whose gateway accepts clients signed by alpha's root.
struct Pair {
    alpha: TestCa,
    beta: Beta,
    shown: ProbeIdentity,
}

impl Pair {
    fn new() -> Self {
        let pair =
            Self { alpha: TestCa::new(), beta: Beta::new(), shown: ProbeIdentity::default() };
        pair.shows(&pair.alpha.leaf_of(&["spiffe://alpha.example/ns/istio/sa/gateway"]));
        pair
    }

    /// Sets what alpha shows.
    fn shows(&self, leaf: &Leaf) {
        self.shown.show(&leaf.chain, &leaf.key);
    }

    /// Beta's gateway, which calls `then` after the handshake.
    async fn gateway<F: Future<Output = ()> + Send + 'static>(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        then: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
    ) -> Server {
        let acceptor = acceptor(&self.beta.ca.leaf_of(&[GATEWAY]), &self.alpha, versions);
        Server::tcp(move |stream| {
            let (acceptor, then) = (acceptor.clone(), then.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    then(stream).await;
                }
            }
        })
        .await
    }

    /// A gateway that answers calls to the health name with `answer`.
    async fn answering(&self, answer: &'static str) -> Server {
        self.gateway(&[&TLS13], move |mut stream| async move {
            let head = read_head(&mut stream).await.unwrap_or_default();
            assert!(
                head.starts_with("GET /healthz HTTP/1.1\r\nhost: web.shop.svc.beta.example\r\n"),
                "{head}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        })
        .await
    }

    async fn probe(&self, server: &Server, health: bool) -> ProbeResult {
        let identity = self.shown.clone();
        let settings =
            ProbeSettings { identity, time: Duration::from_secs(5), ..ProbeSettings::default() };
        probe(
            &Probing::new(settings),
            &ProbeTarget { health, ..self.beta.target(&[server.address]) },
        )
        .await
    }

    /// The outcome of a probe.
    async fn outcome(&self, server: &Server, health: bool) -> Result<(), String> {
        match self.probe(server, health).await {
            ProbeResult::Gateways { mut outcomes, depth: ProbeDepth::Call } => outcomes.remove(0).1,
            other => panic!("{other:?}"),
        }
    }
}

async fn held(stream: TlsStream<TcpStream>) {
    let _held = stream;
    pending().await
}

#[tokio::test]
async fn a_gateway_that_accepts_our_certificate_is_reachable() {
    let pair = Pair::new();
    for version in [&TLS13, &TLS12] {
        let silent = pair.gateway(&[version], held).await;
        assert_eq!(pair.outcome(&silent, false).await, Ok(()));
    }
    let speaks_first = pair
        .gateway(&[&TLS13], |mut stream| async move {
            let _ = stream.write_all(b"220 mail").await;
            held(stream).await;
        })
        .await;
    assert_eq!(pair.outcome(&speaks_first, false).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_refused_after_the_handshake_is_a_failure() {
    let pair = Pair::new();
    pair.shows(&TestCa::new().leaf_of(&["spiffe://alpha.example/ns/istio/sa/gateway"]));
    for version in [&TLS13, &TLS12] {
        let gateway = pair.gateway(&[version], held).await;
        for health in [false, true] {
            let why = pair.outcome(&gateway, health).await.unwrap_err();
            assert!(
                why.contains("refuses this cluster's certificate for web.shop.svc.beta.example:80"),
                "{why}"
            );
            assert!(why.contains("TLS alert"), "{why}");
        }
    }
    let expired = pair.alpha.expired_leaf_of("spiffe://alpha.example/ns/istio/sa/gateway");
    pair.shows(&expired);
    let gateway = pair.gateway(&[&TLS13], held).await;
    let why = pair.outcome(&gateway, true).await.unwrap_err();
    assert!(why.contains("certificate_expired"), "{why}");
}

#[tokio::test]
async fn a_gateway_that_closes_the_connection_is_a_failure() {
    let pair = Pair::new();
    let closes = pair.gateway(&[&TLS13], |stream| async move { drop(stream) }).await;
    for health in [false, true] {
        let why = pair.outcome(&closes, health).await.unwrap_err();
        assert!(why.contains("(it closed the connection)"), "{why}");
    }
}

#[tokio::test]
async fn the_health_name_must_answer_200() {
    let pair = Pair::new();
    let outcome = async |answer| pair.outcome(&pair.answering(answer).await, true).await;
    assert_eq!(outcome("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").await, Ok(()));
    let unwell = outcome("HTTP/1.1 503 Service Unavailable\r\n\r\n").await.unwrap_err();
    assert_eq!(
        unwell,
        "web.shop.svc.beta.example:80 answers with status 503, expected 200; ask the peer's operator"
    );
    for no_http in ["220 mail\r\n", "HTTP/1.1 two hundred\r\n", "\n"] {
        assert!(outcome(no_http).await.unwrap_err().contains("does not speak HTTP"), "{no_http:?}");
    }
    let endless = pair
        .gateway(&[&TLS13], |mut stream| async move {
            while stream.write_all(&[b'x'; 512]).await.is_ok() {}
        })
        .await;
    assert!(pair.outcome(&endless, true).await.unwrap_err().contains("does not speak HTTP"));
    let silent = pair.gateway(&[&TLS13], held).await;
    assert!(pair.outcome(&silent, true).await.unwrap_err().contains("within 5s"));
}

#[tokio::test]
async fn an_unusable_identity_of_ours_is_reported_without_the_key() {
    let pair = Pair::new();
    let gateway = pair.gateway(&[&TLS13], held).await;
    let why = async || match pair.probe(&gateway, false).await {
        ProbeResult::Impossible(why) => why,
        other => panic!("{other:?}"),
    };
    let (one, other) = (pair.alpha.leaf(), pair.alpha.leaf());
    pair.shown.show(&one.chain, &other.key);
    assert_eq!(
        why().await,
        "identity.privateKey is not the key of the certificate in identity.certificateChain"
    );
    pair.shown.show(&one.chain, &one.key[..one.key.len() / 2]);
    let broken = why().await;
    assert!(
        broken.contains("expected a private key in PEM") && !broken.contains(&one.key[40..60]),
        "{broken}"
    );
    assert!(!format!("{:?}", pair.shown).contains("KEY"));
}
