//! A small federation for tests: `alpha` is us, `beta` and `gamma` are peers. Keys and roots are
//! made at run time.

use fedgate_core::ServicePort;
use fedgate_core::{PeerName, TrustDomain};
use fedgate_federation::bundle::Root;
use fedgate_federation::credentials::Credentials;
use fedgate_federation::document::{
    ClusterUuid, GatewayAddress, GatewayHost, Limits, Network, PrivateDocument, PrivateExtension,
    PublicDocument, PublicExtension, PublicService, PublicServicePort,
};
use fedgate_federation::federate::{Condition, ConditionType, Passthrough, Published, Reach};
use fedgate_federation::key::SigningKey;
use fedgate_federation::knowledge::{Absorbed, AtExpiry, PeerKnowledge, Times};
use fedgate_federation::object::{
    IstioFederationSpec, Named, Objects, PUBLIC_SERVICE_LABEL, Peer, ServiceObject,
    ServicePortSpec, TransportProtocol,
};
use fedgate_federation::own::OwnAddresses;
use fedgate_federation::{
    Federation, Finding, FindingReason, Inputs, LocalCluster, ObjectRef, federate,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// 2026-01-01T00:00:00Z plus some seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

pub(crate) const TIMES: Times = Times {
    stale_after: Duration::from_secs(300),
    staleness_limit: Duration::from_secs(3600),
    at_expiry: AtExpiry::Drain,
    hint: None,
};

pub(crate) fn uuid(digit: char) -> ClusterUuid {
    let run = |count| digit.to_string().repeat(count);
    ClusterUuid::parse(&format!("{}-aaaa-4aaa-8aaa-{}", run(8), run(12))).unwrap()
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn name(text: &str) -> PeerName {
    PeerName::parse(text).unwrap()
}

pub(crate) fn domain(text: &str) -> TrustDomain {
    TrustDomain::parse(text).unwrap()
}

/// A CA certificate that is valid from 2020 until the given year.
pub(crate) fn root_until(year: i32) -> Root {
    let key = rcgen::KeyPair::generate().unwrap();
    Root::from_der(ca_parameters(year).self_signed(&key).unwrap().der()).unwrap()
}

pub(crate) fn root() -> Root {
    root_until(2100)
}

pub(crate) fn ca_parameters(year: i32) -> rcgen::CertificateParams {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
    parameters
}

pub(crate) fn gateway(address: &str) -> GatewayAddress {
    GatewayAddress {
        address: GatewayHost::parse(address).unwrap(),
        port: ServicePort::new(15443).unwrap(),
    }
}

pub(crate) fn port(name: &str, port: u16) -> ServicePortSpec {
    ServicePortSpec {
        name: Some(name.to_owned()),
        port,
        protocol: TransportProtocol::Tcp,
        ready: None,
    }
}

/// A trust domain with this many bytes.
pub(crate) fn long_domain(length: usize) -> fedgate_core::TrustDomain {
    let labels = "a".repeat(63) + ".";
    let text: String = labels.chars().cycle().take(length - 1).chain(['b']).collect();
    text.parse().unwrap()
}

pub(crate) fn service(name: &str, ports: Vec<ServicePortSpec>) -> ServiceObject {
    ServiceObject {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::from([(PUBLIC_SERVICE_LABEL.to_owned(), String::new())]),
        ports,
        ..ServiceObject::default()
    }
}

pub(crate) fn federation_object(name: &str, trust_domain: &str) -> Named<IstioFederationSpec> {
    let spec = IstioFederationSpec {
        trust_domain: trust_domain.to_owned(),
        metadata_endpoint: format!("https://metadata.{name}.test/metadata/"),
        ..IstioFederationSpec::default()
    };
    Named::new(name, spec)
}

pub(crate) fn peer(name: &str, trust_domain: &str) -> Peer {
    Peer::parse(&federation_object(name, trust_domain)).unwrap().0
}

/// The public document of a fedgate cluster.
pub(crate) fn public(
    digit: char,
    seed: u8,
    trust_domain: &str,
    roots: Vec<Root>,
) -> PublicDocument {
    PublicDocument {
        cluster_uuid: uuid(digit),
        authn_key: key(seed).public(),
        roots,
        extension: Some(PublicExtension { trust_domain: domain(trust_domain), other_key: None }),
    }
}

pub(crate) fn offered(host: &str, ports: &[(&str, u16)]) -> PublicService {
    let port = |(name, port): &(&str, u16)| PublicServicePort {
        name: (*name).to_owned(),
        port: ServicePort::new(*port).unwrap(),
    };
    PublicService {
        hostname: fedgate_core::Hostname::parse(host).unwrap(),
        ports: ports.iter().map(port).collect(),
    }
}

/// The private document of a fedgate cluster.
pub(crate) fn private(
    sequence: u64,
    gateways: &[&str],
    services: Vec<PublicService>,
) -> PrivateDocument {
    let extension = PrivateExtension {
        sequence,
        service_count: services.len() as u64,
        network: Network::default(),
        gateway_identities: Vec::new(),
        gateway_localities: Vec::new(),
        passthrough_hosts: Vec::new(),
        applied_roots: None,
        applied_keys: None,
        public_tag: None,
        stale_after_seconds: None,
        view: None,
    };
    PrivateDocument {
        gateways: gateways.iter().map(|address| gateway(address)).collect(),
        services: services.into(),
        extension: Some(extension),
    }
}

/// The same document as a DKP cluster would send it.
pub(crate) fn dkp(document: PrivateDocument) -> PrivateDocument {
    PrivateDocument { extension: None, ..document }
}

/// The knowledge of a peer that answered both requests at `now`.
pub(crate) fn known(
    peer: &Peer,
    public: &PublicDocument,
    private: &PrivateDocument,
    now: Timestamp,
) -> PeerKnowledge {
    let mut knowledge = PeerKnowledge::new(peer);
    let taken = knowledge.absorb_public(
        peer,
        &public.to_json(),
        Default::default(),
        &Limits::default(),
        now,
    );
    assert!(taken.is_taken(), "{taken:?}");
    let taken = absorb_private(&mut knowledge, peer, private, now);
    assert!(taken.is_taken(), "{taken:?}");
    knowledge
}

pub(crate) fn absorb_private(
    knowledge: &mut PeerKnowledge,
    peer: &Peer,
    private: &PrivateDocument,
    now: Timestamp,
) -> Absorbed {
    knowledge.absorb_private(
        peer,
        &private.to_json(),
        Default::default(),
        &Limits::default(),
        &TIMES,
        now,
    )
}

/// All inputs of `federate`, for tests to change.
pub(crate) struct Rig {
    pub(crate) local: LocalCluster,
    pub(crate) objects: Objects,
    pub(crate) knowledge: BTreeMap<PeerName, PeerKnowledge>,
    pub(crate) previous: Published,
    pub(crate) times: Times,
    pub(crate) now: Timestamp,
}

/// A peer's condition.
pub(crate) fn condition_of(federation: &Federation, peer: &str, kind: ConditionType) -> Condition {
    let conditions = &federation.peer(&name(peer)).unwrap().conditions;
    conditions.iter().find(|condition| condition.kind == kind).unwrap().clone()
}

impl Rig {
    /// `alpha` exports `web` and `db`. The peers `beta` and `gamma` have one service each.
    pub(crate) fn new() -> Self {
        let mut rig = Self {
            local: LocalCluster {
                trust_domain: domain("alpha.example"),
                cluster_uuid: uuid('1'),
                authn_key: key(1).public(),
                other_key: None,
                roots: vec![root()],
                credentials: Credentials::default(),
                network: Network::default(),
                gateways: vec![gateway("192.0.2.1")],
                reach: Reach::default(),
                gateway_identities: Vec::new(),
                health_name: false,
                passthrough: Passthrough::Impossible("it cannot be done here".to_owned()),
                own_addresses: OwnAddresses::default(),
                federated_suffix: Default::default(),
            },
            objects: Objects {
                services: vec![
                    service("web", vec![port("http", 80), port("tcp-admin", 9000)]),
                    service("db", vec![port("tcp-sql", 5432)]),
                ],
                ..Objects::default()
            },
            knowledge: BTreeMap::new(),
            previous: Published::default(),
            times: TIMES,
            now: at(10),
        };
        rig.add_peer("beta", "beta.example", '2');
        rig.add_peer("gamma", "gamma.example", '3');
        rig
    }

    /// Adds a peer that announced `web` at its gateway.
    pub(crate) fn add_peer(&mut self, name: &str, trust_domain: &str, digit: char) {
        self.objects.federations.push(federation_object(name, trust_domain));
        let peer = peer(name, trust_domain);
        let public = public(digit, digit as u8, trust_domain, vec![root()]);
        let web = offered(&format!("web.shop.svc.{trust_domain}"), &[("http", 80)]);
        let private = private(1, &["192.0.2.9"], vec![web]);
        self.knowledge.insert(peer.name.clone(), known(&peer, &public, &private, at(0)));
    }

    pub(crate) fn federate(&self) -> Federation {
        federate(&self.inputs())
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            local: &self.local,
            objects: &self.objects,
            knowledge: &self.knowledge,
            previous: &self.previous,
            times: self.times,
            now: self.now,
        }
    }

    /// Returns the object of a peer.
    pub(crate) fn object(&mut self, name: &str) -> &mut Named<IstioFederationSpec> {
        self.objects.federations.iter_mut().find(|named| named.name == name).unwrap()
    }

    pub(crate) fn known(&mut self, peer: &str) -> &mut PeerKnowledge {
        self.knowledge.get_mut(&name(peer)).unwrap()
    }

    /// Reports successful lookups of the names of a peer's gateways.
    pub(crate) fn looked_up(&mut self, peer: &str, names: &[(&str, &[&str])], now: Timestamp) {
        let outcome = |(name, ips): &(&str, &[&str])| {
            (hostname(name), Ok(ips.iter().map(|ip| ip.parse().unwrap()).collect()))
        };
        self.known(peer).record_lookups(names.iter().map(outcome).collect(), now);
    }

    /// Reports a failed lookup of the name of a peer's gateway.
    pub(crate) fn not_found(&mut self, peer: &str, name: &str, why: &str, now: Timestamp) {
        self.known(peer).record_lookups(vec![(hostname(name), Err(why.to_owned()))], now);
    }

    /// Absorbs the next private document of a peer.
    pub(crate) fn absorb(
        &mut self,
        peer_name: &str,
        document: &PrivateDocument,
        now: Timestamp,
    ) -> Absorbed {
        let object = self.object(peer_name).clone();
        let peer = Peer::parse(&object).unwrap().0;
        absorb_private(self.known(peer_name), &peer, document, now)
    }
}

pub(crate) fn hostname(text: &str) -> fedgate_core::Hostname {
    fedgate_core::Hostname::parse(text).unwrap()
}

pub(crate) fn found(findings: &[Finding], reason: FindingReason) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.reason == reason).collect()
}

/// Returns the only finding with this reason.
pub(crate) fn the(findings: &[Finding], reason: FindingReason) -> &Finding {
    match found(findings, reason).as_slice() {
        [one] => one,
        others => panic!("expected one {reason}, found {others:?} among {findings:#?}"),
    }
}

/// The audience of the token that the importer sends to a peer, if it may send one.
pub(crate) fn token_audience<'f>(
    federation: &'f Federation,
    peer: &PeerName,
) -> Option<&'f ClusterUuid> {
    let report = federation.peer(peer).filter(|report| report.standing.may_send_token())?;
    report.cluster_uuid.as_ref()
}

pub(crate) fn beta() -> ObjectRef {
    ObjectRef::federation("beta")
}

pub(crate) fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// A table numbers its peers with 16 bits.
pub(crate) fn more_peers_than_fit() -> Vec<Named<IstioFederationSpec>> {
    (0..66_000).map(|n| federation_object(&format!("p{n}"), &format!("t{n}.example"))).collect()
}
