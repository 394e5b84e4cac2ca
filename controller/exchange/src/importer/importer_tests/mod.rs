//! The importer with our own exporter, and with peers that could spoil it for the others.

mod client_certificates;
mod peers;
mod proxy;
mod rounds;
mod waiting;

use super::{
    FetchLimits, Identity, Importer, ImporterSettings, Metrics, PeerUpdate, SystemRoots,
    client_certificate::ClientCertificates,
    token_decision::{TokenDecision, TokenDecisions},
};
use crate::supervision::TaskLabels;
use crate::{
    exporter::{
        Access, Document, DocumentLabel, Limits as ExporterLimits, Published, RequestLabels,
        Transport, server_tests::TestServer,
    },
    keyring::Keyring,
    lookup::LookUpSettings,
    loopback::{OneKey, Server, TestCa, TestClock, identity},
    probe::ProbeSettings,
    proxy::Proxies,
};
use fedgate_core::{Hostname, PeerName, ServicePort, TrustDomain};
use fedgate_federation::{
    bundle::Root,
    document::{
        GatewayAddress, GatewayHost, Limits, PrivateDocument, PublicDocument, PublicService,
        PublicServicePort,
    },
    knowledge::{Exchange, ExchangeReason, PeerKnowledge, Times},
    object::{EndpointTls, MetadataEndpoint, Peer, TrustPolicy},
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
const DEADLINE: Duration = Duration::from_secs(30);
/// A poll interval longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// The cluster that asks.
struct Scene {
    importer: Importer,
    updates: mpsc::Receiver<PeerUpdate>,
    identity: OneKey,
    keyring: Keyring,
    ca: TestCa,
    clock: TestClock,
    decisions: TokenDecisions,
    metrics: Metrics,
}

impl Scene {
    fn new(poll: Duration) -> Self {
        Self::with(poll, FetchLimits::default())
    }

    fn with(poll: Duration, limits: FetchLimits) -> Self {
        let (identity, clock) = (identity(), TestClock::going());
        let metrics = Metrics::default();
        let keyring = Keyring::new(identity.key.clone());
        let own =
            Identity { cluster_uuid: identity.cluster_uuid.clone(), keyring: keyring.clone() };
        let settings = ImporterSettings {
            poll,
            limits,
            probe: ProbeSettings::default(),
            lookup: LookUpSettings::default(),
            documents: Limits::default(),
            times: Times::default(),
            identity: own,
            metrics: metrics.clone(),
            proxies: Proxies::none(),
            client_certificates: ClientCertificates::default(),
            roots: SystemRoots::only([]).unwrap(),
            clock: Arc::new(clock.clone()),
            traced: false,
        };
        let (sender, updates) = mpsc::channel(16);
        Self {
            importer: Importer::new(settings, sender),
            updates,
            identity,
            keyring,
            ca: TestCa::new(),
            clock,
            decisions: TokenDecisions::new(),
            metrics,
        }
    }

    /// Starts the importer again, with other settings.
    fn start_again(&mut self, change: impl FnOnce(&mut ImporterSettings)) {
        let mut settings = self.importer.shared.settings.as_ref().clone();
        change(&mut settings);
        let (sender, updates) = mpsc::channel(16);
        (self.importer, self.updates) = (Importer::new(settings, sender), updates);
    }

    fn peer(&self, name: &str, address: SocketAddr) -> Peer {
        Peer {
            name: PeerName::parse(name).unwrap(),
            trust_domain: TrustDomain::parse(&format!("{name}.example")).unwrap(),
            endpoint: MetadataEndpoint::parse(&format!("https://{address}/metadata/")).unwrap(),
            tls: EndpointTls::SystemAnd(vec![self.ca.der()]),
            source: None,
            accepted_document: None,
            trust: TrustPolicy::default(),
            at_expiry: None,
            advertise: None,
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

    /// Moves both clocks while nothing happens but a pause.
    async fn pass(&self, time: Duration) {
        self.clock.advance(i64::try_from(time.as_secs()).unwrap());
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
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
    AwaitingPublic, FetchFailed, InvalidJson, InvalidPrivateMetadata, InvalidPublicMetadata,
    NonOkResponse, Succeeded, TokenGenerationFailed,
};

fn reasons(update: &PeerUpdate) -> (ExchangeReason, ExchangeReason) {
    let reason = |exchange: &Option<Exchange>| exchange.as_ref().unwrap().reason;
    (reason(&update.knowledge.public_exchange), reason(&update.knowledge.private_exchange))
}

/// A cluster that is asked.
struct TestCluster {
    name: &'static str,
    identity: OneKey,
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

    fn published(&self, reader: Option<&OneKey>) -> Published {
        self.publishing(reader, &self.private())
    }

    fn publishing(&self, reader: Option<&OneKey>, private: &PrivateDocument) -> Published {
        let mut access =
            Access::new(self.identity.cluster_uuid.clone(), self.identity.key.public());
        if let Some(reader) = reader {
            let document = Document::new(private.to_json());
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
