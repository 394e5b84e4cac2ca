//! Probes of gateways on loopback that require a client certificate, as every gateway does. Each
//! good gateway has bad counterparts.

use super::{OF_ONE_PEER, ProbeSettings, Prober, Probing, Supervision, Target, probe, waits};
use crate::loopback::{Leaf, Server, TestCa, acceptor};
use fedgate_core::{ServicePort, TrustDomain};
use fedgate_federation::{
    bundle::{Root, TrustBundle},
    document::{GatewayAddress, GatewayHost, WorkloadIdentity},
    federate::{Gateway, ProbeTarget, ServerIdentity},
    knowledge::{ProbeDepth, ProbeResult},
};
use rustls::version::{TLS12, TLS13};
use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

/// Longer than anything here takes, shorter than a person would wait.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) const GATEWAY: &str = "spiffe://beta.example/ns/istio/sa/gateway";

/// Beta, as this cluster knows it.
pub(super) struct Beta {
    pub(super) ca: TestCa,
    expected: ServerIdentity,
}

impl Beta {
    pub(super) fn new() -> Self {
        let gateway = WorkloadIdentity::parse(GATEWAY).unwrap();
        Self { ca: TestCa::new(), expected: ServerIdentity::Exactly(vec![gateway]) }
    }

    fn of_any_identity() -> Self {
        Self {
            expected: ServerIdentity::AnyOf(TrustDomain::parse("beta.example").unwrap()),
            ..Self::new()
        }
    }

    pub(super) fn target(&self, gateways: &[SocketAddr]) -> ProbeTarget {
        let root = Root::from_der(&self.ca.der()).unwrap();
        ProbeTarget {
            service: Some("web.shop.svc.beta.example:80".parse().unwrap()),
            health: false,
            acknowledges: None,
            gateways: gateways.iter().map(gateway_at).collect(),
            server: Arc::new(self.expected.clone()),
            bundle: TrustBundle {
                trust_domain: TrustDomain::parse("beta.example").unwrap(),
                roots: vec![root],
            },
        }
    }

    /// The outcome for a gateway that shows this certificate.
    async fn seeing(&self, leaf: &Leaf) -> Result<(), String> {
        self.at(gateway(leaf, &[&TLS13, &TLS12]).await.address).await
    }

    /// The outcome for the gateway at an address.
    async fn at(&self, gateway: SocketAddr) -> Result<(), String> {
        let probed = probe(&probing(), &self.target(&[gateway])).await;
        let ProbeResult::Gateways { outcomes, depth: ProbeDepth::Server } = probed else {
            panic!("{probed:?}")
        };
        let [(_, outcome)] = outcomes.try_into().unwrap();
        outcome
    }
}

fn probing() -> Probing {
    Probing::new(ProbeSettings { time: Duration::from_millis(800), ..ProbeSettings::default() })
}

fn gateway_at(address: &SocketAddr) -> Gateway {
    Gateway { announced: address_of(address), addresses: vec![*address], locality: None }
}

fn address_of(gateway: &SocketAddr) -> GatewayAddress {
    GatewayAddress {
        address: GatewayHost::Ip(gateway.ip()),
        port: ServicePort::new(gateway.port()).unwrap(),
    }
}

/// A server that shows `leaf`, and refuses clients without a certificate from its own CA. No client
/// here has one.
pub(crate) async fn gateway(
    leaf: &Leaf,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Server {
    Server::gateway(leaf, versions).await
}

fn refused(outcome: Result<(), String>, because: &str) {
    let why = outcome.expect_err("the gateway is none of beta's");
    assert!(why.contains(because), "{why}");
}

#[tokio::test]
async fn a_gateway_that_demands_a_certificate_is_reachable_without_one() {
    let beta = Beta::new();
    assert_eq!(beta.seeing(&beta.ca.leaf_of(&[GATEWAY])).await, Ok(()));
    let any = Beta::of_any_identity();
    assert_eq!(
        any.seeing(&any.ca.leaf_of(&["spiffe://beta.example/ns/shop/sa/web"])).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_certificate_from_another_ca_is_refused() {
    let (beta, other) = (Beta::new(), TestCa::new());
    refused(beta.seeing(&other.leaf_of(&[GATEWAY])).await, "signed by no root of the peer");
    let any = Beta::of_any_identity();
    refused(any.seeing(&other.leaf_of(&[GATEWAY])).await, "signed by no root of the peer");
}

#[tokio::test]
async fn only_the_first_uri_san_is_the_identity() {
    let beta = Beta::new();
    let web = "spiffe://beta.example/ns/shop/sa/web";
    refused(
        beta.seeing(&beta.ca.leaf_of(&[web])).await,
        &format!("its identity is {web}, expected {GATEWAY}"),
    );
    refused(
        beta.seeing(&beta.ca.leaf_of(&[web, GATEWAY])).await,
        &format!("its identity is {web}"),
    );
    refused(beta.seeing(&beta.ca.leaf()).await, "its identity is none (no URI SAN)");
    let any = Beta::of_any_identity();
    for other in [
        "spiffe://gamma.example/ns/istio/sa/gateway",
        "spiffe://beta.example.org/ns/a/sa/b",
        "https://beta.example/x",
    ] {
        refused(
            any.seeing(&any.ca.leaf_of(&[other])).await,
            &format!("its identity is {other}, expected any of"),
        );
    }
}

#[tokio::test]
async fn a_certificate_must_be_currently_valid() {
    let beta = Beta::new();
    refused(
        beta.seeing(&beta.ca.expired_leaf_of(GATEWAY)).await,
        "expired at 2001-01-01T00:00:00Z; its operator has to renew it",
    );
}

#[tokio::test]
async fn failures_of_a_gateway_are_distinguished() {
    let beta = Beta::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    refused(beta.at(closed).await, "connection refused");
    let silent = Server::tcp(|stream| async move {
        let _held = stream;
        pending().await
    });
    refused(beta.at(silent.await.address).await, "no TLS handshake within 800ms");
    let hangs_up = Server::tcp(|mut stream: TcpStream| async move { drop(stream.read_u8().await) });
    refused(
        beta.at(hangs_up.await.address).await,
        "hung up in the TLS handshake for web.shop.svc.beta.example:80",
    );
    let old = gateway(&beta.ca.leaf_of(&[GATEWAY]), &[&TLS12]).await;
    refused(beta.at(old.address).await, "TLS: ");
}

#[tokio::test]
async fn the_probe_sends_the_sni_and_alpn_of_istio() {
    let beta = Beta::new();
    let (acceptor, (sender, mut received)) =
        (acceptor(&beta.ca.leaf_of(&[GATEWAY]), &TestCa::new(), &[&TLS13]), mpsc::channel(1));
    let server = Server::tcp(move |stream| {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        async move {
            let start =
                tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
                    .await
                    .unwrap();
            let hello = start.client_hello();
            let alpn: Vec<_> = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
            let name = hello.server_name().map(str::to_owned);
            let let_in = start.into_stream(acceptor.config().clone()).await.is_ok();
            sender.send((name, alpn, let_in)).await.unwrap();
        }
    })
    .await;
    assert_eq!(beta.at(server.address).await, Ok(()));
    let (name, alpn, let_in) = received.recv().await.unwrap();
    assert_eq!(name.as_deref(), Some("outbound_.80_._.web.shop.svc.beta.example"));
    assert_eq!(alpn, [b"istio".to_vec()]);
    assert!(!let_in, "it has no certificate to show");
}

#[tokio::test]
async fn without_a_service_no_byte_is_sent() {
    let (beta, (sender, mut received)) = (Beta::new(), mpsc::channel(1));
    let server = Server::tcp(move |mut stream: TcpStream| {
        let sender = sender.clone();
        async move { sender.send(stream.read_to_end(&mut Vec::new()).await.unwrap()).await.unwrap() }
    })
    .await;
    let target = ProbeTarget { service: None, ..beta.target(&[server.address]) };
    let outcomes = vec![(address_of(&server.address), Ok(()))];
    assert_eq!(
        probe(&probing(), &target).await,
        ProbeResult::Gateways { outcomes, depth: ProbeDepth::Connection }
    );
    assert_eq!(received.recv().await, Some(0));
}

#[tokio::test]
async fn all_gateways_are_probed_and_reported_in_order() {
    let beta = Beta::new();
    let good = gateway(&beta.ca.leaf_of(&[GATEWAY]), &[&TLS13]).await;
    let bad = gateway(&TestCa::new().leaf_of(&[GATEWAY]), &[&TLS13]).await;
    let addresses = [bad.address, good.address, bad.address];
    let ProbeResult::Gateways { outcomes, .. } = probe(&probing(), &beta.target(&addresses)).await
    else {
        unreachable!()
    };
    assert_eq!(
        outcomes.iter().map(|(gateway, _)| gateway.clone()).collect::<Vec<_>>(),
        addresses.map(|a| address_of(&a))
    );
    assert_eq!(
        outcomes.iter().map(|(_, outcome)| outcome.is_ok()).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let beta = Beta::new();
    let server = gateway(&beta.ca.leaf_of(&[GATEWAY]), &[&TLS13]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut announced = address_of(&server.address);
    announced.address = GatewayHost::parse("gw.beta.example").unwrap();
    let named = Gateway {
        announced: announced.clone(),
        addresses: vec![closed, server.address],
        locality: None,
    };
    let target = ProbeTarget { gateways: [named].into(), ..beta.target(&[]) };
    let outcomes = vec![(announced, Ok(()))];
    assert_eq!(
        probe(&probing(), &target).await,
        ProbeResult::Gateways { outcomes, depth: ProbeDepth::Server }
    );
}

/// A server on all addresses of the loopback network that holds connections open and counts them.
struct Holding {
    server: Server,
    most: Arc<AtomicUsize>,
}

impl Holding {
    async fn new(time: Duration) -> Self {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let highest = most.clone();
        let server = Server::tcp_on("0.0.0.0:0", move |mut stream: TcpStream| {
            let (open, most) = (open.clone(), highest.clone());
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Until the prober gives up.
                let _ = timeout(time, stream.read_to_end(&mut Vec::new())).await;
                open.fetch_sub(1, Ordering::SeqCst);
            }
        });
        Self { server: server.await, most }
    }

    fn addresses(&self, count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|last| SocketAddr::from(([127, 0, 0, last], self.server.address.port())))
            .collect()
    }
}

#[tokio::test]
async fn concurrent_probes_are_limited() {
    let (beta, holding) = (Beta::new(), Holding::new(DEADLINE).await);
    let settings = ProbeSettings { time: Duration::from_millis(500), ..ProbeSettings::default() };
    let probed = probe(&Probing::new(settings.clone()), &beta.target(&holding.addresses(12))).await;
    assert!(matches!(probed, ProbeResult::Gateways { outcomes, .. } if outcomes.len() == 12));
    assert_eq!(holding.most.swap(0, Ordering::SeqCst), OF_ONE_PEER);

    // Across all peers.
    let probing = Probing::new(ProbeSettings { at_once: 2, ..settings });
    let (one, other) = (beta.target(&holding.addresses(3)), beta.target(&holding.addresses(3)));
    tokio::join!(probe(&probing, &one), probe(&probing, &other));
    assert_eq!(holding.most.load(Ordering::SeqCst), 2);
}

/// A prober, and the sender that sets what it probes.
fn prober(interval: Duration) -> (Prober, watch::Sender<Target>) {
    let (target, targets) = watch::channel(None);
    let settings = ProbeSettings { interval, ..ProbeSettings::default() };
    (Prober::start(Arc::new(Probing::new(settings)), targets, Supervision::of("beta")), target)
}

async fn next(prober: &mut Prober) -> bool {
    let probed = timeout(DEADLINE, prober.next()).await.expect("a probe ends");
    let ProbeResult::Gateways { outcomes, .. } = probed else { panic!("{probed:?}") };
    outcomes.iter().all(|(_, outcome)| outcome.is_ok())
}

#[tokio::test]
async fn gateways_are_probed_repeatedly_while_there_are_any() {
    let beta = Beta::new();
    let server = gateway(&beta.ca.leaf_of(&[GATEWAY]), &[&TLS13]).await;
    let (mut prober, target) = prober(Duration::from_millis(40));
    target.send_replace(Some(Arc::new(beta.target(&[server.address]))));
    for _ in 0..3 {
        assert!(next(&mut prober).await);
    }
    drop(server);
    while next(&mut prober).await {}
    target.send_replace(None);
    // One probe may still be running.
    let _ = timeout(Duration::from_millis(200), prober.next()).await;
    assert!(
        timeout(Duration::from_millis(200), prober.next()).await.is_err(),
        "there is nothing to probe"
    );
}

#[tokio::test]
async fn new_gateways_are_probed_soon_at_a_limited_rate() {
    let beta = Beta::new();
    let server = gateway(&beta.ca.leaf_of(&[GATEWAY]), &[&TLS13]).await;
    let interval = Duration::from_secs(8);
    let (mut prober, target) = prober(interval);
    let begun = Instant::now();
    target.send_replace(Some(Arc::new(beta.target(&[server.address]))));
    assert!(next(&mut prober).await);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    target.send_replace(Some(Arc::new(beta.target(&[closed]))));
    assert!(!next(&mut prober).await);
    let took = begun.elapsed();
    assert!(interval / 4 <= took && took < interval.mul_f64(0.9), "{took:?}");
}

#[test]
fn failed_probes_are_retried_with_backoff() {
    let minute = Duration::from_secs(60);
    let most = |interval, failures| waits(interval, failures, 0.5).1.as_secs_f64();
    assert_eq!(
        (0..8).map(|failures| most(minute, failures)).collect::<Vec<_>>(),
        [60.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    );
    assert_eq!(
        (1..4).map(|failures| most(Duration::from_secs(3), failures)).collect::<Vec<_>>(),
        [1.0, 2.0, 3.0]
    );
    assert_eq!(most(Duration::from_millis(40), 9), 0.04);
    // When the gateways change.
    assert_eq!(waits(minute, 0, 0.5).0, Duration::from_secs(15));
    assert_eq!(waits(minute, 5, 0.5).0, Duration::from_secs(1));
    assert_eq!(waits(minute, 1, 0.5).0, Duration::from_millis(500));
    for failures in 0..1000 {
        let (least, most) = waits(minute, failures, 0.0);
        assert!(least <= most, "{failures}");
    }
}

#[tokio::test]
async fn a_gateway_that_recovers_is_noticed_before_the_interval_ends() {
    let beta = Beta::new();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (mut prober, target) = prober(Duration::from_secs(60));
    target.send_replace(Some(Arc::new(beta.target(&[address]))));
    assert!(!next(&mut prober).await);
    let acceptor = acceptor(&beta.ca.leaf_of(&[GATEWAY]), &TestCa::new(), &[&TLS13]);
    let _server = Server::tcp_on(&address.to_string(), move |stream| {
        let acceptor = acceptor.clone();
        async move { drop(acceptor.accept(stream).await) }
    })
    .await;
    let begun = Instant::now();
    while !next(&mut prober).await {}
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
}
