//! The status of a `ServiceExport`: the conditions of the Multi-Cluster Services API, with its
//! reasons where it has one that fits.

use super::DesiredStatus;
use super::federated::condition;
use crate::api::fingerprint::fingerprint;
use crate::crd::status::PeerCondition;
use crate::sources::mcs::McsObject;
use fedgate_federation::federate::{ConditionStatus, Export};
use fedgate_federation::{Finding, FindingReason};
use fedgate_process::clock::whole_seconds;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What the conditions follow from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts<'a> {
    /// Whether the Service exists.
    pub(crate) has_service: bool,
    /// Its exported ports.
    pub(crate) exports: &'a [&'a Export],
    /// The finding that keeps it from being exported.
    pub(crate) refused: Option<&'a Finding>,
    /// The finding that keeps the gateway from getting a table with it.
    pub(crate) no_table: Option<&'a Finding>,
}

/// Computes the status. Conditions of types that are not ours stay.
pub(crate) fn desired(object: &McsObject, facts: &Facts<'_>, now: Timestamp) -> DesiredStatus {
    let ours = [valid(facts), ready(facts), no_conflict()];
    let status = json!({ "conditions": conditions(object, ours.into(), now) });
    DesiredStatus { fingerprint: fingerprint(&status), value: status, transitions: Vec::new() }
}

/// The conditions of an object: these, and those of other types that it has.
pub(super) fn conditions(
    object: &McsObject,
    mut ours: Vec<PeerCondition>,
    now: Timestamp,
) -> Vec<Value> {
    for condition in &mut ours {
        let before = object.conditions.iter().find(|before| before.kind == condition.kind);
        let same = before.filter(|before| before.status == condition.status);
        let since = same.and_then(|before| before.last_transition_time).unwrap_or(now);
        condition.last_transition_time = Some(whole_seconds(since));
        condition.observed_generation = object.generation;
    }
    let is_ours = |kind: &str| ours.iter().any(|condition| condition.kind == kind);
    let others = object.conditions.iter().filter(|condition| !is_ours(&condition.kind));
    ours.iter().chain(others).map(written).collect()
}

/// The definition requires a message, be it empty.
fn written(condition: &PeerCondition) -> Value {
    let mut written = json!(condition);
    written["message"] = condition.message.as_str().into();
    written
}

/// Why the Service cannot be exported; `None` if it can, at once or soon.
fn refusal<'a>(facts: &Facts<'a>) -> Option<&'a Finding> {
    let is_final = |finding: &&Finding| finding.reason != FindingReason::PassthroughPending;
    facts.refused.filter(is_final).filter(|_| facts.exports.is_empty())
}

fn valid(facts: &Facts<'_>) -> PeerCondition {
    let invalid =
        |reason: &str, message| condition("Valid", ConditionStatus::False, reason, message);
    if !facts.has_service {
        let message = "there is no Service with this name in this namespace; create it";
        return invalid("NoService", message.to_owned());
    }
    match refusal(facts) {
        Some(finding) if finding.reason == FindingReason::ExternalName => {
            invalid("InvalidServiceType", text(finding))
        }
        Some(finding) => invalid(&finding.reason.camel_case(), text(finding)),
        None => {
            let message = "the Service can be exported".to_owned();
            condition("Valid", ConditionStatus::True, "Valid", message)
        }
    }
}

fn ready(facts: &Facts<'_>) -> PeerCondition {
    let not = |reason: &str, message: &str| {
        condition("Ready", ConditionStatus::False, reason, message.to_owned())
    };
    if !facts.has_service || refusal(facts).is_some() {
        return not("Failed", "not exported: see the condition Valid");
    }
    if let Some(finding) = facts.no_table {
        return not("Failed", &text(finding));
    }
    if facts.exports.is_empty() {
        return match facts.refused {
            Some(finding) => not("Pending", &text(finding)),
            None => not("Failed", "no port has protocol TCP, and peers can call no other; add one"),
        };
    }
    let has_grant = |export: &&Export| export.grants.iter().any(|grant| grant.callers().is_some());
    let message = match facts.exports.iter().any(has_grant) {
        true => "peers with a grant can call it: fedgate explain says which",
        false => {
            "no peer has a grant: see the annotation fedgate.dev/peers and the FederationPolicies"
        }
    };
    condition("Ready", ConditionStatus::True, "Exported", message.to_owned())
}

/// Each cluster exports under a name of its own, so nothing is merged.
fn no_conflict() -> PeerCondition {
    let message = "the name ends in this cluster's trust domain, so no other cluster exports it";
    condition("Conflict", ConditionStatus::False, "NoConflicts", message.to_owned())
}

fn text(finding: &Finding) -> String {
    match finding.field.as_deref().filter(|field| !field.is_empty()) {
        Some(field) => format!("{field}: {}", finding.message),
        None => finding.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::mcs::keep;
    use fedgate_core::{Hostname, PeerName, ServiceName, ServicePort};
    use fedgate_federation::ObjectRef;
    use fedgate_federation::grant::{Access, PeerGrant};
    use fedgate_federation::object::GatewayMode;

    fn object(conditions: Value) -> McsObject {
        let metadata = json!({ "namespace": "shop", "name": "web", "uid": "1", "generation": 2 });
        let object = json!({ "metadata": metadata, "status": { "conditions": conditions } });
        keep(serde_json::from_value(object).unwrap())
    }

    fn export(access: Access) -> Export {
        let host = Hostname::parse("web.shop.svc.alpha.example").unwrap();
        let grant = PeerGrant {
            peer: PeerName::parse("beta").unwrap(),
            mode: fedgate_core::Mode::Enforce,
            access,
        };
        Export {
            service: ServiceName::new(host, ServicePort::new(80).unwrap()).unwrap(),
            namespace: "shop".into(),
            name: "web".into(),
            port_name: "http".into(),
            pod: None,
            mode: GatewayMode::Terminate,
            grants: [grant].into(),
        }
    }

    fn finding(reason: FindingReason) -> Finding {
        Finding::error(reason, ObjectRef::service("shop", "web"), "spec", "expected something else")
    }

    /// Status and reason of each condition.
    fn words(facts: &Facts<'_>) -> Vec<String> {
        let status = desired(&object(json!([])), facts, Timestamp::UNIX_EPOCH).value;
        let word = |condition: &Value| {
            let field = |name: &str| condition[name].as_str().unwrap().to_owned();
            format!("{}={} {}", field("type"), field("status"), field("reason"))
        };
        status["conditions"].as_array().unwrap().iter().map(word).collect()
    }

    const CONFLICT: &str = "Conflict=False NoConflicts";

    #[test]
    fn an_export_is_valid_and_ready() {
        let public = export(Access::Public);
        let exports = [&public];
        let facts = Facts { has_service: true, exports: &exports, ..Facts::default() };
        assert_eq!(words(&facts), ["Valid=True Valid", "Ready=True Exported", CONFLICT]);
    }

    #[test]
    fn an_export_that_no_peer_may_call_says_so() {
        let message = |access| {
            let export = export(access);
            let facts = Facts { has_service: true, exports: &[&export], ..Facts::default() };
            ready(&facts).message
        };
        assert!(message(Access::OwnerExcludes).starts_with("no peer has a grant"));
        assert!(message(Access::Public).starts_with("peers with a grant"));
    }

    #[test]
    fn what_is_not_exported_says_why() {
        let none = Facts::default();
        assert_eq!(words(&none), ["Valid=False NoService", "Ready=False Failed", CONFLICT]);
        for (reason, expected) in [
            (FindingReason::ExternalName, ["Valid=False InvalidServiceType", "Ready=False Failed"]),
            (FindingReason::UnnamedPort, ["Valid=False UnnamedPort", "Ready=False Failed"]),
            (FindingReason::LabelNotEmpty, ["Valid=False LabelNotEmpty", "Ready=False Failed"]),
            (FindingReason::PassthroughPending, ["Valid=True Valid", "Ready=False Pending"]),
        ] {
            let finding = finding(reason);
            let facts = Facts { has_service: true, refused: Some(&finding), ..none };
            assert_eq!(words(&facts), [expected[0], expected[1], CONFLICT], "{reason:?}");
        }
        let without_tcp = Facts { has_service: true, ..none };
        assert_eq!(words(&without_tcp)[1], "Ready=False Failed");
    }

    #[test]
    fn without_a_table_nothing_is_ready() {
        let (public, too_large) = (export(Access::Public), finding(FindingReason::TableTooLarge));
        let facts = Facts {
            has_service: true,
            exports: &[&public],
            no_table: Some(&too_large),
            ..Facts::default()
        };
        assert_eq!(words(&facts)[..2], ["Valid=True Valid", "Ready=False Failed"]);
    }

    #[test]
    fn others_conditions_stay_and_an_unchanged_status_is_not_written() {
        let others = json!([
            { "type": "Valid", "status": "False", "reason": "Old", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            { "type": "example.com/Audited", "status": "True", "reason": "ByHand", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
        ]);
        let public = export(Access::Public);
        let facts = Facts { has_service: true, exports: &[&public], ..Facts::default() };
        let first = desired(&object(others), &facts, Timestamp::UNIX_EPOCH);
        let conditions = first.value["conditions"].clone();
        assert_eq!(conditions[0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(conditions[0]["observedGeneration"], 2);
        assert_eq!(
            (&conditions[3]["type"], &conditions[3]["message"]),
            (&json!("example.com/Audited"), &json!(""))
        );
        let again = desired(&object(conditions), &facts, Timestamp::from_second(9).unwrap());
        assert_eq!(again.fingerprint, first.fingerprint);
    }
}
