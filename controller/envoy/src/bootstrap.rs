//! The bootstrap of an Envoy: its identity, and where it finds its other files.

use super::resource::{address, source};
use super::{FilePath, limits, stats};
use fedgate_core::TrustDomain;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The bootstrap of the Envoy with this `role`, whose files are in `folder`.
///
/// The number of workers (`--concurrency`) and the drain time (`--drain-time-s`) are set on Envoy's
/// command line. `more_layers` are added to Envoy's runtime.
pub(super) fn bootstrap(
    role: &str,
    folder: &FilePath,
    trust_domain: &TrustDomain,
    admin: SocketAddr,
    more_layers: Vec<Value>,
) -> Value {
    let layers: Vec<_> = limits::layers(folder).into_iter().chain(more_layers).collect();
    json!({
        "node": { "id": format!("fedgate-{role}.{trust_domain}"), "cluster": trust_domain.as_str() },
        // Someone who investigates an overload must still get in.
        "admin": { "address": address(admin), "ignore_global_conn_limit": true },
        "dynamic_resources": {
            "lds_config": source(&folder.join("lds.json")),
            "cds_config": source(&folder.join("cds.json")),
        },
        "layered_runtime": { "layers": layers },
        "stats_config": stats::stats_config(),
        // In a large federation most clusters are idle. Their metrics are created with the first
        // connection.
        "deferred_stat_options": { "enable_deferred_creation_stats": true },
    })
}
