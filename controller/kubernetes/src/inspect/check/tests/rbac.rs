//! Tests that the needs of the controller are exactly what `deploy/kubernetes/rbac.yaml` and
//! `deploy/mcs/rbac.yaml` grant.

use crate::inspect::check::facts::Need;
use crate::inspect::check::permissions::{needs, needs_of_mcs};
use crate::settings::Namespaces;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::Value;
use std::collections::BTreeSet;

const RBAC: &str = include_str!("../../../../../../deploy/kubernetes/rbac.yaml");
const MCS: &str = include_str!("../../../../../../deploy/mcs/rbac.yaml");

/// Group, resource with subresource, name, verb, namespace.
type Granted = (String, String, Option<String>, String, Option<String>);

fn granted(manifests: &str) -> BTreeSet<Granted> {
    let mut granted = BTreeSet::new();
    for document in manifests.split("\n---\n") {
        let value: Value = serde_saphyr::from_str(document).unwrap();
        match value["kind"].as_str() {
            Some("ClusterRole") => {
                let role: ClusterRole = serde_json::from_value(value).unwrap();
                role.rules.iter().flatten().for_each(|rule| add(&mut granted, rule, None));
            }
            Some("Role") => {
                let role: Role = serde_json::from_value(value).unwrap();
                role.rules
                    .iter()
                    .flatten()
                    .for_each(|rule| add(&mut granted, rule, role.metadata.namespace.as_deref()));
            }
            _ => {}
        }
    }
    granted
}

fn add(granted: &mut BTreeSet<Granted>, rule: &PolicyRule, namespace: Option<&str>) {
    let names = match rule.resource_names.as_deref() {
        None | Some([]) => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                for name in &names {
                    let namespace = namespace.map(str::to_owned);
                    granted.insert((
                        group.clone(),
                        resource.clone(),
                        name.clone(),
                        verb.clone(),
                        namespace,
                    ));
                }
            }
        }
    }
}

fn needed(need: &Need) -> Granted {
    let resource = match need.subresource {
        "" => need.resource.to_owned(),
        subresource => format!("{}/{subresource}", need.resource),
    };
    (
        need.group.to_owned(),
        resource,
        need.name.map(str::to_owned),
        need.verb.to_owned(),
        need.namespace.clone(),
    )
}

#[test]
fn exactly_the_needed_permissions_are_granted() {
    let granted = granted(RBAC);
    let needed: BTreeSet<_> =
        needs(&Namespaces::all_in("fedgate-system")).iter().map(needed).collect();
    let everywhere = |(group, resource, name, verb, _): &Granted| {
        granted.contains(&(group.clone(), resource.clone(), name.clone(), verb.clone(), None))
    };
    let missing: Vec<_> =
        needed.iter().filter(|need| !granted.contains(*need) && !everywhere(need)).collect();
    assert!(missing.is_empty(), "needed and not granted: {missing:#?}");
    let surplus: Vec<_> = granted.difference(&needed).collect();
    assert!(surplus.is_empty(), "granted and not needed: {surplus:#?}");
}

#[test]
fn the_multi_cluster_services_api_needs_exactly_its_own_role() {
    let needed: BTreeSet<_> = needs_of_mcs(true, true).iter().map(needed).collect();
    assert_eq!(granted(MCS), needed);
    let kinds = |exports, imports| -> BTreeSet<_> {
        needs_of_mcs(exports, imports).iter().map(|need| need.resource).collect()
    };
    assert_eq!(kinds(true, false), ["serviceexports"].into());
    assert_eq!(kinds(false, true), ["serviceimports"].into());
    assert!(kinds(false, false).is_empty());
}
