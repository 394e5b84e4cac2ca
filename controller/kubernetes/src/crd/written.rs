//! Checks that the definition has every field that the controller writes into a status: the API
//! server silently drops others.

use super::status::IstioFederationStatus;
use crate::sources::federation::keep;
use crate::status::desired;
use fedgate_core::{Hostname, ServicePort, TrustDomain};
use fedgate_exchange::loopback::TestCa;
use fedgate_exchange::new_key::new_key;
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{
    ClusterUuid, GatewayAddress, GatewayHost, PrivateDocument, PublicDocument, PublicService,
    PublicServicePort,
};
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::knowledge::{Known, PeerKnowledge};
use jiff::Timestamp;
use serde_json::json;

fn known<T>(document: T) -> Option<Known<T>> {
    let then = Timestamp::UNIX_EPOCH;
    Some(Known { document, fetched: then, confirmed: then, etag: None, findings: Vec::new() })
}

fn knowledge() -> PeerKnowledge {
    let port = |number| ServicePort::new(number).unwrap();
    PeerKnowledge {
        trust_domain: TrustDomain::parse("beta.example").unwrap(),
        object: None,
        public: known(PublicDocument {
            cluster_uuid: ClusterUuid::parse("11111111-aaaa-4aaa-8aaa-111111111111").unwrap(),
            authn_key: new_key().unwrap().public(),
            roots: vec![Root::from_der(&TestCa::new().der()).unwrap()],
            extension: None,
        }),
        private: known(PrivateDocument {
            gateways: vec![GatewayAddress {
                address: GatewayHost::parse("192.0.2.7").unwrap(),
                port: port(15443),
            }],
            services: [PublicService {
                hostname: Hostname::parse("web.shop.svc.beta.example").unwrap(),
                ports: vec![PublicServicePort { name: "http".into(), port: port(80) }],
            }]
            .into(),
            extension: None,
        }),
        annotations: Default::default(),
        uuid_since: None,
        public_exchange: None,
        private_exchange: None,
        held: None,
        held_trust: None,
        signed: None,
        accepted_key: None,
        used_approval: None,
        names: Default::default(),
        dataplane: None,
        clock: None,
        clock_read: false,
        notices: Vec::new(),
    }
}

#[test]
fn the_schema_keeps_every_status_field_that_is_written() {
    let object = json!({
        "metadata": { "name": "beta", "uid": "1", "generation": 3 },
        "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" },
    });
    let object = keep(serde_json::from_value(object).unwrap());
    let (kind, status) = (ConditionType::Accepted, ConditionStatus::False);
    let condition =
        Condition { kind, status, reason: "OurUuid".to_owned(), message: "why".to_owned() };
    let written = desired(&object, &[condition], Some(&knowledge()), Timestamp::UNIX_EPOCH).value;
    let kept: IstioFederationStatus = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(kept).unwrap(), written);
}

/// The names are those of DKP, whose operators and tools read them.
#[test]
fn the_cache_and_the_conditions_have_dkps_names() {
    let object = json!({
        "metadata": { "name": "beta", "uid": "1", "generation": 3 },
        "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" },
    });
    let object = keep(serde_json::from_value(object).unwrap());
    let condition = Condition {
        kind: ConditionType::PublicMetadataExchangeReady,
        status: ConditionStatus::True,
        reason: "Succeeded".to_owned(),
        message: String::new(),
    };
    let known = knowledge();
    let written = desired(&object, &[condition], Some(&known), Timestamp::UNIX_EPOCH).value;
    let public = &known.public.as_ref().unwrap().document;
    let cache = &written["metadataCache"];
    let expected = json!({
        "public": {
            "clusterUUID": public.cluster_uuid.as_str(),
            "authnKeyPub": public.authn_key.to_pem(),
            "rootCA": public.roots[0].to_pem(),
        },
        "publicLastFetchTimestamp": "1970-01-01T00:00:00Z",
        "private": {
            "ingressGateways": [{ "address": "192.0.2.7", "port": 15443 }],
            "publicServices": [{
                "hostname": "web.shop.svc.beta.example",
                "ports": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            }],
        },
        "privateLastFetchTimestamp": "1970-01-01T00:00:00Z",
    });
    assert_eq!(*cache, expected);
    let condition = &written["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("PublicMetadataExchangeReady"), &json!("True"), &json!("Succeeded"))
    );
    assert_eq!(condition["lastTransitionTime"], "1970-01-01T00:00:00Z");
}
