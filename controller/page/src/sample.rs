//! A small federation for tests: alpha exports `web` and `stock` to beta and gamma. Policies let
//! gamma call `web` only, and would let only `shop/till` of beta through, but are in Audit for beta.

use crate::feed::{Around, Feed, Look};
use arc_swap::ArcSwapOption;
use fedgate_core::{Table, TrustDomain};
use fedgate_engine::confirmations::Confirmations;
use fedgate_engine::in_force::InForce;
use fedgate_federation::credentials::Credentials;
use fedgate_federation::document::{ClusterUuid, Network, PublicDocument};
use fedgate_federation::federate::{Passthrough, Published};
use fedgate_federation::key::SigningKey;
use fedgate_federation::knowledge::{DocumentKind, Known, PeerKnowledge, Times};
use fedgate_federation::object::{
    FederatedServiceObject, FederatedServiceSpec, FederationPolicySpec, IstioFederationSpec, Named,
    Objects, PUBLIC_SERVICE_LABEL, Peer, PolicyBody, PolicyObject, ServiceObject, ServicePortSpec,
    TransportProtocol,
};
use fedgate_federation::own::OwnAddresses;
use fedgate_federation::{Inputs, LocalCluster, federate};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

fn uuid(digit: char) -> ClusterUuid {
    let part = |length| String::from(digit).repeat(length);
    ClusterUuid::parse(&[part(8), part(4), part(4), part(4), part(12)].join("-")).unwrap()
}

/// What the sample is made from.
pub(crate) struct Sample {
    pub(crate) objects: Objects,
    pub(crate) around: Around,
    /// Peers whose public document is known, by the digit of their UUID.
    pub(crate) known: Vec<(&'static str, char)>,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let peers = ["beta", "gamma"];
        let objects = Objects {
            federations: peers.into_iter().map(federation).collect(),
            services: ["web", "stock"].into_iter().map(service).collect(),
            policies: vec![
                policy(
                    "web-only",
                    json!({ "peers": ["gamma"], "services": [{ "selector": { "matchLabels": { "app": "web" } } }] }),
                ),
                policy(
                    "try-callers",
                    json!({ "peers": ["beta"], "mode": "Audit", "services": [{ "selector": { "matchLabels": { "app": "web" } } }], "callers": [{ "namespace": "shop", "serviceAccount": "till" }] }),
                ),
            ],
            federated_services: Vec::new(),
            findings: Vec::new(),
        };
        Self { objects, around: Around::new("files"), known: vec![("beta", '2')] }
    }

    /// Adds the name `web.shop.global` with these members. The local Service among them has a ready
    /// workload.
    pub(crate) fn with_name(mut self, members: Value) -> Self {
        let ports = json!([{ "name": "http", "port": 80 }]);
        let spec = json!({ "spec": { "ports": ports, "members": members } });
        self.objects.federated_services = vec![FederatedServiceObject {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            source: None,
            spec: FederatedServiceSpec::of_object(&spec).unwrap(),
        }];
        self.objects.services[0].ports[0].ready = Some(1);
        self
    }

    pub(crate) fn in_force(&self) -> InForce {
        let local = alpha();
        let knowledge = self.known.iter().map(|(name, digit)| {
            let (peer, _) = Peer::parse(&federation(name)).unwrap();
            (peer.name.clone(), known(&peer, *digit))
        });
        let knowledge: BTreeMap<_, _> = knowledge.collect();
        let federation = federate(&Inputs {
            local: &local,
            objects: &self.objects,
            knowledge: &knowledge,
            previous: &Published::default(),
            times: Times::default(),
            now: now(),
        });
        let table: Table = federation.table.as_ref().unwrap().clone();
        InForce {
            local,
            federation,
            table,
            egress: None,
            named: BTreeMap::new(),
            running: None,
            member_health: Default::default(),
            findings: Vec::new(),
            confirmations: Confirmations::default(),
        }
    }

    pub(crate) fn feed(&self) -> Feed {
        let in_force = Arc::new(ArcSwapOption::from_pointee(self.in_force()));
        Feed::new(in_force, self.around.clone())
    }

    pub(crate) fn look(&self) -> Look {
        self.feed().look().unwrap()
    }
}

fn alpha() -> LocalCluster {
    LocalCluster {
        trust_domain: TrustDomain::parse("alpha.example").unwrap(),
        cluster_uuid: uuid('1'),
        authn_key: SigningKey::from_seed(&[1; 32]).unwrap().public(),
        other_key: None,
        roots: Vec::new(),
        credentials: Credentials::default(),
        network: Network::default(),
        gateways: Vec::new(),
        reach: fedgate_federation::federate::Reach::default(),
        gateway_identities: Vec::new(),
        health_name: false,
        passthrough: Passthrough::Impossible(String::new()),
        own_addresses: OwnAddresses::default(),
        federated_suffix: Default::default(),
    }
}

fn known(peer: &Peer, digit: char) -> PeerKnowledge {
    let document = PublicDocument {
        cluster_uuid: uuid(digit),
        authn_key: SigningKey::from_seed(&[2; 32]).unwrap().public(),
        roots: Vec::new(),
        extension: None,
    };
    let public =
        Known { document, fetched: now(), confirmed: now(), etag: None, findings: Vec::new() };
    let mut known = PeerKnowledge { public: Some(public), ..PeerKnowledge::new(peer) };
    known.record_not_modified(DocumentKind::Public, now());
    known
}

pub(crate) fn federation(name: &str) -> Named<IstioFederationSpec> {
    let spec = IstioFederationSpec {
        trust_domain: format!("{name}.example"),
        metadata_endpoint: format!("https://{name}.example/metadata"),
        ..IstioFederationSpec::default()
    };
    Named::new(name, spec)
}

pub(crate) fn service(name: &str) -> ServiceObject {
    ServiceObject {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        labels: [(PUBLIC_SERVICE_LABEL, ""), ("app", name)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ports: vec![ServicePortSpec {
            name: Some("http".to_owned()),
            port: 80,
            protocol: TransportProtocol::Tcp,
            ready: None,
        }],
        ..ServiceObject::default()
    }
}

fn policy(name: &str, spec: serde_json::Value) -> PolicyObject {
    let spec: FederationPolicySpec = serde_json::from_value(spec).unwrap();
    PolicyObject { name: name.to_owned(), source: None, body: PolicyBody::Spec(spec) }
}
