//! The status of a `FederatedService`: where calls to its name go, and why.

use super::DesiredStatus;
use crate::api::fingerprint::fingerprint;
use crate::api::kind::Kind;
use crate::crd::federated::{FederatedServiceStatus, MemberStatus};
use crate::crd::status::PeerCondition;
use crate::sources::federated::FederatedObject;
use fedgate_federation::federate::{
    ConditionStatus, FederatedPort, FederatedService, MemberPlace, MemberState,
};
use fedgate_federation::{Finding, Severity};
use fedgate_process::clock::whole_seconds;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;

/// The word for this cluster, which no peer can have: peers are names of `IstioFederation`s, and
/// the spec has the same word.
pub(crate) const LOCAL: &str = "local";

/// Computes the status of an object. `service` is what is in force for it; without it, `refused`
/// says why.
pub(crate) fn desired(
    object: &FederatedObject,
    service: Option<&FederatedService>,
    refused: Option<&Finding>,
    now: Timestamp,
) -> DesiredStatus {
    let mut conditions = vec![accepted(service, refused), ready(service)];
    for condition in &mut conditions {
        let before = object.conditions.iter().find(|before| before.kind == condition.kind);
        let same = before.filter(|before| before.status == condition.status);
        let since = same.and_then(|before| before.last_transition_time).unwrap_or(now);
        condition.last_transition_time = Some(whole_seconds(since));
        condition.observed_generation = object.generation;
    }
    let ports = service.map(|service| service.ports.as_slice()).unwrap_or_default();
    let status = json!(FederatedServiceStatus {
        observed_generation: object.generation,
        host: service.map(|service| service.host.to_string()),
        current: current(ports),
        members: ports.iter().flat_map(members).collect(),
        conditions,
    });
    // Findings about the object have Events of their own.
    DesiredStatus { fingerprint: fingerprint(&status), value: status, transitions: Vec::new() }
}

pub(super) fn condition(
    kind: &str,
    status: ConditionStatus,
    reason: &str,
    message: String,
) -> PeerCondition {
    PeerCondition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        last_transition_time: None,
        last_probe_time: None,
        observed_generation: None,
    }
}

fn accepted(service: Option<&FederatedService>, refused: Option<&Finding>) -> PeerCondition {
    match (service, refused) {
        (Some(_), _) => condition("Accepted", ConditionStatus::True, "Accepted", String::new()),
        (None, Some(finding)) => {
            let field = finding.field.as_deref().filter(|field| !field.is_empty());
            let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
            let message = format!("{field}{}", finding.message);
            condition("Accepted", ConditionStatus::False, &finding.reason.camel_case(), message)
        }
        (None, None) => {
            let message = "the name is not in force; fedgate status has the reason".to_owned();
            condition("Accepted", ConditionStatus::False, "NotInForce", message)
        }
    }
}

/// True if it was seen that calls to each port get through.
pub(super) fn ready(service: Option<&FederatedService>) -> PeerCondition {
    let Some(service) = service else {
        let message = "the name is not in force".to_owned();
        return condition("Ready", ConditionStatus::False, "NotAccepted", message);
    };
    let dead = service.ports.iter().find(|port| port.in_use().next().is_none());
    if let Some(port) = dead {
        let message = format!("no member can take calls to {}", port.service);
        return condition("Ready", ConditionStatus::False, "NoMemberReady", message);
    }
    let unproven = |port: &FederatedPort| {
        let taken: Vec<_> = port.taken().collect();
        let is_proven = taken.iter().any(|member| member.state == MemberState::Ready);
        let first = taken.first().filter(|_| !is_proven)?;
        Some(format!("calls to {} go to {}: {}", port.service, first.place, first.state.message()))
    };
    match service.ports.iter().find_map(unproven) {
        Some(message) => condition("Ready", ConditionStatus::Unknown, "Unproven", message),
        None => condition("Ready", ConditionStatus::True, "MemberReady", String::new()),
    }
}

fn cluster(place: &MemberPlace) -> String {
    match place {
        MemberPlace::Local => LOCAL.to_owned(),
        MemberPlace::Peer(peer) => peer.to_string(),
    }
}

/// The clusters that calls to any of the ports go to now, each once.
fn current(ports: &[FederatedPort]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let taken = ports.iter().flat_map(FederatedPort::taken).map(|member| cluster(&member.place));
    taken.filter(|cluster| seen.insert(cluster.clone())).collect()
}

fn members(port: &FederatedPort) -> impl Iterator<Item = MemberStatus> + '_ {
    port.members.iter().map(|member| MemberStatus {
        port: port.service.port.get(),
        cluster: cluster(&member.place),
        service: member.service.as_ref().map(ToString::to_string),
        priority: member.priority,
        weight: member.weight,
        state: member.state.word().to_owned(),
        message: member.state.message().to_owned(),
    })
}

/// The finding that keeps an object out of force: the first error about it.
pub(crate) fn refusal<'a>(
    findings: &'a [Finding],
    namespace: &str,
    name: &str,
) -> Option<&'a Finding> {
    let about = |finding: &&Finding| {
        finding.object.kind == Kind::FederatedService.name()
            && finding.object.namespace.as_deref() == Some(namespace)
            && finding.object.name == name
    };
    findings.iter().filter(about).find(|finding| finding.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::federated::keep;
    use fedgate_core::{Hostname, PeerName, ServiceName, ServicePort};
    use fedgate_federation::federate::{FederatedMember, PassedOver, Protocol};
    use fedgate_federation::{FindingReason, ObjectRef};
    use serde_json::Value;

    fn name(host: &str) -> ServiceName {
        ServiceName::new(Hostname::parse(host).unwrap(), ServicePort::new(80).unwrap()).unwrap()
    }

    fn member(place: MemberPlace, priority: u32, state: MemberState) -> FederatedMember {
        let service = Some(name("web.shop.svc.beta.example"));
        FederatedMember { place, service, priority, weight: 1, state, check: None }
    }

    fn beta(priority: u32, state: MemberState) -> FederatedMember {
        member(MemberPlace::Peer(PeerName::parse("beta").unwrap()), priority, state)
    }

    fn service(members: Vec<FederatedMember>) -> FederatedService {
        let port = FederatedPort {
            service: name("web.shop.global"),
            port_name: "http".into(),
            protocol: Protocol::Http,
            check: None,
            members,
        };
        FederatedService {
            namespace: "shop".into(),
            name: "web".into(),
            source: None,
            host: port.service.host.clone(),
            ports: vec![port],
        }
    }

    fn status(service: Option<&FederatedService>, refused: Option<&Finding>) -> Value {
        let object = json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "1", "generation": 3 },
            "spec": { "ports": [{ "name": "http", "port": 80 }], "members": [{ "local": {} }] },
        });
        let object = keep(serde_json::from_value(object).unwrap());
        desired(&object, service, refused, Timestamp::UNIX_EPOCH).value
    }

    fn ready(status: &Value) -> (&str, &str) {
        let condition = &status["conditions"][1];
        assert_eq!(condition["type"], "Ready");
        (condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
    }

    #[test]
    fn ready_is_true_only_if_a_call_was_seen_to_get_through() {
        let unproven = || MemberState::Unproven("nobody has asked");
        let gone = MemberState::PassedOver {
            reason: PassedOver::NotOffered,
            message: "the peer does not offer it".into(),
        };
        let local = |state| member(MemberPlace::Local, 0, state);
        let good = status(Some(&service(vec![beta(0, MemberState::Ready)])), None);
        assert_eq!(ready(&good), ("True", "MemberReady"));
        let after =
            status(Some(&service(vec![beta(0, gone.clone()), beta(1, MemberState::Ready)])), None);
        assert_eq!(ready(&after), ("True", "MemberReady"));
        // A ready member that calls do not go to proves nothing.
        let before = service(vec![local(unproven()), beta(1, MemberState::Ready)]);
        assert_eq!(ready(&status(Some(&before), None)), ("Unknown", "Unproven"));
        assert_eq!(
            ready(&status(Some(&service(vec![beta(0, gone)])), None)),
            ("False", "NoMemberReady")
        );
        assert_eq!(ready(&status(None, None)), ("False", "NotAccepted"));
    }

    #[test]
    fn the_status_says_where_calls_go_and_why() {
        let gone = MemberState::PassedOver {
            reason: PassedOver::NotOffered,
            message: "the peer does not offer it".into(),
        };
        let written = status(
            Some(&service(vec![beta(0, gone), member(MemberPlace::Local, 1, MemberState::Ready)])),
            None,
        );
        assert_eq!(written["host"], "web.shop.global");
        assert_eq!(
            (&written["current"], &written["observedGeneration"]),
            (&json!(["local"]), &json!(3))
        );
        let first = &written["members"][0];
        assert_eq!((&first["cluster"], &first["state"]), (&json!("beta"), &json!("not_offered")));
        assert_eq!(first["message"], "the peer does not offer it");
        let kept: FederatedServiceStatus = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(kept).unwrap(), written);
    }

    #[test]
    fn an_object_that_is_not_in_force_says_why() {
        let object = ObjectRef::federated_service("shop", "web");
        let findings = [
            Finding::warning(
                FindingReason::UnknownPeer,
                object.clone(),
                "spec.members",
                "a warning",
            ),
            Finding::error(FindingReason::InvalidHost, object, "spec.host", "expected another"),
        ];
        assert_eq!(refusal(&findings, "shop", "other"), None);
        let refused = refusal(&findings, "shop", "web");
        let written = status(None, refused);
        let accepted = &written["conditions"][0];
        assert_eq!(
            (&accepted["status"], &accepted["reason"]),
            (&json!("False"), &json!("InvalidHost"))
        );
        assert_eq!(accepted["message"], "spec.host: expected another");
        assert_eq!(written.get("host"), None);
    }
}
