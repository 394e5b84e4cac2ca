//! Where the egress says which members of federated names it finds alive.
//!
//! Its answers come from what Envoy itself goes by: health checks, and addresses that failed a
//! call. Only local programs reach the listener.

use super::federated::cluster_of;
use super::health;
use super::resource::{extension, typed};
use fedgate_core::ServiceName;
use serde_json::{Value, json};

/// The listener's name.
const NAME: &str = "fedgate-members";

/// The path that is answered with 200 while an address of the member is in rotation, and with 503
/// otherwise.
pub fn path(member: &ServiceName) -> String {
    format!("/members/{member}")
}

/// The listener for these members.
pub(super) fn listener(socket: &str, members: &[ServiceName]) -> Value {
    let checks = members.iter().map(|member| {
        let fields = json!({
            "pass_through_mode": false,
            "headers": [{ "name": ":path", "string_match": { "exact": path(member) } }],
            // At least one address of up to a hundred.
            "cluster_min_healthy_percentages": { cluster_of(member): { "value": 1 } },
        });
        extension(
            "envoy.filters.http.health_check",
            "extensions.filters.http.health_check.v3.HealthCheck",
            fields,
        )
    });
    let router = extension(
        "envoy.filters.http.router",
        "extensions.filters.http.router.v3.Router",
        json!({}),
    );
    let other = json!({ "status": 404, "body": { "inline_string": "there is no such member\n" } });
    let routes = json!([{ "match": { "prefix": "/" }, "direct_response": other }]);
    let manager = extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "fedgate_members",
            "route_config": { "name": NAME, "virtual_hosts": [{ "name": NAME, "domains": ["*"], "routes": routes }] },
            "http_filters": checks.chain([router]).collect::<Vec<_>>(),
            "stream_idle_timeout": "15s",
            "delayed_close_timeout": "0s",
            "common_http_protocol_options": { "idle_timeout": "120s" },
        }),
    );
    typed(
        "config.listener.v3.Listener",
        json!({
            "name": NAME,
            "address": health::address(socket),
            "filter_chains": [{ "filters": [manager] }],
        }),
    )
}
