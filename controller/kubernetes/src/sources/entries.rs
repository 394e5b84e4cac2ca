//! Others' ServiceEntries, one of which may have an imported host.
//!
//! A sidecar has each host once. If two ServiceEntries have the same host, Istio chooses which of
//! them to use.

use crate::api::kind::Kind;
use crate::api::watch::Key;
use fedgate_federation::federate::{Import, Imports};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use kube::api::DynamicObject;
use std::collections::BTreeMap;

/// The maximum number of findings for one peer.
const MOST: usize = 10;

/// The hosts of a ServiceEntry that have the form of imported hosts.
pub(crate) type Hosts = Vec<String>;

/// Extracts the hosts.
pub(crate) fn keep(object: DynamicObject) -> Hosts {
    let hosts = object.data["spec"]["hosts"].as_array().into_iter().flatten();
    hosts
        .filter_map(|host| Some(host.as_str()?.to_ascii_lowercase()))
        .filter(|host| host.contains(".svc."))
        .collect()
}

/// A finding for each imported host that is also in another ServiceEntry.
pub(crate) fn taken(entries: &BTreeMap<Key, Hosts>, imports: &Imports) -> Vec<Finding> {
    let mut by_host: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for (key, hosts) in entries {
        hosts.iter().for_each(|host| by_host.entry(host).or_default().push(key));
    }
    if by_host.is_empty() {
        return Vec::new();
    }
    let mut found: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    for host in imports.by_host().filter_map(|ports| ports.first()) {
        let Some(others) = by_host.get(host.service.host.as_str()) else { continue };
        found.entry(host.peer.as_str()).or_default().push(finding(host, others));
    }
    found.into_iter().flat_map(|(peer, findings)| limited(peer, findings)).collect()
}

fn finding(import: &Import, others: &[&Key]) -> Finding {
    let first = others
        .iter()
        .take(3)
        .map(|key| format!("{}/{}", key.namespace, key.name))
        .collect::<Vec<_>>()
        .join(", ");
    let more = others.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!(
        "its host {} is also in {} {first}{more}, and sidecars use only one of them; delete that object, or ask the peer to withdraw its \
         Service",
        import.service.host,
        Kind::ServiceEntry.name()
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
        let imports = Sample::healthy().snapshot().in_force.federation.imports;
        let found = |entries: &[(Key, Hosts)]| taken(&entries.iter().cloned().collect(), &imports);
        let host = imports.iter().next().unwrap().service.host.as_str();
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
        assert_eq!(read(json!([1, null, "a.b.svc.c", "a.example"])), ["a.b.svc.c"]);
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
