//! Checks whether fedgate can work in this mesh.

use super::facts::{Facts, Istiod, is};
use super::report::{Check, Section};
use super::{ambient, istio_version, mcs, names};
use crate::inspect::snapshot::Snapshot;
use fedgate_federation::bundle::roots_from_pem;
use fedgate_federation::document::Limits;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn section(snapshot: &Snapshot, facts: &Facts) -> Section {
    let name = format!("mesh with the root namespace {}", snapshot.record.namespaces.root);
    let of_config = |name, title, judge: &dyn Fn(&Value) -> Check| match &facts.mesh.config {
        Ok(config) => judge(config),
        Err(why) => Check::skipped(name, title, why),
    };
    let of_istiods =
        |name, title, judge: &dyn Fn(&[Istiod]) -> Check| match facts.mesh.istiods.as_deref() {
            Ok([]) => {
                Check::skipped(name, title, "there is no Deployment of istiod in this cluster")
            }
            Ok(istiods) => judge(istiods),
            Err(why) => Check::skipped(name, title, why),
        };
    let istiods = facts.mesh.istiods.as_deref().unwrap_or_default();
    let mut checks = vec![
        istio_version::check(facts, snapshot.record.namespaces.delivery),
        of_config("mesh-trust-domain", TRUST_DOMAIN, &|config| trust_domain(config, snapshot)),
        of_config("outbound-policy", OUTBOUND, &outbound),
        of_istiods("gateway-clusters", CLUSTERS, &clusters),
        names::check(snapshot, facts),
        of_config("mesh-roots", ROOTS, &|config| roots(config, snapshot)),
        ambient::clients(snapshot, facts),
        of_config("peers-network", ambient::NETWORKS, &|config| ambient::networks(config, istiods)),
    ];
    if mcs::is_used(snapshot) {
        checks.push(of_istiods(mcs::NAME, mcs::TITLE, &|istiods| mcs::check(snapshot, istiods)));
    }
    Section { name, checks }
}

const TRUST_DOMAIN: &str = "the mesh's trust domain is ours";

fn trust_domain(config: &Value, snapshot: &Snapshot) -> Check {
    let ours = snapshot.in_force.local.trust_domain.as_str();
    let found =
        config["trustDomain"].as_str().filter(|found| !found.is_empty()).unwrap_or("cluster.local");
    if found == ours {
        return Check::ok("mesh-trust-domain", TRUST_DOMAIN, ours);
    }
    let hint = "peers accept only identities of the trust domain that we publish: set meshConfig.trustDomain and --trust-domain to the same value, \
                and restart istiod and the workloads";
    Check::failed(
        "mesh-trust-domain",
        TRUST_DOMAIN,
        format!("the mesh's is {found}, ours {ours}"),
        hint,
    )
}

const OUTBOUND: &str = "imports can be called under the mesh's outbound traffic policy";

/// Imports are ServiceEntries, so they are in the registry and any policy allows them.
fn outbound(config: &Value) -> Check {
    let policy = config["outboundTrafficPolicy"]["mode"].as_str().unwrap_or("ALLOW_ANY");
    Check::ok("outbound-policy", OUTBOUND, policy)
}

const CLUSTERS: &str = "istiod sends gateways all services";

fn clusters(istiods: &[Istiod]) -> Check {
    const VARIABLE: &str = "PILOT_FILTER_GATEWAY_CLUSTER_CONFIG";
    let filters = istiods
        .iter()
        .find(|istiod| is(istiod.environment.get(VARIABLE).map(String::as_str), "true"));
    match filters {
        None => Check::ok("gateway-clusters", CLUSTERS, ""),
        Some(istiod) => {
            let hint = format!(
                "remove {VARIABLE} from istiod's environment; to hide services from a gateway, use a Sidecar resource or exportTo"
            );
            let detail = format!(
                "{} has {VARIABLE}=true, so the gateway lacks the services that no VirtualService names, and refuses calls to them (no_route)",
                istiod.name
            );
            Check::failed("gateway-clusters", CLUSTERS, detail, hint)
        }
    }
}

const ROOTS: &str = "the mesh itself trusts no peer's roots";

/// What the mesh trusts, it trusts for every name.
fn roots(config: &Value, snapshot: &Snapshot) -> Check {
    let peers = &snapshot.in_force.federation.peers;
    let entries = config["caCertificates"].as_array().into_iter().flatten();
    let mut found = BTreeSet::new();
    for entry in entries {
        let pem = roots_from_pem(
            entry["pem"].as_str().unwrap_or_default(),
            Limits::default().certificate_bytes,
        );
        let roots: BTreeSet<_> = pem.into_iter().flatten().map(|root| root.fingerprint()).collect();
        let named = |domain: &str| {
            entry["trustDomains"]
                .as_array()
                .is_some_and(|domains| domains.iter().any(|other| other == domain))
        };
        let of_peer = peers.iter().filter(|report| {
            report.roots.iter().any(|root| roots.contains(root))
                || named(report.peer.trust_domain.as_str())
        });
        found.extend(of_peer.map(|report| report.peer.name.to_string()));
    }
    if found.is_empty() {
        return Check::ok("mesh-roots", ROOTS, "");
    }
    let peers = found.into_iter().collect::<Vec<_>>().join(", ");
    let hint = "Istio trusts each of meshConfig.caCertificates for every trust domain, whatever its trustDomains say: such a peer can sign an identity of \
                any other trust domain, including yours. fedgate does not need them; remove them";
    Check::warning(
        "mesh-roots",
        ROOTS,
        format!("meshConfig.caCertificates has those of {peers}"),
        hint,
    )
}
