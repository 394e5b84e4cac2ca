//! For tests: a cluster `alpha` whose controller has written everything, and its peer `beta`, as
//! the command line lists them.

use crate::api::watch::Key;
use crate::inspect::snapshot::{Listed, Snapshot};
use crate::leader::election::LEASE;
use crate::presented::{self, Presented};
use crate::settings::ControllerSettings;
use crate::sinks::{gateway, memory as written};
use crate::sources::memory::{self, ClusterRecord, Memory};
use crate::sources::{Observed, federation, roots, service};
use fedgate_core::{PeerName, ServicePort, TrustDomain};
use fedgate_exchange::loopback::{TestCa, identity};
use fedgate_federation::bundle::Root;
use fedgate_federation::credentials::{Credentials, Source};
use fedgate_federation::document::{GatewayAddress, GatewayHost, Limits, Network, View};
use fedgate_federation::federate::Published;
use fedgate_federation::knowledge::{PeerKnowledge, ProbeDepth, ProbeResult, Times};
use fedgate_federation::object::{Named, Objects, PUBLIC_SERVICE_LABEL, Peer};
use fedgate_federation::{Federation, Finding, Inputs, LocalCluster, ObjectRef, federate};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The namespace of fedgate, the gateway and the imports.
pub(crate) const NAMESPACE: &str = "fedgate-system";

/// Everything that the command line can list.
pub(crate) struct Sample {
    pub(crate) now: Timestamp,
    pub(crate) settings: ControllerSettings,
    pub(crate) local: LocalCluster,
    /// The problems found in the cluster.
    pub(crate) missing: Vec<Finding>,
    pub(crate) observed: Observed,
    pub(crate) lease: Option<Lease>,
    pub(crate) table: Option<DynamicObject>,
}

impl Sample {
    /// A healthy cluster: alpha exports `web` to beta and imports beta's.
    pub(crate) fn healthy() -> Self {
        let settings = crate::settings::tests::read(&[]).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (local, beta) = (local("alpha.example"), local("beta.example"));
        let observed = Observed {
            federations: keyed("", "beta", federation::keep(read(federation_object("beta")))),
            services: keyed("shop", "web", service::keep(read(web()))),
            ..Observed::default()
        };
        let mut sample = Self {
            now,
            settings,
            local,
            missing: Vec::new(),
            observed,
            lease: Some(lease(now)),
            table: None,
        };
        sample.write(&Published::default());
        sample.learn(&beta);
        let federation = sample.snapshot().in_force.federation;
        sample.write(&federation.published);
        sample.deliver(&federation);
        sample
    }

    /// The snapshot that results from the sample.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let record = memory::record(&self.observed.memory).unwrap().clone();
        let listed = Listed {
            observed: self.observed.clone(),
            lease: self.lease.clone(),
            record,
            table: self.table.clone(),
        };
        Snapshot::of(listed, self.now).unwrap()
    }

    /// Annotates beta's `IstioFederation`.
    pub(crate) fn annotate(&mut self, name: &str, value: &str) {
        let mut object = federation_object("beta");
        object["metadata"]["annotations"] = json!({ name: value });
        self.observed.federations = keyed("", "beta", federation::keep(read(object)));
    }

    /// Changes what is known of beta.
    pub(crate) fn change_knowledge(&mut self, change: impl FnOnce(&mut PeerKnowledge)) {
        let name = PeerName::parse("beta").unwrap();
        let mut knowledge = memory::knowledge(&self.observed.memory).remove(&name).unwrap();
        change(&mut knowledge);
        self.keep_knowledge(name, &knowledge);
    }

    /// Writes `fedgate-state` as the controller does.
    pub(crate) fn write(&mut self, published: &Published) {
        let record = ClusterRecord::of(&self.local, &self.settings, &self.missing);
        let state = written::state(&self.settings.namespaces, published, &record).body;
        self.remember("state", state);
    }

    /// Writes the table as the controller does.
    fn deliver(&mut self, federation: &Federation) {
        let table = federation.table.as_ref().unwrap();
        let (objects, _) = gateway::objects(
            &self.settings,
            &self.local,
            federation,
            Some(table),
            &gateway::Shipping::by_operator("file:///etc/fedgate/filter/sample.wasm"),
        );
        let table = objects.into_iter().find(|object| object.name == gateway::TABLE).unwrap();
        self.table = Some(read(table.body));
    }

    /// Takes what beta publishes once it knows alpha, and stores it as the controller does.
    fn learn(&mut self, beta: &LocalCluster) {
        let (limits, times, peer, now) =
            (Limits::default(), Times::default(), peer("beta"), self.now);
        let alpha = known_publicly("alpha", &publishes(&self.local, BTreeMap::new(), now), now);
        let published =
            publishes(beta, BTreeMap::from([(PeerName::parse("alpha").unwrap(), alpha)]), now);
        let mut knowledge = known_publicly("beta", &published, now);
        let private = &published.private_documents[&PeerName::parse("alpha").unwrap()];
        knowledge.absorb_private(
            &peer,
            &private.to_json(),
            Default::default(),
            &limits,
            &times,
            now,
        );
        let known = knowledge.private.as_mut().unwrap();
        known.document.extension.as_mut().unwrap().view = Some(View {
            sequence: Some(u64::MAX),
            gateways: View::listed(&self.local.gateways),
            ..View::default()
        });
        let outcomes = beta.gateways.iter().map(|gateway| (gateway.clone(), Ok(()))).collect();
        knowledge.record_probe(&ProbeResult::Gateways { outcomes, depth: ProbeDepth::Server }, now);
        self.keep_knowledge(peer.name, &knowledge);
    }

    fn keep_knowledge(&mut self, name: PeerName, knowledge: &PeerKnowledge) {
        let (packed, none) = (memory::pack(knowledge), BTreeMap::new());
        let peer = written::peer(&self.settings.namespaces, &name, &packed, &none).body;
        self.remember(name.as_str(), peer);
    }

    fn remember(&mut self, name: &str, object: Value) {
        let kept = memory::keep(read(object));
        assert_ne!(kept, Memory::Nothing);
        self.observed.memory.extend(keyed(NAMESPACE, name, kept));
    }
}

/// The credentials of a metadata endpoint with a good certificate.
fn credentials() -> Credentials {
    let leaf = TestCa::new().leaf();
    let object = || ObjectRef::cluster("alpha.example");
    let field = "--metadata-tls";
    Credentials::of_endpoint(
        &Source { object: object(), field, bytes: Ok(leaf.chain.as_bytes()) },
        &Source { object: object(), field, bytes: Ok(leaf.key.as_bytes()) },
    )
}

/// Those of a gateway whose Pod shows a good certificate.
fn of_gateway(ca: &TestCa, roots: &[Root], ours: &TrustDomain) -> Credentials {
    let year = |year: i16| {
        jiff::civil::date(year, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
    };
    let uri = format!("spiffe://{ours}/ns/{NAMESPACE}/sa/fedgate-gateway");
    let leaf = ca.workload(&[&uri], year(2026), year(2030));
    let presented = Presented::from([("gateway-1".to_owned(), leaf.der().into())]);
    let pods = presented::chains(Some(&presented), NAMESPACE);
    roots::credentials(roots, (NAMESPACE, "istio-ca-root-cert"), &pods, ours)
}

/// A cluster with a gateway.
fn local(trust_domain: &str) -> LocalCluster {
    let identity = identity();
    let host = if trust_domain.starts_with("alpha") { "192.0.2.1" } else { "192.0.2.7" };
    let gateway = GatewayAddress {
        address: GatewayHost::parse(host).unwrap(),
        port: ServicePort::new(15443).unwrap(),
    };
    let (ca, ours) = (TestCa::new(), TrustDomain::parse(trust_domain).unwrap());
    let roots = vec![Root::from_der(&ca.der()).unwrap()];
    let mut credentials = credentials();
    credentials.add(of_gateway(&ca, &roots, &ours));
    LocalCluster {
        trust_domain: ours,
        cluster_uuid: identity.cluster_uuid,
        authn_key: identity.key.public(),
        other_key: None,
        roots,
        credentials,
        network: Network::default(),
        gateways: vec![gateway],
        reach: fedgate_federation::federate::Reach::default(),
        gateway_identities: Vec::new(),
        health_name: false,
        passthrough: fedgate_federation::federate::Passthrough::default(),
        own_addresses: fedgate_federation::own::OwnAddresses::default(),
        federated_suffix: Default::default(),
    }
}

/// What a cluster with the Service `web` publishes to its peer alpha.
fn publishes(
    local: &LocalCluster,
    knowledge: BTreeMap<PeerName, PeerKnowledge>,
    now: Timestamp,
) -> Federation {
    let observed = Observed {
        services: keyed("shop", "web", service::keep(read(web()))),
        ..Observed::default()
    };
    let mut objects: Objects = observed.objects();
    objects.federations.extend(federation::keep(read(federation_object("alpha"))).spec.ok());
    let (previous, times) = (Published::default(), Times::default());
    federate(&Inputs {
        local,
        objects: &objects,
        knowledge: &knowledge,
        previous: &previous,
        times,
        now,
    })
}

/// What is known of a peer from its public document.
fn known_publicly(name: &str, published: &Federation, now: Timestamp) -> PeerKnowledge {
    let peer = peer(name);
    let mut knowledge = PeerKnowledge::new(&peer);
    knowledge.absorb_public(
        &peer,
        &published.public_document.to_json(),
        Default::default(),
        &Limits::default(),
        now,
    );
    knowledge
}

/// A peer's `IstioFederation`.
pub(crate) fn federation_object(name: &str) -> Value {
    let spec = json!({ "trustDomain": format!("{name}.example"), "metadataEndpoint": format!("https://{name}.example/metadata") });
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn peer(name: &str) -> Peer {
    let spec = serde_json::from_value(federation_object(name)["spec"].clone()).unwrap();
    Peer::parse(&Named::new(name, spec)).unwrap().0
}

fn web() -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "shop", "labels": { PUBLIC_SERVICE_LABEL: "" } },
        "spec": { "ports": [{ "name": "http", "port": 80 }], "type": "ClusterIP" },
    })
}

fn lease(now: Timestamp) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some("fedgate-0_1234".to_owned()),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    };
    let mut lease = Lease { spec: Some(spec), ..Lease::default() };
    lease.metadata.name = Some(LEASE.to_owned());
    lease
}

pub(crate) fn keyed<T>(namespace: &str, name: &str, kept: T) -> BTreeMap<Key, T> {
    BTreeMap::from([(Key { namespace: namespace.to_owned(), name: name.to_owned() }, kept)])
}

pub(crate) fn read(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}
