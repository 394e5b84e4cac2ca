//! The importer with our own exporter, and with peers that could spoil it for the others.

use super::{
    FetchLimits, Identity, Importer, ImporterSettings, Metrics, PeerUpdate, SystemRoots,
    token_decision::{TokenDecision, TokenDecisions},
};
use crate::supervision::TaskLabels;
use crate::{
    exporter::{
        Access, Document, DocumentLabel, Limits as ExporterLimits, Published, RequestLabels,
        Transport, server_tests::TestServer,
    },
    lookup::LookUpSettings,
    loopback::{Server, TestCa, TestClock, identity},
    probe::ProbeSettings,
};
use fedgate_core::{Hostname, PeerName, ServicePort, TrustDomain};
use fedgate_federation::{
    bundle::Root,
    document::{
        GatewayAddress, GatewayHost, Limits, PrivateDocument, PublicDocument, PublicService,
        PublicServicePort,
    },
    knowledge::{Exchange, ExchangeReason, PeerKnowledge, Times},
    object::{EndpointTls, MetadataEndpoint, Peer},
};
use fedgate_process::clock::Clock;
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};

/// Longer than anything here takes, shorter than a person would wait.
const DEADLINE: Duration = Duration::from_secs(10);
/// A poll interval longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// The cluster that asks.
struct Scene {
    importer: Importer,
    updates: mpsc::Receiver<PeerUpdate>,
    identity: Identity,
    ca: TestCa,
    clock: TestClock,
    decisions: TokenDecisions,
}

impl Scene {
    fn new(poll: Duration) -> Self {
        Self::with(poll, FetchLimits::default())
    }

    fn with(poll: Duration, limits: FetchLimits) -> Self {
        let (identity, clock) = (identity(), TestClock::going());
        let settings = ImporterSettings {
            poll,
            limits,
            probe: ProbeSettings::default(),
            lookup: LookUpSettings::default(),
            documents: Limits::default(),
            times: Times::default(),
            identity: identity.clone(),
            metrics: Metrics::default(),
            roots: SystemRoots::only([]).unwrap(),
            clock: Arc::new(clock.clone()),
        };
        let (sender, updates) = mpsc::channel(16);
        Self {
            importer: Importer::new(settings, sender),
            updates,
            identity,
            ca: TestCa::new(),
            clock,
            decisions: TokenDecisions::new(),
        }
    }

    fn peer(&self, name: &str, address: SocketAddr) -> Peer {
        Peer {
            name: PeerName::parse(name).unwrap(),
            trust_domain: TrustDomain::parse(&format!("{name}.example")).unwrap(),
            endpoint: MetadataEndpoint::parse(&format!("https://{address}/metadata/")).unwrap(),
            tls: EndpointTls::SystemAnd(vec![self.ca.der()]),
            source: None,
            accepted_document: None,
        }
    }

    /// An exporter that knows us, and that may be sent tokens.
    async fn exporter(&mut self, cluster: &TestCluster) -> TestServer {
        self.judge(cluster, true);
        let tls = Transport::Tls(self.ca.leaf().tls());
        let published = cluster.published(Some(&self.identity));
        TestServer::start(published, ExporterLimits::default(), tls, Arc::new(self.clock.clone()))
            .await
    }

    fn judge(&mut self, cluster: &TestCluster, may_send_token: bool) {
        let decision =
            TokenDecision { cluster_uuid: cluster.identity.cluster_uuid.clone(), may_send_token };
        self.decisions.insert(PeerName::parse(cluster.name).unwrap(), decision);
    }

    fn poll(&mut self, peers: &[Peer]) {
        self.poll_from(peers, &BTreeMap::new());
    }

    fn poll_from(&mut self, peers: &[Peer], known: &BTreeMap<PeerName, PeerKnowledge>) {
        self.importer.poll(peers.iter(), self.decisions.clone(), known);
    }

    async fn next(&mut self) -> PeerUpdate {
        timeout(DEADLINE, self.updates.recv()).await.expect("an update").unwrap()
    }

    /// The first update of `peer` with these reasons.
    async fn until(&mut self, peer: &str, reasons: (ExchangeReason, ExchangeReason)) -> PeerUpdate {
        let wanted = async {
            loop {
                let update = self.next().await;
                if update.peer.as_str() == peer && self::reasons(&update) == reasons {
                    return update;
                }
            }
        };
        timeout(DEADLINE, wanted).await.expect("an update with these reasons")
    }
}

use ExchangeReason::{
    AwaitingPublic, FetchFailed, InvalidJson, InvalidPublicMetadata, NonOkResponse, Succeeded,
    TokenGenerationFailed,
};

fn reasons(update: &PeerUpdate) -> (ExchangeReason, ExchangeReason) {
    let reason = |exchange: &Option<Exchange>| exchange.as_ref().unwrap().reason;
    (reason(&update.knowledge.public_exchange), reason(&update.knowledge.private_exchange))
}

/// A cluster that is asked.
struct TestCluster {
    name: &'static str,
    identity: Identity,
    root: TestCa,
    services: Vec<&'static str>,
}

impl TestCluster {
    fn new(name: &'static str, services: &[&'static str]) -> Self {
        Self { name, identity: identity(), root: TestCa::new(), services: services.to_vec() }
    }

    fn public(&self) -> PublicDocument {
        PublicDocument {
            cluster_uuid: self.identity.cluster_uuid.clone(),
            authn_key: self.identity.key.public(),
            roots: vec![Root::from_der(&self.root.der()).unwrap()],
            extension: None,
        }
    }

    fn private(&self) -> PrivateDocument {
        let port = |number| ServicePort::new(number).unwrap();
        let service = |name: &&str| PublicService {
            hostname: Hostname::parse(&format!("{name}.shop.svc.{}.example", self.name)).unwrap(),
            ports: vec![PublicServicePort { name: "http".into(), port: port(80) }],
        };
        let gateway =
            GatewayAddress { address: GatewayHost::parse("192.0.2.7").unwrap(), port: port(15443) };
        PrivateDocument {
            gateways: vec![gateway],
            services: self.services.iter().map(service).collect(),
            extension: None,
        }
    }

    fn published(&self, reader: Option<&Identity>) -> Published {
        let mut access =
            Access::new(self.identity.cluster_uuid.clone(), self.identity.key.public());
        if let Some(reader) = reader {
            let document = Document::new(self.private().to_json());
            access.allow(reader.cluster_uuid.clone(), reader.key.public(), document);
        }
        Published {
            public: Some(Document::new(self.public().to_json())),
            bundle: None,
            access: Some(access),
        }
    }
}

fn answered(server: &TestServer, document: DocumentLabel, code: u16) -> u64 {
    server.metrics.requests.get_or_create(&RequestLabels { document, code }).get()
}

/// A peer that accepts connections and never says anything. Counts those open now, and the most
/// there were.
async fn silent() -> (Server, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (open.clone(), most.clone());
    let server = Server::tcp(move |mut stream| {
        let (open, most) = (counted.clone(), peak.clone());
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Until the client is gone.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    (server, open, most)
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, so).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn both_documents_are_fetched_and_a_change_is_noticed() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let mut beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    scene.poll(&[scene.peer("beta", server.address)]);

    let first = scene.next().await;
    assert_eq!(reasons(&first), (Succeeded, Succeeded));
    assert!(first.changed && first.knowledge.notices.is_empty());
    assert_eq!(first.knowledge.public.as_ref().unwrap().document, beta.public());
    assert_eq!(first.knowledge.private.as_ref().unwrap().document, beta.private());

    scene.clock.advance(1);
    let second = scene.next().await;
    assert!(!second.changed, "nothing is new");
    assert!(
        second.knowledge.private.as_ref().unwrap().confirmed
            > first.knowledge.private.as_ref().unwrap().confirmed
    );
    assert!(
        answered(&server, DocumentLabel::Public, 304) > 0
            && answered(&server, DocumentLabel::Private, 304) > 0
    );

    beta.services.insert(0, "api");
    server.published.store(Arc::new(beta.published(Some(&scene.identity))));
    let changed = async {
        loop {
            let update = scene.next().await;
            if update.changed {
                return update;
            }
        }
    };
    let changed = timeout(DEADLINE, changed).await.expect("the change");
    assert_eq!(changed.knowledge.private.unwrap().document, beta.private());
    assert_eq!(answered(&server, DocumentLabel::Private, 401), 0, "no token is used twice");
}

/// A clock that panics at the first call.
struct Panicking(TestClock, AtomicUsize);

impl Clock for Panicking {
    fn now(&self) -> Timestamp {
        assert!(self.1.fetch_add(1, Ordering::SeqCst) != 0, "out of cheese");
        self.0.now()
    }
}

#[tokio::test]
async fn a_panicking_peer_task_is_counted_and_restarts_with_its_knowledge() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let peer = scene.peer("beta", server.address);
    scene.poll(std::slice::from_ref(&peer));
    let known = scene.until("beta", (Succeeded, Succeeded)).await.knowledge;
    scene.clock.advance(1);

    let settings = scene.importer.shared.settings.as_ref().clone();
    let panics = settings.metrics.panics.clone();
    let clock = Arc::new(Panicking(scene.clock.clone(), AtomicUsize::new(0)));
    let (sender, updates) = mpsc::channel(16);
    scene.importer = Importer::new(ImporterSettings { clock, ..settings }, sender);
    scene.updates = updates;
    scene.poll_from(
        std::slice::from_ref(&peer),
        &BTreeMap::from([(peer.name.clone(), known.clone())]),
    );
    let update = scene.until("beta", (Succeeded, Succeeded)).await;
    assert_eq!(update.knowledge.private.unwrap().document, known.private.unwrap().document);
    assert_eq!(panics.get_or_create(&TaskLabels { task: "exchange" }).get(), 1);
}

#[tokio::test]
async fn pairing_is_reported_until_the_peer_accepts_the_token() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    server.published.store(Arc::new(beta.published(None)));
    scene.poll(&[scene.peer("beta", server.address)]);
    let update = scene.next().await;
    assert_eq!(reasons(&update), (Succeeded, NonOkResponse));
    let message = &update.knowledge.private_exchange.as_ref().unwrap().message;
    assert!(message.starts_with("401: ") && message.contains("IstioFederation"), "{message}");
    server.published.store(Arc::new(beta.published(Some(&scene.identity))));
    let update = scene.until("beta", (Succeeded, Succeeded)).await;
    assert!(update.changed && update.knowledge.private.is_some());
}

#[tokio::test]
async fn knowledge_is_kept_when_a_peer_fails() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    scene.poll(&[scene.peer("beta", server.address)]);
    let known = scene.until("beta", (Succeeded, Succeeded)).await.knowledge;
    let good = beta.published(Some(&scene.identity));
    let bodies: [(Option<&'static str>, ExchangeReason); 3] = [
        (Some("{"), InvalidJson),
        (Some(r#"{"clusterUUID":"","authnKeyPub":"","rootCA":""}"#), InvalidPublicMetadata),
        (None, NonOkResponse),
    ];
    for (body, reason) in bodies {
        server
            .published
            .store(Arc::new(Published { public: body.map(Document::new), ..good.clone() }));
        let update = scene.until("beta", (reason, Succeeded)).await;
        assert!(update.changed);
        assert_eq!(
            update.knowledge.public.unwrap().document,
            known.public.as_ref().unwrap().document
        );
    }
    // After silence, both documents report the same.
    drop(server);
    let update = scene.until("beta", (FetchFailed, FetchFailed)).await;
    assert_eq!(update.knowledge.private.unwrap().document, known.private.unwrap().document);
}

#[tokio::test]
async fn without_a_public_document_the_private_one_is_not_fetched() {
    let mut scene = Scene::new(NEVER);
    let server = scene.exporter(&TestCluster::new("beta", &[])).await;
    server.published.store(Arc::default());
    scene.poll(&[scene.peer("beta", server.address)]);
    assert_eq!(reasons(&scene.next().await), (NonOkResponse, AwaitingPublic));
    assert_eq!(answered(&server, DocumentLabel::Private, 401), 0);
}

#[tokio::test]
async fn a_restart_continues_from_saved_knowledge() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let peer = scene.peer("beta", server.address);
    scene.poll(std::slice::from_ref(&peer));
    let saved = serde_json::to_vec(&scene.next().await.knowledge).unwrap();
    let saved: PeerKnowledge = serde_json::from_slice(&saved).unwrap();
    scene.poll(&[]);
    scene.clock.advance(1);
    scene.poll_from(
        std::slice::from_ref(&peer),
        &BTreeMap::from([(peer.name.clone(), saved.clone())]),
    );
    let update = scene.next().await;
    assert!(!update.changed && update.knowledge.private.is_some());
    assert_eq!(answered(&server, DocumentLabel::Private, 304), 1);

    // Nothing is known of another trust domain, even if the peer's name is the same.
    let other = Peer { trust_domain: TrustDomain::parse("other.example").unwrap(), ..peer };
    scene.clock.advance(1);
    scene.poll_from(std::slice::from_ref(&other), &BTreeMap::from([(other.name.clone(), saved)]));
    let update = scene.next().await;
    assert_eq!(update.knowledge.trust_domain.as_str(), "other.example");
    assert!(
        update.changed && update.knowledge.private.unwrap().document.services.is_empty(),
        "all names are foreign now"
    );
}

#[tokio::test]
async fn a_slow_peer_delays_no_other() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let (server, (slow, open, _)) = (scene.exporter(&beta).await, silent().await);
    scene.poll(&[scene.peer("aaa", slow.address), scene.peer("beta", server.address)]);
    let update = scene.next().await;
    assert_eq!((update.peer.as_str(), reasons(&update)), ("beta", (Succeeded, Succeeded)));
    eventually("the slow peer is still being asked", || open.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn removing_a_peer_aborts_its_fetch() {
    let mut scene =
        Scene::with(NEVER, FetchLimits { connect: NEVER, fetch: NEVER, ..FetchLimits::default() });
    let (slow, open, _) = silent().await;
    let in_body = Server::tls(&scene.ca.leaf(), |_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{").await;
        let _ = stream.flush().await;
        pending().await
    })
    .await;
    scene.poll(&[scene.peer("slow", slow.address), scene.peer("body", in_body.address)]);
    eventually("it is asked", || open.load(Ordering::SeqCst) == 1).await;
    scene.poll(&[]);
    eventually("its connection is closed", || open.load(Ordering::SeqCst) == 0).await;
    drop(scene.importer);
    assert!(timeout(DEADLINE, scene.updates.recv()).await.expect("all tasks are gone").is_none());
}

#[tokio::test]
async fn a_changed_peer_is_polled_at_once_and_an_unchanged_one_is_not() {
    let mut scene = Scene::new(NEVER);
    let (beta, gamma) = (TestCluster::new("beta", &["web"]), TestCluster::new("gamma", &["web"]));
    let (beta_server, gamma_server) = (scene.exporter(&beta).await, scene.exporter(&gamma).await);
    let good = [scene.peer("beta", beta_server.address), scene.peer("gamma", gamma_server.address)];
    let wrong_ca = EndpointTls::SystemAnd(vec![TestCa::new().der()]);
    let bad = [Peer { tls: wrong_ca, ..good[0].clone() }, good[1].clone()];
    scene.poll(&bad);
    let both = [scene.next().await, scene.next().await];
    let of = |name: &str| both.iter().find(|update| update.peer.as_str() == name).map(reasons);
    assert_eq!(
        (of("beta"), of("gamma")),
        (Some((FetchFailed, FetchFailed)), Some((Succeeded, Succeeded)))
    );
    scene.poll(&good);
    let update = scene.next().await;
    assert_eq!((update.peer.as_str(), reasons(&update)), ("beta", (Succeeded, Succeeded)));
    assert_eq!(answered(&gamma_server, DocumentLabel::Public, 200), 1);
}

#[tokio::test]
async fn concurrent_rounds_are_limited_and_all_peers_get_their_turn() {
    let limits =
        FetchLimits { at_once: 2, connect: Duration::from_millis(100), ..FetchLimits::default() };
    let mut scene = Scene::with(NEVER, limits);
    let (slow, _, most) = silent().await;
    let names: Vec<_> = (0..7).map(|n| format!("slow-{n}")).collect();
    let peers: Vec<_> = names.iter().map(|name| scene.peer(name, slow.address)).collect();
    scene.poll(&peers);
    let mut failed = std::collections::BTreeSet::new();
    while failed.len() < peers.len() {
        let update = scene.next().await;
        assert_eq!(reasons(&update), (FetchFailed, FetchFailed));
        failed.insert(update.peer);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn no_token_is_sent_before_the_claimed_uuid_is_checked() {
    let mut scene = Scene::new(NEVER);
    let beta = TestCluster::new("beta", &["web"]);
    let server = scene.exporter(&beta).await;
    let peers = [scene.peer("beta", server.address)];
    scene.decisions.clear();
    scene.poll(&peers);
    assert_eq!(reasons(&scene.next().await), (Succeeded, AwaitingPublic));
    // A decision about another UUID does not count, and a refusal is no reason to ask.
    scene.judge(&TestCluster { name: "beta", ..TestCluster::new("gamma", &[]) }, true);
    scene.poll(&peers);
    scene.judge(&beta, false);
    scene.poll(&peers);
    let asked = |code| answered(&server, DocumentLabel::Private, code);
    let update = scene.next().await;
    assert_eq!(
        (reasons(&update), asked(200), asked(401)),
        ((Succeeded, TokenGenerationFailed), 0, 0)
    );
    scene.judge(&beta, true);
    scene.poll(&peers);
    assert_eq!(reasons(&scene.next().await), (Succeeded, Succeeded));
    assert_eq!((asked(200), asked(401)), (1, 0));
}

#[tokio::test]
async fn no_token_is_sent_for_a_changed_uuid_before_it_is_checked() {
    let mut scene = Scene::new(Duration::from_millis(20));
    let mut gamma = TestCluster::new("gamma", &["web"]);
    let server = scene.exporter(&gamma).await;
    scene.poll(&[scene.peer("gamma", server.address)]);
    scene.until("gamma", (Succeeded, Succeeded)).await;
    let own = gamma.identity.cluster_uuid.clone();
    gamma.identity.cluster_uuid = identity().cluster_uuid;
    server.published.store(Arc::new(gamma.published(Some(&scene.identity))));
    let update = scene.until("gamma", (Succeeded, AwaitingPublic)).await;
    assert_ne!(update.knowledge.cluster_uuid(), Some(&own));
    assert!(update.knowledge.notices.iter().any(|notice| notice.reason.word() == "uuid_changed"));
}
