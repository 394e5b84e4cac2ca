//! The status of an `IstioFederation`: DKP's fields, and conditions of ours beside DKP's.

use super::fingerprint::{Fingerprint, fingerprint};
use super::sources::federation::FederationObject;
use fedgate_federation::bundle::roots_to_pem;
use fedgate_federation::document::{PrivateDocument, PublicDocument};
use fedgate_federation::federate::{Condition, ConditionStatus, Protocol};
use fedgate_federation::knowledge::PeerKnowledge;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The most bytes of a peer's services in a status: the object has to stay well below what etcd takes (1.5 MiB).
const CACHED_SERVICES: usize = 512 << 10;

/// A condition as the object has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenCondition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    #[serde(default)]
    pub reason: String,
    /// More of it.
    #[serde(default)]
    pub message: String,
    /// When the status became what it is (RFC 3339).
    #[serde(default)]
    pub last_transition_time: Option<String>,
    /// The generation of the spec that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A condition whose status is another one now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The condition as it is now.
    pub condition: WrittenCondition,
    /// The status that it had; `None` when it is new.
    pub before: Option<String>,
}

/// The status that an object should have.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredStatus {
    /// The value of `status`.
    pub value: Value,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// What changed of the conditions.
    pub transitions: Vec<Transition>,
}

/// Works out the status of an object.
pub fn desired(
    object: &FederationObject,
    conditions: &[Condition],
    knowledge: Option<&PeerKnowledge>,
    now: Timestamp,
) -> DesiredStatus {
    let mut transitions = Vec::new();
    let one = |condition: &Condition| {
        let (condition, transition) = written(object, condition, now);
        transitions.extend(transition);
        condition
    };
    let written: Vec<_> = conditions.iter().map(one).collect();
    let mut status = json!({ "conditions": written });
    if let Some(generation) = object.generation {
        status["observedGeneration"] = generation.into();
    }
    if let Some(cache) = knowledge.and_then(metadata_cache) {
        status["metadataCache"] = cache;
    }
    DesiredStatus { fingerprint: fingerprint(&status), value: status, transitions }
}

fn written(object: &FederationObject, condition: &Condition, now: Timestamp) -> (WrittenCondition, Option<Transition>) {
    let kind = format!("{:?}", condition.kind);
    let status = match condition.status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    };
    let before = object.conditions.iter().find(|before| before.kind == kind);
    let same = before.filter(|before| before.status == status);
    let since = same.and_then(|before| before.last_transition_time.clone());
    let condition = WrittenCondition {
        kind,
        status: status.to_owned(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: Some(since.unwrap_or_else(|| rfc3339(now))),
        observed_generation: object.generation,
    };
    let transition = same
        .is_none()
        .then(|| Transition { condition: condition.clone(), before: before.map(|before| before.status.clone()) });
    (condition, transition)
}

/// To the second, as Kubernetes writes times.
fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// What is known of the peer, in DKP's form. A list of services that is too long for an object is left out, and a field says so.
fn metadata_cache(knowledge: &PeerKnowledge) -> Option<Value> {
    let mut cache = Map::new();
    if let Some(known) = &knowledge.public {
        cache.insert("public".into(), public(&known.document));
        cache.insert("publicLastFetchTimestamp".into(), rfc3339(known.fetched).into());
    }
    if let Some(known) = &knowledge.private {
        let private = private(&known.document);
        if private.to_string().len() <= CACHED_SERVICES {
            cache.insert("private".into(), private);
        }
        cache.insert("privateLastFetchTimestamp".into(), rfc3339(known.fetched).into());
    }
    (!cache.is_empty()).then_some(Value::Object(cache))
}

fn public(document: &PublicDocument) -> Value {
    json!({
        "clusterUUID": document.cluster_uuid.as_str(),
        "authnKeyPub": document.authn_key.to_pem(),
        "rootCA": roots_to_pem(&document.roots),
    })
}

fn private(document: &PrivateDocument) -> Value {
    let gateways: Vec<_> = document
        .gateways
        .iter()
        .map(|gateway| json!({ "address": gateway.address.to_string(), "port": gateway.port.get() }))
        .collect();
    let services: Vec<_> = document
        .services
        .iter()
        .map(|service| {
            let ports: Vec<_> = service
                .ports
                .iter()
                .map(|port| {
                    let protocol = Protocol::of_port_name(&port.name).word();
                    json!({ "name": port.name, "port": port.port.get(), "protocol": protocol })
                })
                .collect();
            json!({ "hostname": service.hostname.as_str(), "ports": ports })
        })
        .collect();
    json!({ "ingressGateways": gateways, "publicServices": services })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::federate::ConditionType;

    fn object(conditions: Value) -> FederationObject {
        let object = json!({
            "metadata": { "name": "beta", "uid": "1", "generation": 3 },
            "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" },
            "status": { "conditions": conditions },
        });
        super::super::sources::federation::keep(serde_json::from_value(object).unwrap())
    }

    fn accepted(status: ConditionStatus, reason: &str) -> Vec<Condition> {
        vec![Condition { kind: ConditionType::Accepted, status, reason: reason.into(), message: String::new() }]
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_transition_is_a_change_of_status_and_of_nothing_else() {
        let first = desired(&object(json!([])), &accepted(ConditionStatus::True, "Accepted"), None, at(10));
        assert_eq!(first.transitions.len(), 1);
        let seen = object(first.value["conditions"].clone());
        let same = desired(&seen, &accepted(ConditionStatus::True, "Accepted"), None, at(20));
        assert_eq!((same.fingerprint, same.transitions.len()), (first.fingerprint, 0), "nothing is written");
        let reason = desired(&seen, &accepted(ConditionStatus::True, "Other"), None, at(30));
        assert_ne!(reason.fingerprint, first.fingerprint);
        assert_eq!(reason.value["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:10Z");
        let other = desired(&seen, &accepted(ConditionStatus::False, "OurUuid"), None, at(40));
        assert_eq!(other.value["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:40Z");
        assert_eq!(other.transitions[0].before.as_deref(), Some("True"));
        assert_eq!(other.value["observedGeneration"], 3);
    }
}
