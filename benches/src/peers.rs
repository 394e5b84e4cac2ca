//! A cluster with many peers, and what it knows of them: the inputs of `federate`.

use fedgate_core::{Hostname, PeerName, ServicePort, TrustDomain};
use fedgate_federation::bundle::Root;
use fedgate_federation::credentials::Credentials;
use fedgate_federation::document::{
    ClusterUuid, GatewayAddress, GatewayHost, Network, PrivateDocument, PrivateExtension,
    PublicDocument, PublicExtension, PublicService, PublicServicePort, View,
};
use fedgate_federation::federate::{Memory, Passthrough, Published};
use fedgate_federation::key::SigningKey;
use fedgate_federation::knowledge::{Known, PeerKnowledge, Times};
use fedgate_federation::object::{
    IstioFederationSpec, Named, Objects, PUBLIC_SERVICE_LABEL, Peer, ServiceObject, ServicePortSpec,
};
use fedgate_federation::own::OwnAddresses;
use fedgate_federation::{Federation, Inputs, LocalCluster, federate_again};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The cluster `alpha`, its peers, and what they have announced.
pub struct ManyPeers {
    local: LocalCluster,
    objects: Objects,
    knowledge: BTreeMap<PeerName, PeerKnowledge>,
    previous: Published,
    now: Timestamp,
    memory: Memory,
    changes: usize,
}

impl ManyPeers {
    /// `peers` peers that offer `services` services each. Alpha exports `exports` services to all
    /// of them.
    pub fn new(peers: usize, services: usize, exports: usize) -> Self {
        let root = root();
        let federations: Vec<_> = (0..peers).map(|number| object(number, &root)).collect();
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        let knowledge = federations.iter().enumerate().map(|(number, object)| {
            let peer = Peer::parse(object).unwrap().0;
            let knowledge = knowledge(number, &peer, services, &root, now);
            (peer.name, knowledge)
        });
        Self {
            knowledge: knowledge.collect(),
            local: local(root),
            objects: Objects {
                federations,
                services: (0..exports).map(exported).collect(),
                ..Objects::default()
            },
            previous: Published::default(),
            now,
            memory: Memory::default(),
            changes: 0,
        }
    }

    /// Forgets what the last compilation left, so that the next one repeats everything.
    pub fn forget(&mut self) {
        self.memory = Memory::default();
    }

    /// Compiles what has changed, as the controller does.
    pub fn federate(&mut self) -> Federation {
        let inputs = Inputs {
            local: &self.local,
            objects: &self.objects,
            knowledge: &self.knowledge,
            previous: &self.previous,
            times: Times::default(),
            now: self.now,
        };
        let federation = federate_again(&inputs, &mut self.memory);
        self.previous = federation.published.clone();
        federation
    }

    /// The first peer announces another service in place of one that it had.
    pub fn change_one_service(&mut self) {
        self.changes += 1;
        let Some(known) =
            self.knowledge.values_mut().next().and_then(|known| known.private.as_mut())
        else {
            return;
        };
        let mut services = known.document.services.to_vec();
        let index = self.changes % services.len();
        let trust_domain = services[index].hostname.as_str().split_once(".svc.").unwrap().1;
        services[index] = service(&format!("changed-{}", self.changes), trust_domain);
        services.sort();
        known.document.services = services.into();
    }
}

fn root() -> Root {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate().unwrap();
    Root::from_der(parameters.self_signed(&key).unwrap().der()).unwrap()
}

fn local(root: Root) -> LocalCluster {
    LocalCluster {
        trust_domain: TrustDomain::parse("alpha.example").unwrap(),
        cluster_uuid: uuid(usize::MAX >> 32),
        authn_key: key(0),
        other_key: None,
        roots: vec![root],
        credentials: Credentials::default(),
        network: Network::default(),
        gateways: vec![gateway("192.0.2.1")],
        reach: fedgate_federation::federate::Reach::default(),
        gateway_identities: Vec::new(),
        health_name: true,
        passthrough: Passthrough::default(),
        own_addresses: OwnAddresses::default(),
        federated_suffix: Default::default(),
    }
}

fn object(number: usize, root: &Root) -> Named<IstioFederationSpec> {
    let mut spec = IstioFederationSpec {
        trust_domain: trust_domain(number),
        metadata_endpoint: format!("https://metadata.{}/metadata", trust_domain(number)),
        ..IstioFederationSpec::default()
    };
    spec.metadata.ca = Some(root.to_pem());
    Named::new(format!("peer-{number:04}"), spec)
}

fn knowledge(
    number: usize,
    peer: &Peer,
    services: usize,
    root: &Root,
    now: Timestamp,
) -> PeerKnowledge {
    let public = PublicDocument {
        cluster_uuid: uuid(number),
        authn_key: key(number),
        roots: vec![root.clone()],
        extension: Some(PublicExtension {
            trust_domain: peer.trust_domain.clone(),
            other_key: None,
        }),
    };
    let domain = peer.trust_domain.as_str();
    let mut offered: Vec<_> =
        (0..services).map(|number| service(&format!("orders-{number}"), domain)).collect();
    offered.sort();
    let extension = PrivateExtension {
        sequence: 1,
        service_count: offered.len() as u64,
        network: Network::default(),
        gateway_identities: Vec::new(),
        gateway_localities: Vec::new(),
        passthrough_hosts: Vec::new(),
        applied_roots: None,
        applied_keys: None,
        public_tag: None,
        stale_after_seconds: None,
        view: Some(View {
            sequence: Some(u64::MAX),
            gateways: vec![gateway("192.0.2.1")],
            clock_ahead: Some(0),
            ..View::default()
        }),
    };
    let private = PrivateDocument {
        gateways: vec![gateway("192.0.2.2"), gateway("192.0.2.3")],
        services: offered.into(),
        extension: Some(extension),
    };
    let mut knowledge = PeerKnowledge::new(peer);
    knowledge.public = Some(known(public, now));
    knowledge.private = Some(known(private, now));
    knowledge.uuid_since = Some(now);
    knowledge
}

fn known<T>(document: T, now: Timestamp) -> Known<T> {
    Known { document, fetched: now, confirmed: now, etag: None, findings: Vec::new() }
}

fn service(name: &str, trust_domain: &str) -> PublicService {
    let host = format!("{name}.checkout-team-17.svc.{trust_domain}");
    let port = PublicServicePort { name: "http".to_owned(), port: port(80) };
    PublicService { hostname: Hostname::parse(&host).unwrap(), ports: vec![port] }
}

fn exported(number: usize) -> ServiceObject {
    let port = ServicePortSpec { name: Some("http".to_owned()), port: 80, ..Default::default() };
    ServiceObject {
        namespace: "shop".to_owned(),
        name: format!("web-{number}"),
        labels: BTreeMap::from([(PUBLIC_SERVICE_LABEL.to_owned(), String::new())]),
        ports: vec![port],
        ..ServiceObject::default()
    }
}

fn trust_domain(number: usize) -> String {
    format!("cluster-{number:04}.example")
}

fn uuid(number: usize) -> ClusterUuid {
    ClusterUuid::parse(&format!("{number:08x}-aaaa-4aaa-8aaa-111111111111")).unwrap()
}

fn key(number: usize) -> fedgate_federation::key::PublicKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_seed(&seed).unwrap().public()
}

fn gateway(address: &str) -> GatewayAddress {
    GatewayAddress { address: GatewayHost::parse(address).unwrap(), port: port(15_443) }
}

fn port(number: u16) -> ServicePort {
    ServicePort::new(number).unwrap()
}
