//! Others' ServiceEntries, one of which may have an imported host, or that of a `FederatedService`.
//!
//! A sidecar has each host once. If two ServiceEntries have the same host, Istio chooses which of
//! them to use.

use crate::api::kind::Kind;
use crate::api::watch::Key;
use fedgate_federation::federate::Import;
use fedgate_federation::{Federation, Finding, FindingReason, ObjectRef};
use kube::api::DynamicObject;
use std::collections::BTreeMap;

/// The maximum number of findings for one peer.
const MOST: usize = 10;

/// The hosts of a ServiceEntry.
pub(crate) type Hosts = Vec<String>;

/// Extracts the hosts.
pub(crate) fn keep(object: DynamicObject) -> Hosts {
    let hosts = object.data["spec"]["hosts"].as_array().into_iter().flatten();
    hosts.filter_map(|host| Some(host.as_str()?.to_ascii_lowercase())).collect()
}

/// A finding for each imported host, and for each host of a `FederatedService`, that is also in
/// another ServiceEntry.
pub(crate) fn taken(entries: &BTreeMap<Key, Hosts>, federation: &Federation) -> Vec<Finding> {
    let mut by_host: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for (key, hosts) in entries {
        hosts.iter().for_each(|host| by_host.entry(host).or_default().push(key));
    }
    if by_host.is_empty() {
        return Vec::new();
    }
    let mut found: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    for host in federation.imports.by_host().filter_map(|ports| ports.first()) {
        let Some(others) = by_host.get(host.service.host.as_str()) else { continue };
        found.entry(host.peer.as_str()).or_default().push(finding(host, others));
    }
    let imports = found.into_iter().flat_map(|(peer, findings)| limited(peer, findings));
    let names = federation.federated_services.iter().filter_map(|service| {
        let others = by_host.get(service.host.as_str())?;
        let message = format!(
            "its host {} is also in {}, and sidecars use only one of them; delete that object, or choose another host",
            service.host,
            listed(others)
        );
        Some(Finding::warning(FindingReason::HostTaken, service.object(), "spec.host", message))
    });
    imports.chain(names).collect()
}

/// The first three, in words.
fn listed(others: &[&Key]) -> String {
    let first = others
        .iter()
        .take(3)
        .map(|key| format!("{}/{}", key.namespace, key.name))
        .collect::<Vec<_>>()
        .join(", ");
    let more = others.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} {first}{more}", Kind::ServiceEntry.name())
}

fn finding(import: &Import, others: &[&Key]) -> Finding {
    let message = format!(
        "its host {} is also in {}, and sidecars use only one of them; delete that object, or ask the peer to withdraw its \
         Service",
        import.service.host,
        listed(others)
    );
    Finding::warning(
        FindingReason::HostTaken,
        ObjectRef::federation(import.peer.as_str()),
        "",
        message,
    )
}

fn limited(peer: &str, mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MOST);
    findings.truncate(MOST);
    if more > 0 {
        let message = format!("{more} more of its hosts are also in other ServiceEntries");
        findings.push(Finding::warning(
            FindingReason::HostTaken,
            ObjectRef::federation(peer),
            "",
            message,
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use serde_json::json;

    fn entry(namespace: &str, hosts: &[&str]) -> (Key, Hosts) {
        let object = json!({ "metadata": { "name": "x", "namespace": namespace }, "spec": { "hosts": hosts } });
        (
            Key { namespace: namespace.into(), name: "x".into() },
            keep(serde_json::from_value(object).unwrap()),
        )
    }

    #[test]
    fn an_imported_host_in_anothers_service_entry_is_a_finding() {
        let federation = Sample::healthy().snapshot().in_force.federation;
        let found =
            |entries: &[(Key, Hosts)]| taken(&entries.iter().cloned().collect(), &federation);
        let host = federation.imports.iter().next().unwrap().service.host.as_str();
        assert!(found(&[]).is_empty());
        assert!(found(&[entry("a", &["other.svc.beta.example", "web.example"])]).is_empty());
        let findings =
            found(&[entry("a", &["x.example", host]), entry("b", &[&host.to_uppercase()])]);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let text = findings[0].to_string();
        assert!(
            text.contains("IstioFederation beta")
                && text.contains(host)
                && text.contains("a/x, b/x"),
            "{text}"
        );
    }

    #[test]
    fn invalid_hosts_are_ignored() {
        let read = |hosts: serde_json::Value| {
            keep(
                serde_json::from_value(
                    json!({ "metadata": { "name": "x" }, "spec": { "hosts": hosts } }),
                )
                .unwrap(),
            )
        };
        assert!(read(json!("web.shop.svc.beta.example")).is_empty());
        assert_eq!(read(json!([1, null, "a.b.svc.c", "a.example"])), ["a.b.svc.c", "a.example"]);
    }

    #[test]
    fn the_findings_of_a_peer_are_limited() {
        let imports = Sample::healthy().snapshot().in_force.federation.imports;
        let findings = vec![finding(imports.iter().next().unwrap(), &[]); MOST + 5];
        let kept = limited("beta", findings);
        assert_eq!(kept.len(), MOST + 1);
        assert!(kept[MOST].message.starts_with("5 more"));
    }
}
