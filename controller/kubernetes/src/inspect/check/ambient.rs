//! Ambient clients. ztunnel cannot hold a call to a peer's roots, so it must refuse calls to
//! imports. The form of the ServiceEntries makes it do so (`sinks::imports`). These checks find the
//! affected clients, and whether sidecars of this mesh accept that form.

use super::facts::{AmbientClients, Facts, Istiod, is};
use super::report::Check;
use crate::inspect::snapshot::Snapshot;
use crate::sinks::imports::PEERS_NETWORK;
use serde_json::Value;

pub(super) const CLIENTS: &str = "the workloads that may call imports have sidecars";

/// Names the clients whose calls are refused.
pub(super) fn clients(snapshot: &Snapshot, facts: &Facts) -> Check {
    let found = match &facts.mesh.ambient {
        Ok(found) => found,
        Err(why) => return Check::skipped("ambient-clients", CLIENTS, why),
    };
    if found.is_empty() {
        return Check::ok("ambient-clients", CLIENTS, "no namespace and no Pod is in ambient mode");
    }
    let named = named(found);
    if snapshot.in_force.federation.imports.is_empty() {
        return Check::ok(
            "ambient-clients",
            CLIENTS,
            format!("in ambient mode: {named}; there are no imports"),
        );
    }
    let detail = format!(
        "in ambient mode: {named}; ztunnel refuses their calls to imports before a byte leaves, because it cannot bind a call to the peer's roots"
    );
    let hint = "give the workloads that call imports a sidecar instead of ambient mode (the labels istio.io/dataplane-mode: none and \
                sidecar.istio.io/inject: \"true\" on their Pods); the others need no change";
    Check::warning("ambient-clients", CLIENTS, detail, hint)
}

fn named(AmbientClients { namespaces, pods }: &AmbientClients) -> String {
    let list =
        |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>().join(", ");
    let namespaces = (!namespaces.is_empty())
        .then(|| format!("the namespaces {}", list(&mut namespaces.iter())));
    let pods = (!pods.is_empty()).then(|| format!("Pods in {}", list(&mut pods.iter())));
    namespaces.into_iter().chain(pods).collect::<Vec<_>>().join(", ")
}

pub(super) const NETWORKS: &str = "istiod sends proxies the addresses of the peers' gateways";

/// Checks that proxies see the network of the peers' gateways, which has no network gateway.
pub(super) fn networks(config: &Value, istiods: &[Istiod]) -> Check {
    const VARIABLE: &str = "AMBIENT_ENABLE_MULTI_NETWORK";
    const VIEW: &str = "ISTIO_META_REQUESTED_NETWORK_VIEW";
    let view = config["defaultConfig"]["proxyMetadata"][VIEW].as_str().unwrap_or_default();
    if !view.is_empty() && view.split(',').all(|network| network.trim() != PEERS_NETWORK) {
        let detail = format!(
            "{VIEW} is {view}, which excludes the network {PEERS_NETWORK}, so proxies have no endpoints of imports"
        );
        let hint = format!(
            "add {PEERS_NETWORK} to {VIEW} in meshConfig.defaultConfig.proxyMetadata, and restart the workloads"
        );
        return Check::failed("peers-network", NETWORKS, detail, hint);
    }
    let multi = istiods
        .iter()
        .find(|istiod| is(istiod.environment.get(VARIABLE).map(String::as_str), "true"));
    let Some(istiod) = multi else { return Check::ok("peers-network", NETWORKS, "") };
    let detail = format!(
        "{} has {VARIABLE}=true. Then Istio's gateways get no endpoints in a network without a network gateway, and neither do sidecars if the \
         mesh has network gateways; their calls to imports are refused",
        istiod.name
    );
    let hint = format!(
        "remove {VARIABLE} from istiod's environment, or call imports from proxies without ISTIO_META_NETWORK"
    );
    Check::warning("peers-network", NETWORKS, detail, hint)
}
