//! The status of an `IstioFederation`: DKP's fields, and our conditions next to DKP's.

pub(crate) mod federated;
pub(crate) mod service_export;
pub(crate) mod service_import;

use crate::api::fingerprint::{Fingerprint, fingerprint};
use crate::crd::status::{
    GatewayAddress, IstioFederationStatus, MetadataCache, PeerCondition, PrivateCache, PublicCache,
    PublicPort, PublicService,
};
use crate::sources::federation::FederationObject;
use fedgate_federation::bundle::roots_to_pem;
use fedgate_federation::document::{self, PrivateDocument, PublicDocument};
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType, Protocol};
use fedgate_federation::knowledge::PeerKnowledge;
use fedgate_process::clock::whole_seconds;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Roughly the maximum size of a peer's services in a status, in bytes. The object must stay well
/// below etcd's limit of 1.5 MiB.
const CACHED_SERVICES: usize = 512 << 10;

/// A condition whose status has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transition {
    /// The new condition.
    pub condition: PeerCondition,
    /// The former status; `None` if the condition is new.
    pub before: Option<ConditionStatus>,
}

/// The status that an object should have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DesiredStatus {
    /// The value of `status`.
    pub value: Value,
    /// The fingerprint of `value`.
    pub fingerprint: Fingerprint,
    /// The conditions that changed.
    pub transitions: Vec<Transition>,
}

/// Computes the status of an object.
pub(crate) fn desired(
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
    let mut written: Vec<_> = conditions.iter().map(one).collect();
    written.extend(object.conditions.iter().filter(|condition| !is_ours(&condition.kind)).cloned());
    let status = IstioFederationStatus {
        observed_generation: object.generation,
        metadata_cache: knowledge.and_then(metadata_cache),
        conditions: written,
    };
    let status = json!(status);
    DesiredStatus { fingerprint: fingerprint(&status), value: status, transitions }
}

fn written(
    object: &FederationObject,
    condition: &Condition,
    now: Timestamp,
) -> (PeerCondition, Option<Transition>) {
    let kind = format!("{:?}", condition.kind);
    let before = object.conditions.iter().find(|before| before.kind == kind);
    let same = before.filter(|before| before.status == condition.status);
    let since = same.and_then(|before| before.last_transition_time).unwrap_or(now);
    let condition = PeerCondition {
        kind,
        status: condition.status,
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: Some(whole_seconds(since)),
        last_probe_time: None,
        observed_generation: object.generation,
    };
    let transition = same.is_none().then(|| Transition {
        condition: condition.clone(),
        before: before.map(|before| before.status),
    });
    (condition, transition)
}

/// Returns true if this program writes conditions of this type. Conditions of other types have
/// other writers and stay.
fn is_ours(kind: &str) -> bool {
    ConditionType::ALL
        .iter()
        .chain(ConditionType::OF_GATEWAY)
        .any(|ours| format!("{ours:?}") == kind)
}

/// What is known of the peer. Leaves out a list of services that is too long for an object.
fn metadata_cache(knowledge: &PeerKnowledge) -> Option<MetadataCache> {
    if knowledge.public.is_none() && knowledge.private.is_none() {
        return None;
    }
    let mut cache = MetadataCache::default();
    if let Some(known) = &knowledge.public {
        cache.public = Some(public(&known.document));
        cache.public_last_fetch_timestamp = Some(whole_seconds(known.fetched));
    }
    if let Some(known) = &knowledge.private {
        let services: usize =
            known.document.services.iter().map(|service| 64 + 64 * service.ports.len()).sum();
        cache.private = (services <= CACHED_SERVICES).then(|| private(&known.document));
        cache.private_last_fetch_timestamp = Some(whole_seconds(known.fetched));
    }
    Some(cache)
}

fn public(document: &PublicDocument) -> PublicCache {
    PublicCache {
        cluster_uuid: document.cluster_uuid.to_string(),
        authn_key_pub: document.authn_key.to_pem(),
        root_ca: roots_to_pem(&document.roots),
    }
}

fn private(document: &PrivateDocument) -> PrivateCache {
    let gateway = |gateway: &document::GatewayAddress| GatewayAddress {
        address: gateway.address.to_string(),
        port: gateway.port.get(),
    };
    PrivateCache {
        ingress_gateways: document.gateways.iter().map(gateway).collect(),
        public_services: document.services.iter().map(service).collect(),
    }
}

fn service(service: &document::PublicService) -> PublicService {
    let port = |port: &document::PublicServicePort| PublicPort {
        name: port.name.clone(),
        port: port.port.get(),
        protocol: Protocol::of_port_name(&port.name).word().to_owned(),
    };
    PublicService {
        hostname: service.hostname.to_string(),
        ports: service.ports.iter().map(port).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(conditions: Value) -> FederationObject {
        let object = json!({
            "metadata": { "name": "beta", "uid": "1", "generation": 3 },
            "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" },
            "status": { "conditions": conditions },
        });
        crate::sources::federation::keep(serde_json::from_value(object).unwrap())
    }

    fn accepted(status: ConditionStatus, reason: &str) -> Vec<Condition> {
        vec![Condition {
            kind: ConditionType::Accepted,
            status,
            reason: reason.into(),
            message: String::new(),
        }]
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_a_changed_status_is_a_transition() {
        let first =
            desired(&object(json!([])), &accepted(ConditionStatus::True, "Accepted"), None, at(10));
        assert_eq!(first.transitions.len(), 1);
        let before = object(first.value["conditions"].clone());
        let same = desired(&before, &accepted(ConditionStatus::True, "Accepted"), None, at(20));
        assert_eq!(
            (same.fingerprint, same.transitions.len()),
            (first.fingerprint, 0),
            "nothing is written"
        );
        let reason = desired(&before, &accepted(ConditionStatus::True, "Other"), None, at(30));
        assert_ne!(reason.fingerprint, first.fingerprint);
        assert_eq!(reason.value["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:10Z");
        let other = desired(&before, &accepted(ConditionStatus::False, "OurUuid"), None, at(40));
        assert_eq!(other.value["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:40Z");
        assert_eq!(other.transitions[0].before, Some(ConditionStatus::True));
        assert_eq!(other.value["observedGeneration"], 3);
    }

    #[test]
    fn conditions_of_others_stay_and_our_outdated_ones_are_removed() {
        let there = json!([
            { "type": "Stale", "status": "True", "reason": "Stale" },
            { "type": "Audited", "status": "True", "reason": "ByHand", "lastTransitionTime": "2026-01-01T00:00:00Z" },
        ]);
        let is = object(there);
        let wanted = desired(&is, &accepted(ConditionStatus::False, "ThisCluster"), None, at(10));
        let kinds: Vec<_> =
            wanted.value["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
        assert_eq!(kinds, ["Accepted", "Audited"]);
        let settled = desired(
            &object(wanted.value["conditions"].clone()),
            &accepted(ConditionStatus::False, "ThisCluster"),
            None,
            at(20),
        );
        assert_eq!(settled.fingerprint, wanted.fingerprint, "nothing is written");
    }
}
