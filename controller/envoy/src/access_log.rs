//! Access logs: one line of JSON for each connection, written when it ends.
//!
//! The listener writes them, not tcp_proxy, so they include connections that never reached
//! tcp_proxy.

use super::AccessLog;
use super::resource::extension;
use fedgate_core::ServiceName;
use serde_json::{Value, json};

/// What the gateway knows of a connection: the filter's decision, the client, and how it ended.
///
/// Behind a load balancer that sends the PROXY protocol, `client` is the client's own address, and
/// `balancer` is the address that the connection came from.
pub fn gateway_log(log: &AccessLog, proxy_protocol: bool) -> Value {
    let mut format = json!({
        "time": "%START_TIME%",
        "connection": "%CONNECTION_ID%",
        "outcome": decided("outcome"),
        "reason": decided("reason"),
        "peer": decided("peer"),
        "service": decided("service"),
        "generation": decided("generation"),
        "sni": "%REQUESTED_SERVER_NAME%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "client_uri_san": "%DOWNSTREAM_PEER_URI_SAN%",
        "client_issuer": "%DOWNSTREAM_PEER_ISSUER%",
        "tls_version": "%DOWNSTREAM_TLS_VERSION%",
        "tls_failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
        "flags": "%RESPONSE_FLAGS%",
        "cluster": "%UPSTREAM_CLUSTER_RAW%",
        "endpoint": "%UPSTREAM_HOST%",
        "endpoint_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
    });
    if proxy_protocol {
        format["balancer"] = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%".into();
    }
    access_log(log, format)
}

/// A value from the filter's decision.
fn decided(what: &str) -> String {
    format!("%FILTER_STATE(wasm.fedgate.{what}:PLAIN)%")
}

/// The same for a connection by server name. `reason` says why it was closed without a service:
/// `filter_chain_not_found` if the name is none of an import, or there is none.
pub(super) fn named_log(log: &AccessLog) -> Value {
    let mut format = egress_format("%FILTER_CHAIN_NAME%");
    format["sni"] = "%REQUESTED_SERVER_NAME%".into();
    format["reason"] = "%RESPONSE_CODE_DETAILS%".into();
    access_log(log, format)
}

/// What the egress knows of a connection: its service, and which gateway of the peer accepted it or
/// why none did.
pub(super) fn egress_log(log: &AccessLog, service: &ServiceName) -> Value {
    access_log(log, egress_format(&service.to_string()))
}

/// The same for a federated name, and the member that took the connection.
pub(super) fn federated_log(log: &AccessLog, service: &ServiceName) -> Value {
    let mut format = egress_format(&service.to_string());
    format["member"] = "%METADATA(UPSTREAM_HOST:fedgate:member)%".into();
    access_log(log, format)
}

fn egress_format(service: &str) -> Value {
    json!({
        "time": "%START_TIME%",
        "connection": "%CONNECTION_ID%",
        "service": service,
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "cluster": "%UPSTREAM_CLUSTER_RAW%",
        "gateway": "%UPSTREAM_HOST%",
        "gateway_uri_san": "%UPSTREAM_PEER_URI_SAN%",
        "gateway_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "tls_version": "%UPSTREAM_TLS_VERSION%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
    })
}

fn access_log(log: &AccessLog, format: Value) -> Value {
    let log_format = json!({ "json_format": format });
    match log {
        AccessLog::Stdout => extension(
            "envoy.access_loggers.stdout",
            "extensions.access_loggers.stream.v3.StdoutAccessLog",
            json!({ "log_format": log_format }),
        ),
        AccessLog::File(path) => extension(
            "envoy.access_loggers.file",
            "extensions.access_loggers.file.v3.FileAccessLog",
            json!({ "path": path.as_str(), "log_format": log_format }),
        ),
    }
}
