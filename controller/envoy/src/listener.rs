//! Listeners: the gateway's one, and the egress's one for each import.

use super::access_log::{egress_log, gateway_log};
use super::connections::{BUFFER, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};
use super::resource::{address, extension, metric_name, typed};
use super::{AccessLog, FilePath, GatewayInputs, cluster, filter, trust};
use fedgate_core::ServiceName;
use serde_json::{Value, json};
use std::net::SocketAddr;

const LISTENER: &str = "config.listener.v3.Listener";

/// How long a client may take for its TLS handshake, as Istio's gateways allow.
const HANDSHAKE: &str = "15s";

/// How long a client may leave unread what is sent to it, in milliseconds, before its connection is ended; as long as nginx's
/// `send_timeout` and MySQL's `net_write_timeout`.
///
/// The filter can close a connection in one way only: once everything has been sent. A client whose access was taken back, and
/// who stopped reading before, would keep its connection open on both sides for as long as it answers the kernel's probes.
const UNREAD: u32 = 60_000;

/// How long a client may take for its first message, before the handshake: it holds a place from its first packet on.
const FIRST_MESSAGE: &str = "5s";

/// How many gateways of a peer a connection tries one after another, before it is given up. Bytes that the client has sent
/// by then wait; a server that was not reached has seen none of them.
const CONNECT_ATTEMPTS: u32 = 3;

/// The same for an export's endpoints.
const ENDPOINT_ATTEMPTS: u32 = 5;

/// The federation listener.
///
/// Its own route is the black hole, so without the filter nothing passes. tcp_proxy takes its cluster when it starts, and it
/// starts when the filter lets the connection on; `max_early_data_bytes` makes it leave the connection readable until then,
/// without which a paused connection never finishes its handshake.
pub(super) fn federation(
    inputs: &GatewayInputs<'_>,
    identity: &FilePath,
    bundles: &FilePath,
    table: &FilePath,
) -> Value {
    let inspector = "extensions.filters.listener.tls_inspector.v3.TlsInspector";
    let mut listener = json!({
        "name": "federation",
        "stat_prefix": "federation",
        "address": address(inputs.listen),
        "access_log": [gateway_log(inputs.access_log)],
        "listener_filters_timeout": FIRST_MESSAGE,
        "per_connection_buffer_limit_bytes": BUFFER,
        "socket_options": socket_options(),
        "listener_filters": [extension("envoy.filters.listener.tls_inspector", inspector, json!({}))],
        "filter_chains": [{
            "name": "federation",
            "transport_socket_connect_timeout": HANDSHAKE,
            "transport_socket": trust::downstream_tls(identity, bundles),
            "filters": [
                peer_uri_sans(),
                filter::in_listener(table),
                tcp_proxy(json!({
                    "stat_prefix": "federation",
                    "cluster": cluster::BLACK_HOLE,
                    "max_early_data_bytes": 0,
                    "max_connect_attempts": ENDPOINT_ATTEMPTS,
                })),
            ],
        }],
    });
    accept_both_families(&mut listener, inputs.listen);
    typed(LISTENER, listener)
}

/// The socket option by which the kernel ends a connection whose client does not read, also when it still answers (Linux 5.11 and later).
/// Accepted connections have it from their listener.
pub fn unread_timeout() -> Value {
    const IPPROTO_TCP: u32 = 6;
    const TCP_USER_TIMEOUT: u32 = 18;
    json!({
        "description": "TCP_USER_TIMEOUT",
        "level": IPPROTO_TCP,
        "name": TCP_USER_TIMEOUT,
        "int_value": UNREAD,
        "state": "STATE_PREBIND",
    })
}

/// Tells the filter who the client is, once the handshake is over: all URI SANs, joined by commas. What a client shows before
/// that proves nothing: it may send anybody's certificate and keep the proof of its key back.
///
/// The key says `handshake` since filters of an earlier version look for that, and take any text for the handshake's end.
pub fn peer_uri_sans() -> Value {
    let names = json!({ "text_format_source": { "inline_string": "%DOWNSTREAM_PEER_URI_SAN%" } });
    let state = json!({ "object_key": "fedgate.handshake", "factory_key": "envoy.string", "format_string": names });
    extension(
        "envoy.filters.network.set_filter_state",
        "extensions.filters.network.set_filter_state.v3.Config",
        json!({ "on_downstream_tls_handshake": [state] }),
    )
}

/// Tells the filter that this chain passes TLS through, so that there is no identity to wait for.
pub fn passed_through() -> Value {
    let passed = json!({ "text_format_source": { "inline_string": "passed" } });
    on_new_connection(
        json!({ "object_key": "fedgate.passthrough", "factory_key": "envoy.string", "format_string": passed }),
    )
}

fn on_new_connection(state: Value) -> Value {
    extension(
        "envoy.filters.network.set_filter_state",
        "extensions.filters.network.set_filter_state.v3.Config",
        json!({ "on_new_connection": [state] }),
    )
}

/// Linux's names and numbers of the options; accepted connections inherit them.
fn socket_options() -> Value {
    const SOL_SOCKET: u32 = 1;
    const IPPROTO_TCP: u32 = 6;
    let option = |level: u32, name: u32, value: u32, description: &str| json!({ "level": level, "name": name, "int_value": value, "description": description });
    json!([
        unread_timeout(),
        option(SOL_SOCKET, 9, 1, "SO_KEEPALIVE"),
        option(IPPROTO_TCP, 4, KEEPALIVE_IDLE, "TCP_KEEPIDLE"),
        option(IPPROTO_TCP, 5, KEEPALIVE_INTERVAL, "TCP_KEEPINTVL"),
        option(IPPROTO_TCP, 6, KEEPALIVE_PROBES, "TCP_KEEPCNT"),
    ])
}

/// `[::]` takes IPv4 as well.
fn accept_both_families(listener: &mut Value, listen: SocketAddr) {
    if listen.is_ipv6() && listen.ip().is_unspecified() {
        listener["address"]["socket_address"]["ipv4_compat"] = true.into();
    }
}

/// The local port of an import, whose connections go through the cluster `way` under the service's own server name.
///
/// Envoy would share the port with any other Envoy of the same user (`SO_REUSEPORT`), and each would get some of the
/// connections; so one socket for all workers, and whoever comes second is refused.
pub(super) fn import(service: &ServiceName, way: &str, listen: SocketAddr, access_log: &AccessLog) -> Value {
    let listener = json!({
        "name": service.to_string(),
        "stat_prefix": metric_name(&service.cluster()),
        "address": address(listen),
        "enable_reuse_port": false,
        "per_connection_buffer_limit_bytes": BUFFER,
        "access_log": [egress_log(access_log, service)],
        "filter_chains": [{ "filters": [server_name(service), tcp_proxy(json!({
            "stat_prefix": metric_name(&service.cluster()),
            "cluster": way,
            "max_connect_attempts": CONNECT_ATTEMPTS,
        }))] }],
    });
    typed(LISTENER, listener)
}

/// Which of the peer's services is asked for: the TLS client takes its server name from the connection.
fn server_name(service: &ServiceName) -> Value {
    let name = json!({ "text_format_source": { "inline_string": service.sni() } });
    on_new_connection(json!({ "object_key": "envoy.network.upstream_server_name", "format_string": name }))
}

/// Envoy's `tcp_proxy` with these fields.
pub fn tcp_proxy(fields: Value) -> Value {
    extension("envoy.filters.network.tcp_proxy", "extensions.filters.network.tcp_proxy.v3.TcpProxy", fields)
}
