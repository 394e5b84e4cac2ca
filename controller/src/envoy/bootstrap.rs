//! What an Envoy is started with: who it is, where it finds the rest, and how much it takes.

use super::resource::{address, extension, source};
use super::{Connections, FilePath, stats};
use fedgate_core::TrustDomain;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The bootstrap of the Envoy with this `role`, whose files are in `folder`.
///
/// How many workers it has (`--concurrency`) and how long it drains (`--drain-time-s`) is said on its command line.
pub(super) fn bootstrap(
    role: &str,
    folder: &FilePath,
    trust_domain: &TrustDomain,
    admin: SocketAddr,
    connections: Connections,
) -> Value {
    let limit = json!({ "max_active_downstream_connections": connections.0 });
    let monitor = "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";
    json!({
        "node": { "id": format!("fedgate-{role}.{trust_domain}"), "cluster": trust_domain.as_str() },
        // Who looks for the reason of an overload must still get in.
        "admin": { "address": address(admin), "ignore_global_conn_limit": true },
        "dynamic_resources": {
            "lds_config": source(&folder.join("lds.json")),
            "cds_config": source(&folder.join("cds.json")),
        },
        "overload_manager": { "resource_monitors": [
            extension("envoy.resource_monitors.global_downstream_max_connections", monitor, limit),
        ] },
        "stats_config": stats::stats_config(),
        // Most clusters of a large federation are idle; their metrics are made with their first connection.
        "deferred_stat_options": { "enable_deferred_creation_stats": true },
    })
}
