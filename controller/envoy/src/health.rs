//! Answers for the health name (peer protocol, section 4). The gateway's Envoy does this itself,
//! with a listener that only local programs can reach. The egress has such a listener too, which
//! tells the controller whether the process runs.
//!
//! So an answer shows exactly that the whole way works: the peer's client, this gateway's TLS, the
//! filter and its table, and the cluster that the filter names. The controller is not involved and
//! may be down.

use super::resource::{extension, hash, typed};
use serde_json::{Value, json};

/// The listener's name.
const NAME: &str = "fedgate-health";

/// The path that is answered with 200.
pub(super) const PATH: &str = "/healthz";

/// The path of the listener's socket, in Linux's abstract namespace. So there is no file to create
/// or remove, and no port is taken. `of` distinguishes the gateways in one network namespace.
pub fn socket(of: &str) -> String {
    format!("@{NAME}-{}", hash(of.as_bytes()).chars().take(16).collect::<String>())
}

/// The address of the socket.
pub(super) fn address(socket: &str) -> Value {
    json!({ "pipe": { "path": socket } })
}

/// The listener: 200 for `/healthz`, 404 for everything else.
pub fn listener(socket: &str) -> Value {
    let answer =
        |status: u16, text: &str| json!({ "status": status, "body": { "inline_string": text } });
    let routes = json!([
        { "match": { "path": PATH }, "direct_response": answer(200, "ok\n") },
        { "match": { "prefix": "/" }, "direct_response": answer(404, "only /healthz is answered here\n") },
    ]);
    let manager = extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "fedgate_health",
            "route_config": { "name": NAME, "virtual_hosts": [{ "name": NAME, "domains": ["*"], "routes": routes }] },
            "http_filters": [extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router", json!({}))],
            // Clients of this listener send nothing else.
            "stream_idle_timeout": "15s",
            // Nothing gets lost inside this Envoy, so there is no reason to wait after the last
            // byte.
            "delayed_close_timeout": "0s",
            "common_http_protocol_options": { "idle_timeout": "120s" },
        }),
    );
    json!({ "name": NAME, "address": address(socket), "filter_chains": [{ "filters": [manager] }] })
}

/// The listener with its type, for Envoy's files.
pub(super) fn typed_listener(socket: &str) -> Value {
    typed("config.listener.v3.Listener", listener(socket))
}
