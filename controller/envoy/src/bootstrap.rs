//! What an Envoy is started with: who it is, and where it finds the rest.

use super::resource::{address, source};
use super::{FilePath, limits, stats};
use fedgate_core::TrustDomain;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The bootstrap of the Envoy with this `role`, whose files are in `folder`.
///
/// How many workers it has (`--concurrency`) and how long it drains (`--drain-time-s`) is said on its command line.
pub(super) fn bootstrap(role: &str, folder: &FilePath, trust_domain: &TrustDomain, admin: SocketAddr) -> Value {
    json!({
        "node": { "id": format!("fedgate-{role}.{trust_domain}"), "cluster": trust_domain.as_str() },
        // Who looks for the reason of an overload must still get in.
        "admin": { "address": address(admin), "ignore_global_conn_limit": true },
        "dynamic_resources": {
            "lds_config": source(&folder.join("lds.json")),
            "cds_config": source(&folder.join("cds.json")),
        },
        "layered_runtime": limits::layers(folder),
        "stats_config": stats::stats_config(),
        // Most clusters of a large federation are idle; their metrics are made with their first connection.
        "deferred_stat_options": { "enable_deferred_creation_stats": true },
    })
}
