//! Checks the manifests in `deploy/kubernetes/` other than the definitions, where they must agree
//! with the definitions or with each other.

use super::tests::{checked_in, schema};
use super::{definitions, schema::pointer};
use serde_json::Value;
use std::collections::BTreeSet;

fn objects(file: &str) -> Vec<Value> {
    let objects: Vec<Option<Value>> = serde_saphyr::from_multiple(&checked_in(file)).unwrap();
    objects.into_iter().flatten().collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn names<'a>(objects: impl Iterator<Item = &'a Value>) -> BTreeSet<&'a str> {
    objects.filter_map(|object| object["metadata"]["name"].as_str()).collect()
}

/// The words in a list that is a variable of an admission policy.
fn words(admission: &[Value], policy: &str, variable: &str) -> BTreeSet<String> {
    let policy = of_kind(admission, "ValidatingAdmissionPolicy")
        .find(|found| found["metadata"]["name"] == policy)
        .unwrap();
    let variables = policy["spec"]["variables"].as_array().unwrap();
    let found = variables.iter().find(|found| found["name"] == variable).unwrap();
    let list = found["expression"].as_str().unwrap().replace('\'', "\"");
    serde_json::from_str::<Vec<String>>(&list).unwrap().into_iter().collect()
}

#[test]
fn admission_knows_exactly_the_fields_of_the_types() {
    let admission = objects("admission.yaml");
    let [names, policies, _] = definitions();
    let of_policies = [
        ("specFields", "spec"),
        ("serviceFields", "spec.services[]"),
        ("selectorFields", "spec.services[].selector"),
        ("requirementFields", "spec.services[].selector.matchExpressions[]"),
        ("callerFields", "spec.callers[]"),
    ];
    let of_names = [
        ("specFields", "spec"),
        ("portFields", "spec.ports[]"),
        ("checkFields", "spec.ports[].healthCheck"),
        ("tcpFields", "spec.ports[].healthCheck.tcp"),
        ("memberFields", "spec.members[]"),
        ("serviceFields", "spec.members[].service"),
    ];
    for (policy, definition, variables) in [
        ("policies.fedgate.dev", &policies, of_policies.as_slice()),
        ("federatedservices.fedgate.dev", &names, of_names.as_slice()),
    ] {
        let schema = schema(definition);
        for (variable, field) in variables {
            let place = schema.pointer(&pointer(field)).unwrap();
            let fields: BTreeSet<_> =
                place["properties"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(words(&admission, policy, variable), fields, "{policy} {field}");
        }
    }
}

#[test]
fn each_admission_policy_is_bound_and_denies() {
    let admission = objects("admission.yaml");
    let policies = names(of_kind(&admission, "ValidatingAdmissionPolicy"));
    let bindings = of_kind(&admission, "ValidatingAdmissionPolicyBinding");
    let denied = bindings
        .filter(|binding| binding["spec"]["validationActions"] == serde_json::json!(["Deny"]));
    assert_eq!(
        denied
            .filter_map(|binding| binding["spec"]["policyName"].as_str())
            .collect::<BTreeSet<_>>(),
        policies
    );
    assert_eq!(policies.len(), 4);
}

#[test]
fn no_role_has_a_wildcard_or_reads_others_secrets() {
    let rbac = objects("rbac.yaml");
    let roles = rbac.iter().filter(|object| object["rules"].is_array());
    let rules: Vec<_> = roles.flat_map(|role| role["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 10, "{}", rules.len());
    for rule in rules {
        assert!(!rule.to_string().contains('*'), "{rule}");
        let has = |list: &str, word: &str| {
            rule[list].as_array().is_some_and(|list| list.iter().any(|has| has == word))
        };
        if has("resources", "secrets") && rule["verbs"] != serde_json::json!(["create"]) {
            assert_eq!(rule["verbs"], serde_json::json!(["get", "list", "watch"]), "{rule}");
            assert_eq!(rule["resourceNames"], serde_json::json!(["fedgate-identity"]), "{rule}");
        }
    }
}

#[test]
fn each_role_is_bound_to_the_controller() {
    let rbac = objects("rbac.yaml");
    for (role, binding) in [("ClusterRole", "ClusterRoleBinding"), ("Role", "RoleBinding")] {
        let place = |object: &Value| {
            (object["metadata"]["namespace"].clone(), object["metadata"]["name"].clone())
        };
        let roles: Vec<_> = of_kind(&rbac, role).map(place).collect();
        let bound: Vec<_> = of_kind(&rbac, binding)
            .filter(|binding| {
                binding["subjects"][0]["name"] == "fedgate" && binding["roleRef"]["kind"] == role
            })
            .map(|binding| {
                (binding["metadata"]["namespace"].clone(), binding["roleRef"]["name"].clone())
            })
            .collect();
        assert_eq!(roles, bound);
    }
}
