//! What a whole federation publishes: correct for each peer, and kept once where possible.

use super::{Published, published::PeerAccess};
use crate::loopback::{TestCa, identity};
use fedgate_core::{PeerName, ServicePort, TrustDomain};
use fedgate_federation::{
    Federation, Inputs, LocalCluster,
    bundle::Root,
    credentials::Credentials,
    document::{ClusterUuid, GatewayAddress, GatewayHost, Limits, Network, PublicDocument},
    federate,
    knowledge::{PeerKnowledge, Times},
    object::{
        IstioFederationSpec, Named, Objects, PUBLIC_SERVICE_LABEL, Peer, ServiceObject,
        ServicePortSpec,
    },
};
use fedgate_trace::{Causes, Change, Recorded};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A cluster with two exports, and peers that all see both.
fn federation(peers: &[&str]) -> Federation {
    let ours = identity();
    let local = LocalCluster {
        trust_domain: TrustDomain::parse("alpha.example").unwrap(),
        cluster_uuid: ours.cluster_uuid,
        authn_key: ours.key.public(),
        other_key: None,
        roots: vec![root()],
        credentials: Credentials::default(),
        network: Network::default(),
        gateways: vec![GatewayAddress {
            address: GatewayHost::parse("192.0.2.7").unwrap(),
            port: ServicePort::new(15443).unwrap(),
        }],
        reach: fedgate_federation::federate::Reach::default(),
        gateway_identities: Vec::new(),
        health_name: false,
        passthrough: fedgate_federation::federate::Passthrough::default(),
        own_addresses: fedgate_federation::own::OwnAddresses::default(),
        federated_suffix: Default::default(),
    };
    let objects = Objects {
        federations: peers.iter().map(|peer| object(peer)).collect(),
        services: ["web", "api"].map(service).into(),
        ..Objects::default()
    };
    // A time when the roots that tests make are valid.
    let now = Timestamp::from_second(1_767_225_600).unwrap();
    let knowledge: BTreeMap<_, _> =
        objects.federations.iter().map(|object| knowledge(object, now)).collect();
    let (times, previous) = (Times::default(), &Default::default());
    federate(&Inputs {
        local: &local,
        objects: &objects,
        knowledge: &knowledge,
        previous,
        times,
        now,
    })
}

fn root() -> Root {
    Root::from_der(&TestCa::new().der()).unwrap()
}

fn object(peer: &str) -> Named<IstioFederationSpec> {
    let spec = IstioFederationSpec {
        trust_domain: format!("{peer}.example"),
        metadata_endpoint: format!("https://{peer}.test/metadata"),
        ..IstioFederationSpec::default()
    };
    Named::new(peer, spec)
}

fn service(name: &str) -> ServiceObject {
    ServiceObject {
        namespace: "shop".into(),
        name: name.into(),
        labels: BTreeMap::from([(PUBLIC_SERVICE_LABEL.into(), String::new())]),
        ports: vec![ServicePortSpec {
            name: Some("http".into()),
            port: 80,
            ..ServicePortSpec::default()
        }],
        ..ServiceObject::default()
    }
}

fn knowledge(object: &Named<IstioFederationSpec>, now: Timestamp) -> (PeerName, PeerKnowledge) {
    let (peer, identity) = (Peer::parse(object).unwrap().0, identity());
    let document = PublicDocument {
        cluster_uuid: identity.cluster_uuid,
        authn_key: identity.key.public(),
        roots: vec![root()],
        extension: None,
    };
    let mut knowledge = PeerKnowledge::new(&peer);
    assert!(
        knowledge
            .absorb_public(&peer, &document.to_json(), Default::default(), &Limits::default(), now)
            .is_taken()
    );
    (peer.name, knowledge)
}

fn access<'p>(published: &'p Published, federation: &Federation, peer: &str) -> &'p PeerAccess {
    let is_peer = |(_, member): &(&ClusterUuid, &fedgate_federation::federate::Member)| {
        member.peer.as_str() == peer
    };
    published.peer(federation.members.iter().find(is_peer).unwrap().0).unwrap()
}

async fn body(access: &PeerAccess) -> Vec<u8> {
    axum::body::to_bytes(access.document.body(), usize::MAX).await.unwrap().into()
}

#[tokio::test]
async fn each_peer_has_its_own_document_and_services_are_stored_once() {
    let mut federation = federation(&["beta", "gamma", "delta"]);
    // Delta sees something different from the others.
    let delta = PeerName::parse("delta").unwrap();
    let other = fedgate_federation::document::PrivateDocument {
        services: Vec::new().into(),
        ..federation.private_documents[&delta].as_ref().clone()
    };
    federation.private_documents.insert(delta, other.into());
    let published = Published::of(&federation);
    let [beta, gamma, delta] =
        ["beta", "gamma", "delta"].map(|peer| access(&published, &federation, peer));

    for (peer, access) in [("beta", beta), ("gamma", gamma), ("delta", delta)] {
        let document = &federation.private_documents[&PeerName::parse(peer).unwrap()];
        assert_eq!(body(access).await, document.to_json(), "{peer}");
    }
    assert_ne!(beta.document.etag(), gamma.document.etag(), "each names its own roots");
    assert!(beta.document.shares_head_with(&gamma.document));
    assert!(!beta.document.shares_head_with(&delta.document));
}

#[test]
fn a_document_belongs_to_the_trace_of_the_change_that_made_it() {
    let (tracer, recorded) = Recorded::tracer();
    let mut causes = Causes::new(tracer);
    let mut change = || {
        causes.own("watch", causes.now());
        causes.change(std::time::SystemTime::now())
    };
    let mut federation = federation(&["beta", "gamma"]);
    let (first, second, nothing) = (change(), change(), Published::default());
    let untraced = Published::of_change(&federation, &Change::default(), &nothing);
    assert!(access(&untraced, &federation, "beta").news.is_none());
    let before = Published::of_change(&federation, &first, &untraced);
    assert!(access(&before, &federation, "beta").news.is_none(), "the peer may have it already");

    let gamma = PeerName::parse("gamma").unwrap();
    let other = fedgate_federation::document::PrivateDocument {
        services: Vec::new().into(),
        ..federation.private_documents[&gamma].as_ref().clone()
    };
    federation.private_documents.insert(gamma, other.into());
    let after = Published::of_change(&federation, &second, &before);
    assert!(access(&after, &federation, "beta").news.is_none(), "the change is not about it");
    let later = Published::of_change(&federation, &Change::default(), &after);
    let news = access(&later, &federation, "gamma").news.as_ref().unwrap();

    let header = second.origin().unwrap().to_header();
    for _ in 0..3 {
        assert_eq!(news.tell().unwrap(), header.as_str());
    }
    let spans = recorded.spans();
    let answers: Vec<_> = spans.iter().filter(|span| span.name == "answer").collect();
    assert_eq!(answers.len(), 1, "a peer that asks again adds nothing");
    assert_eq!(answers[0].attributes[0].value.as_str(), "gamma");
}
