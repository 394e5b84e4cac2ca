//! Whole clusters on loopback, each with its exporter and importer and with `federate` between
//! them.

use super::{
    FetchLimits, Importer, ImporterSettings, Metrics, PeerUpdate, ProbeLabels, SystemRoots,
    client_certificate::ClientCertificates,
};
use crate::{
    exporter::{
        Access, Document, Limits as ExporterLimits, Published, Transport, server_tests::TestServer,
    },
    lookup::LookUpSettings,
    loopback::{OneKey, Server, TestCa, TestClock, identity},
    probe::{ProbeSettings, probe_tests::gateway},
    proxy::Proxies,
};
use fedgate_core::{PeerName, ServicePort, TrustDomain};
use fedgate_federation::{
    Federation, FindingReason, Inputs, LocalCluster, Severity,
    bundle::Root,
    credentials::Credentials,
    document::{GatewayAddress, GatewayHost, Limits, Network, PublicDocument},
    federate,
    federate::{Condition, ConditionStatus, ConditionType, FarSide, Published as Versions},
    knowledge::{DataplaneReason, ExchangeReason, PeerKnowledge, Times},
    object::{
        IstioFederationSpec, MetadataSpec, Named, Objects, PUBLIC_SERVICE_LABEL, ServiceObject,
        ServicePortSpec,
    },
};
use fedgate_process::clock::Clock;
use rustls::version::TLS13;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};

const DEADLINE: Duration = Duration::from_secs(30);

/// A cluster that exports `web` to its peers.
struct Cluster {
    local: LocalCluster,
    objects: Objects,
    knowledge: BTreeMap<PeerName, PeerKnowledge>,
    versions: Versions,
    clock: TestClock,
    importer: Importer,
    metrics: Metrics,
    updates: mpsc::Receiver<PeerUpdate>,
    exporter: TestServer,
    ca: TestCa,
    /// The CA of its gateway's certificate.
    root: TestCa,
}

impl Cluster {
    async fn new(name: &str, clock: &TestClock) -> Self {
        let (identity, ca, root) = (identity(), TestCa::new(), TestCa::new());
        let tls = Transport::Tls(ca.leaf().tls());
        let exporter = TestServer::start(
            Published::default(),
            ExporterLimits::default(),
            tls,
            Arc::new(clock.clone()),
        )
        .await;
        exporter.keyring.use_keys(identity.key.clone());
        let (sender, updates) = mpsc::channel(16);
        let metrics = Metrics::default();
        let gateway = GatewayHost::parse(&format!("192.0.2.{}", name.as_bytes()[0])).unwrap();
        Self {
            local: LocalCluster {
                trust_domain: TrustDomain::parse(&format!("{name}.example")).unwrap(),
                cluster_uuid: identity.cluster_uuid.clone(),
                authn_key: identity.key.public(),
                other_key: None,
                roots: vec![Root::from_der(&root.der()).unwrap()],
                credentials: Credentials::default(),
                network: Network::default(),
                gateways: vec![GatewayAddress {
                    address: gateway,
                    port: ServicePort::new(15443).unwrap(),
                }],
                reach: fedgate_federation::federate::Reach::default(),
                gateway_identities: Vec::new(),
                health_name: false,
                passthrough: fedgate_federation::federate::Passthrough::default(),
                own_addresses: fedgate_federation::own::OwnAddresses::default(),
                federated_suffix: Default::default(),
            },
            objects: Objects { services: vec![web()], ..Objects::default() },
            knowledge: BTreeMap::new(),
            versions: Versions::default(),
            clock: clock.clone(),
            importer: Importer::new(settings(identity, clock, &metrics), sender),
            metrics,
            updates,
            exporter,
            ca,
            root,
        }
    }

    fn federate_with(&mut self, name: &str, address: SocketAddr, ca: &TestCa) {
        let pem = pem_of(ca);
        let spec = IstioFederationSpec {
            trust_domain: format!("{name}.example"),
            metadata_endpoint: format!("https://{address}/metadata"),
            metadata: MetadataSpec { ca: Some(pem), insecure_skip_verify: false },
        };
        self.objects.federations.push(Named::new(name, spec));
    }

    /// What a controller does on each change.
    fn compile(&mut self) -> Federation {
        let federation = federate(&Inputs {
            local: &self.local,
            objects: &self.objects,
            knowledge: &self.knowledge,
            previous: &self.versions,
            times: Times::default(),
            now: self.clock.now(),
        });
        self.versions = federation.published.clone();
        self.exporter.published.send_replace(Arc::new(Published::of(&federation)));
        self.importer.follow(&federation, &self.knowledge);
        federation
    }

    /// Takes in the importer's next update. Returns true if it is news.
    async fn learn(&mut self) -> bool {
        let update = self.updates.recv().await.unwrap();
        self.knowledge.insert(update.peer, update.knowledge);
        update.changed
    }

    /// Continues until `is_so` returns true.
    async fn until(
        &mut self,
        is_so: impl Fn(&Federation, &BTreeMap<PeerName, PeerKnowledge>) -> bool,
    ) {
        let so = async {
            loop {
                let federation = self.compile();
                if is_so(&federation, &self.knowledge) {
                    return;
                }
                self.learn().await;
            }
        };
        timeout(DEADLINE, so).await.expect("it comes to that");
    }
}

fn settings(identity: OneKey, clock: &TestClock, metrics: &Metrics) -> ImporterSettings {
    ImporterSettings {
        poll: Duration::from_millis(50),
        limits: FetchLimits::default(),
        probe: ProbeSettings { interval: Duration::from_millis(50), ..ProbeSettings::default() },
        lookup: LookUpSettings::default(),
        documents: Limits::default(),
        times: Times::default(),
        identity: identity.into(),
        metrics: metrics.clone(),
        proxies: Proxies::none(),
        client_certificates: ClientCertificates::default(),
        roots: SystemRoots::only([]).unwrap(),
        clock: Arc::new(clock.clone()),
        traced: false,
    }
}

fn web() -> ServiceObject {
    ServiceObject {
        namespace: "shop".into(),
        name: "web".into(),
        labels: BTreeMap::from([(PUBLIC_SERVICE_LABEL.into(), String::new())]),
        ports: vec![ServicePortSpec {
            name: Some("http".into()),
            port: 80,
            ..ServicePortSpec::default()
        }],
        ..ServiceObject::default()
    }
}

fn pem_of(ca: &TestCa) -> String {
    Root::from_der(&ca.der()).unwrap().to_pem()
}

fn private_reason(known: &BTreeMap<PeerName, PeerKnowledge>, peer: &str) -> Option<ExchangeReason> {
    let name = PeerName::parse(peer).unwrap();
    known
        .get(&name)
        .and_then(|known| known.private_exchange.as_ref())
        .map(|exchange| exchange.reason)
}

fn imports(federation: &Federation, peer: &str) -> usize {
    federation
        .peers
        .iter()
        .find(|report| report.peer.name.as_str() == peer)
        .map_or(0, |report| report.imports)
}

async fn pair() -> (Cluster, Cluster) {
    let clock = TestClock::going();
    let (mut alpha, mut beta) =
        (Cluster::new("alpha", &clock).await, Cluster::new("beta", &clock).await);
    alpha.federate_with("beta", beta.exporter.address, &beta.ca);
    beta.federate_with("alpha", alpha.exporter.address, &alpha.ca);
    tokio::join!(
        alpha.until(|federation, _| imports(federation, "beta") == 1),
        beta.until(|federation, _| imports(federation, "alpha") == 1)
    );
    (alpha, beta)
}

#[tokio::test]
async fn two_clusters_pair() {
    let (mut alpha, mut beta) = pair().await;
    // A change in beta reaches alpha, and a removed peer is a stranger again.
    beta.objects.services.push(ServiceObject { name: "api".into(), ..web() });
    beta.compile();
    alpha.until(|federation, _| imports(federation, "beta") == 2).await;
    beta.objects.federations.clear();
    beta.compile();
    alpha
        .until(|_, known| private_reason(known, "beta") == Some(ExchangeReason::NonOkResponse))
        .await;
    assert_eq!(imports(&alpha.compile(), "beta"), 2, "what is known is not given up for a 401");
}

#[tokio::test]
async fn documents_and_confirmations_are_signed_and_nothing_less_is_taken_afterwards() {
    let (mut alpha, mut beta) = pair().await;
    let [alpha_name, beta_name] = ["alpha", "beta"].map(|name| PeerName::parse(name).unwrap());
    // By "not modified", or by a document that says the same.
    let is_confirmed = |known: &PeerKnowledge| {
        let signed = known
            .signed
            .as_ref()
            .is_some_and(|signed| signed.public.is_some() && signed.private.is_some());
        let public = known.public.as_ref();
        signed && public.is_some_and(|public| public.confirmed > public.fetched)
    };
    alpha.until(|_, known| known.get(&beta_name).is_some_and(is_confirmed)).await;
    let federation = alpha.compile();
    assert!(federation.findings.iter().all(|finding| finding.severity != Severity::Error));

    // Whoever answers for beta now has the documents, and not the key.
    let signed = beta.exporter.published.borrow().clone();
    let mut document = (*beta.compile().private_documents[&alpha_name]).clone();
    document.extension.as_mut().unwrap().sequence += 1;
    let mut access = Access::new(beta.local.cluster_uuid.clone(), beta.local.authn_key);
    let (uuid, key) = (alpha.local.cluster_uuid.clone(), alpha.local.authn_key);
    access.allow(uuid, key, Document::new(document.to_json()));
    let unsigned = Published { access: Some(access), ..(*signed).clone() };
    beta.exporter.published.send_replace(Arc::new(unsigned));
    let refused = Some(ExchangeReason::InvalidPrivateMetadata);
    alpha.until(|_, known| private_reason(known, "beta") == refused).await;
    let federation = alpha.compile();
    let unsigned = FindingReason::UnsignedDocument;
    assert!(federation.findings.iter().any(|finding| finding.reason == unsigned));
    assert_eq!(imports(&federation, "beta"), 1, "what is known stays");
    beta.exporter.published.send_replace(signed);
    let succeeded = Some(ExchangeReason::Succeeded);
    alpha.until(|_, known| private_reason(known, "beta") == succeeded).await;
}

fn condition(federation: &Federation, peer: &str, kind: ConditionType) -> Option<Condition> {
    let report = federation.peer(&PeerName::parse(peer).unwrap())?;
    report.conditions.iter().find(|condition| condition.kind == kind).cloned()
}

fn roots_acknowledged(federation: &Federation, peer: &str) -> Option<ConditionStatus> {
    condition(federation, peer, ConditionType::RootsAcknowledged).map(|condition| condition.status)
}

fn dataplane(federation: &Federation, peer: &str) -> Option<ConditionStatus> {
    condition(federation, peer, ConditionType::DataplaneConnectionReady)
        .map(|condition| condition.status)
}

fn far_side(federation: &Federation, peer: &str) -> Option<FarSide> {
    federation.peer(&PeerName::parse(peer).unwrap())?.far_side.clone()
}

/// Makes a gateway for a cluster. Its certificate comes from `ca`, or from the cluster's own root
/// without one.
async fn put_gateway(cluster: &mut Cluster, ca: Option<&TestCa>) -> Server {
    let identity = format!("spiffe://{}/ns/istio/sa/gateway", cluster.local.trust_domain);
    let leaf = ca.unwrap_or(&cluster.root).leaf_of(&[&identity]);
    let server = gateway(&leaf, &[&TLS13]).await;
    let address = GatewayHost::Ip(server.address.ip());
    cluster.local.gateways =
        vec![GatewayAddress { address, port: ServicePort::new(server.address.port()).unwrap() }];
    server
}

#[tokio::test]
async fn a_peers_gateway_is_probed_and_an_equal_outcome_is_no_change() {
    let clock = TestClock::going();
    let (mut alpha, mut beta) =
        (Cluster::new("alpha", &clock).await, Cluster::new("beta", &clock).await);
    alpha.federate_with("beta", beta.exporter.address, &beta.ca);
    beta.federate_with("alpha", alpha.exporter.address, &alpha.ca);
    let _good = [put_gateway(&mut alpha, None).await, put_gateway(&mut beta, None).await];
    let sees = |federation: &Federation, peer: &str| {
        let conditions = [dataplane(federation, peer), roots_acknowledged(federation, peer)];
        conditions == [Some(ConditionStatus::True); 2]
    };
    tokio::join!(
        // All of it, so that beta has no news left.
        alpha.until(|federation, _| {
            let side = far_side(federation, "beta").filter(|side| side.mismatches.is_empty());
            let probe = side.and_then(|side| side.view.probe);
            sees(federation, "beta")
                && probe.is_some_and(|probe| probe.reason == DataplaneReason::Succeeded)
        }),
        beta.until(|federation, _| sees(federation, "alpha"))
    );
    let probes = |cluster: &Cluster| {
        let reason = DataplaneReason::Succeeded.word();
        cluster.metrics.probes.get_or_create(&ProbeLabels { reason }).get()
    };
    let (before, mut news) = (probes(&alpha), 0);
    while probes(&alpha) < before + 3 {
        news += u32::from(alpha.learn().await);
    }
    assert_eq!(news, 0);

    // A gateway that someone else runs, at an address that beta announces.
    let _bad = put_gateway(&mut beta, Some(&TestCa::new())).await;
    beta.compile();
    alpha
        .until(|federation, _| dataplane(federation, "beta") == Some(ConditionStatus::False))
        .await;
    let federation = alpha.compile();
    let message =
        condition(&federation, "beta", ConditionType::DataplaneConnectionReady).unwrap().message;
    assert!(message.contains("signed by no root of the peer"), "{message}");
    assert_eq!(imports(&federation, "beta"), 1, "imports stay");
}

#[tokio::test]
async fn a_new_root_is_acknowledged_once_the_peer_has_it_in_force() {
    let (mut alpha, mut beta) = pair().await;
    beta.until(|federation, _| {
        roots_acknowledged(federation, "alpha") == Some(ConditionStatus::True)
    })
    .await;
    beta.local.roots.push(Root::from_der(&TestCa::new().der()).unwrap());
    assert_eq!(
        roots_acknowledged(&beta.compile(), "alpha"),
        Some(ConditionStatus::False),
        "alpha has not heard of it"
    );
    let domain = beta.local.trust_domain.clone();
    alpha.until(|federation, _| federation.bundles[&domain].roots.len() == 2).await;
    beta.until(|federation, _| {
        roots_acknowledged(federation, "alpha") == Some(ConditionStatus::True)
    })
    .await;
}

#[tokio::test]
async fn a_peer_with_another_peers_uuid_gets_no_token() {
    let (mut alpha, beta) = pair().await;
    let ca = TestCa::new();
    let lie = PublicDocument {
        cluster_uuid: beta.local.cluster_uuid.clone(),
        authn_key: identity().key.public(),
        roots: vec![Root::from_der(&ca.der()).unwrap()],
        extension: None,
    };
    let (lie, heads) = (lie.to_json(), Arc::new(Mutex::new(Vec::new())));
    let received = heads.clone();
    let gamma = Server::tls(&ca.leaf(), move |head, mut stream| {
        received.lock().unwrap().push(head);
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            lie.len()
        );
        let response = [head.into_bytes(), lie.clone()].concat();
        async move {
            let _ = stream.write_all(&response).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    alpha.federate_with("gamma", gamma.address, &ca);
    alpha
        .until(|_, known| {
            private_reason(known, "gamma") == Some(ExchangeReason::TokenGenerationFailed)
        })
        .await;
    let heads = heads.lock().unwrap();
    assert!(
        !heads.is_empty()
            && heads.iter().all(|head| !head.to_lowercase().contains("authorization")),
        "{heads:?}"
    );
    assert_eq!(imports(&alpha.compile(), "beta"), 1, "beta keeps what it has");
}

#[tokio::test]
async fn a_token_refused_for_clock_difference_is_explained() {
    let (fast, clock) = (TestClock::going(), TestClock::going());
    fast.advance(100);
    let (mut alpha, mut beta) =
        (Cluster::new("alpha", &fast).await, Cluster::new("beta", &clock).await);
    alpha.federate_with("beta", beta.exporter.address, &beta.ca);
    beta.federate_with("alpha", alpha.exporter.address, &alpha.ca);
    let skew = |federation: &Federation| {
        let findings =
            federation.findings.iter().filter(|finding| finding.reason == FindingReason::ClockSkew);
        findings.map(|finding| finding.message.clone()).next()
    };
    tokio::join!(
        alpha.until(|federation, known| {
            skew(federation).is_some()
                && private_reason(known, "beta") == Some(ExchangeReason::NonOkResponse)
        }),
        beta.until(|federation, _| federation.members.len() == 1)
    );
    let message = skew(&alpha.compile()).unwrap();
    assert!(message.contains(" s behind ours"), "{message}");
    assert_eq!(
        skew(&beta.compile()),
        None,
        "what alpha's endpoint says is the machine's time, which beta's clock agrees with"
    );
}

#[tokio::test]
async fn a_cluster_without_roots_publishes_no_invalid_document() {
    let mut alpha = Cluster::new("alpha", &TestClock::going()).await;
    assert!(Published::of(&alpha.compile()).public.is_some());
    alpha.local.roots.clear();
    let published = Published::of(&alpha.compile());
    assert!(published.public.is_none() && published.bundle.is_none());
}
