//! Checks whether programs can resolve the names of imports and of `FederatedService`s: sidecars answer DNS, or the cluster's
//! DNS forwards the peers' zones to `fedgate dns`.

use super::facts::{Facts, Istiod, is};
use super::report::Check;
use crate::inspect::names::{self, NameService, Server};
use crate::inspect::snapshot::Snapshot;
use serde_json::Value;
use std::collections::BTreeSet;

const NAME: &str = "names-resolve";
const TITLE: &str = "programs can resolve the names of imports";

pub(super) fn check(snapshot: &Snapshot, facts: &Facts) -> Check {
    let captured = facts.mesh.config.as_ref().map(captures);
    let istiods = facts.mesh.istiods.as_deref().unwrap_or_default();
    match (captured, &facts.names.service) {
        (_, Ok(service)) if let Some(overlap) = overlap(snapshot, service) => overlap,
        (Ok(true), service) => by_sidecars(&facts.mesh.config, istiods, service.as_ref().ok()),
        (_, Ok(service)) if service.server.is_some() || !service.addresses.is_empty() => {
            by_server(snapshot, service, &facts.names.corefile)
        }
        (Ok(false), _) => nobody(),
        (Err(why), _) => Check::skipped(NAME, TITLE, why),
    }
}

fn captures(config: &Value) -> bool {
    says(config, "ISTIO_META_DNS_CAPTURE")
}

fn says(config: &Value, name: &str) -> bool {
    let value = &config["defaultConfig"]["proxyMetadata"][name];
    is(value.as_str(), "true") || *value == true
}

fn nobody() -> Check {
    let hint = "set meshConfig.defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE to \"true\" and restart the workloads; or set it for single \
                workloads with the annotation proxy.istio.io/config. Without it, set the chart's imports.addresses and dns.enabled \
                (docs/names.md)";
    let detail = "sidecars do not answer DNS (ISTIO_META_DNS_CAPTURE), and imports have no addresses of ours";
    Check::warning(NAME, TITLE, detail, hint)
}

/// An address that also belongs to a Pod or a Service would take its calls.
fn overlap(snapshot: &Snapshot, service: &NameService) -> Option<Check> {
    let network = &snapshot.in_force.local.network;
    let taken = |address| {
        let mut all = network.pod_cidrs.iter().chain(&network.service_cidrs);
        all.find(|cidr| cidr.contains(address))
    };
    let mut all = service
        .addresses
        .iter()
        .flat_map(|(host, addresses)| addresses.iter().map(move |address| (host, address)));
    let (host, address, cidr) =
        all.find_map(|(host, address)| Some((host, address, taken(address)?)))?;
    let hint = "choose another range in the chart's imports.addresses (--import-addresses), one that nothing in this cluster uses";
    let detail = format!("{host} has {address}, which is in this cluster's {cidr}");
    Some(Check::failed(NAME, TITLE, detail, hint))
}

fn by_sidecars(
    config: &Result<Value, String>,
    istiods: &[Istiod],
    service: Option<&NameService>,
) -> Check {
    let has_ours = service.is_some_and(|service| !service.addresses.is_empty());
    let off = |istiod: &Istiod| {
        is(istiod.environment.get("PILOT_ENABLE_IP_AUTOALLOCATE").map(String::as_str), "false")
    };
    let allocates =
        config.as_ref().is_ok_and(|config| says(config, "ISTIO_META_DNS_AUTO_ALLOCATE"));
    if !has_ours && !allocates && istiods.iter().any(off) {
        let hint = "remove PILOT_ENABLE_IP_AUTOALLOCATE=false from istiod's environment, or set the chart's imports.addresses, so that each \
                    import gets an address";
        return Check::warning(
            NAME,
            TITLE,
            "sidecars answer DNS, but imports have no addresses",
            hint,
        );
    }
    Check::ok(NAME, TITLE, "sidecars answer DNS")
}

fn by_server(
    snapshot: &Snapshot,
    service: &NameService,
    corefile: &Result<String, String>,
) -> Check {
    let federation = &snapshot.in_force.federation;
    let imports = &federation.imports;
    let federated = federation.federated_services.iter().map(|name| name.host.as_str());
    let mut hosts = imports.iter().map(|import| import.service.host.as_str()).chain(federated);
    if let Some(host) = hosts.find(|host| !service.addresses.contains_key(*host)) {
        let hint = "set the chart's imports.addresses (--import-addresses) to a range that nothing in this cluster uses; if it is set, the \
                    controller's log says why this host has none";
        return Check::warning(NAME, TITLE, format!("{host} has no address of ours"), hint);
    }
    let Some(Server { address, ready }) = &service.server else {
        let hint = "set the chart's dns.enabled to true; or give your name server the lines of `kubectl fedgate names --output hosts`";
        let detail = "imports have addresses, but there is no Service fedgate-dns that answers for their names";
        return Check::warning(NAME, TITLE, detail, hint);
    };
    if !ready {
        let hint = "see `kubectl get pods` and the logs of the Deployment fedgate-dns";
        return Check::failed(NAME, TITLE, "no Pod of the Service fedgate-dns is ready", hint);
    }
    let forwarded: BTreeSet<String> = match corefile {
        Ok(corefile) => names::forwarded(corefile, *address).into_iter().collect(),
        Err(why) => return unknown(why),
    };
    let peers = imports.by_peer().filter(|(_, imports)| !imports.is_empty());
    let mut zones: BTreeSet<_> = peers.map(|(domain, _)| format!("svc.{domain}")).collect();
    if !federation.federated_services.is_empty() {
        zones.insert(snapshot.in_force.local.federated_suffix.to_string());
    }
    let missing: Vec<_> = zones.difference(&forwarded).cloned().collect();
    match missing.is_empty() {
        true => {
            Check::ok(NAME, TITLE, format!("CoreDNS forwards {}", some(&Vec::from_iter(zones))))
        }
        false => not_forwarded(&missing),
    }
}

fn not_forwarded(missing: &[String]) -> Check {
    let hint = "append the output of `kubectl fedgate names --output corefile` to the Corefile in the ConfigMap kube-system/coredns";
    let detail = format!("CoreDNS does not forward {} to the Service fedgate-dns", some(missing));
    Check::warning(NAME, TITLE, detail, hint)
}

/// The first three.
fn some(zones: &[String]) -> String {
    let shown = zones.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match zones.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn unknown(why: &str) -> Check {
    let hint = "make sure that the cluster's DNS forwards the zones in `kubectl fedgate names --output corefile` to the Service fedgate-dns, \
                and resolve a name in a Pod";
    let detail =
        format!("fedgate-dns answers, but it is unknown whether the cluster's DNS asks it: {why}");
    Check::warning(NAME, TITLE, detail, hint)
}
