//! Listeners: one for the gateway, and one for each import of the egress.

use super::access_log::{egress_log, federated_log, gateway_log};
use super::connections::{BUFFER, EARLY_DATA, Quiet};
use super::egress::NameListener;
use super::federated::NO_MEMBER;
use super::resource::{address, extension, metric_name, source, typed};
use super::{AccessLog, FilePath, GatewayInputs, cluster, filter, proxy_protocol, trust};
use fedgate_core::ServiceName;
use serde_json::{Value, json};
use std::net::SocketAddr;

const LISTENER: &str = "config.listener.v3.Listener";

/// The time for a client's TLS handshake, as in Istio's gateways.
const HANDSHAKE: &str = "15s";

/// How long a client may leave data unread before its connection is ended, in milliseconds. As long
/// as nginx's `send_timeout` and MySQL's `net_write_timeout`.
///
/// The filter can close a connection only after all data has been sent. Without this limit, a
/// client that stops reading before its access is revoked could keep its connection open on both
/// sides, as long as it answers the kernel's probes.
const UNREAD: u32 = 60_000;

/// The time for a client's first message, before the handshake. A client holds a connection slot
/// from its first packet on.
const FIRST_MESSAGE: &str = "5s";

/// How many gateways of a peer a connection tries in turn before it is given up. Bytes from the
/// client wait meanwhile; a server that was not reached has seen none of them.
const CONNECT_ATTEMPTS: u32 = 3;

/// How many endpoints of an export a connection tries in turn.
const ENDPOINT_ATTEMPTS: u32 = 5;

/// The federation listener.
///
/// Its own route is the black hole, so without the filter nothing passes. tcp_proxy picks its
/// cluster when it starts, which is when the filter lets the connection continue.
/// `max_early_data_bytes` makes tcp_proxy leave the connection readable until then. Otherwise a
/// paused connection would never finish its handshake.
pub(super) fn federation(
    inputs: &GatewayInputs<'_>,
    identity: &FilePath,
    bundles: &FilePath,
    table: &FilePath,
) -> Value {
    let inspector = extension(
        "envoy.filters.listener.tls_inspector",
        "extensions.filters.listener.tls_inspector.v3.TlsInspector",
        json!({}),
    );
    let balancer = inputs.proxy_protocol.then(proxy_protocol::listener_filter);
    let filter = [
        filter::placeholder(inputs.module.kind(), source(table)),
        tcp_proxy(json!({
            "stat_prefix": "federation",
            "cluster": cluster::BLACK_HOLE,
            "max_early_data_bytes": EARLY_DATA,
            "max_connect_attempts": ENDPOINT_ATTEMPTS,
            "idle_timeout": inputs.quiet.idle_timeout_text(),
        })),
    ];
    let recorded = inputs.module.kind().needs_recorded_identity().then(peer_uri_sans);
    let filters: Vec<_> = recorded.into_iter().chain(filter).collect();
    let mut listener = json!({
        "name": "federation",
        "stat_prefix": "federation",
        "address": address(inputs.listen),
        "access_log": [gateway_log(inputs.access_log, inputs.proxy_protocol)],
        "listener_filters_timeout": FIRST_MESSAGE,
        "per_connection_buffer_limit_bytes": BUFFER,
        "socket_options": std::iter::once(unread_timeout())
            .chain(inputs.quiet.downstream())
            .collect::<Vec<_>>(),
        "listener_filters": balancer.into_iter().chain([inspector]).collect::<Vec<_>>(),
        "filter_chains": [{
            "name": "federation",
            "transport_socket_connect_timeout": HANDSHAKE,
            "transport_socket": trust::downstream_tls(identity, bundles),
            "filters": filters,
        }],
    });
    accept_both_families(&mut listener, inputs.listen);
    typed(LISTENER, listener)
}

/// The socket option that makes the kernel end a connection whose client does not read, even if it
/// still answers probes (Linux 5.11 and later). Accepted connections inherit it from their
/// listener.
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

/// Tells the filter the client's identity after the handshake: all URI SANs, joined by commas.
/// Before that, a certificate proves nothing. A client may send anyone's certificate and never
/// prove that it has the key.
///
/// The key is called `handshake` because earlier versions of the filter look for it, and take any
/// text as the end of the handshake.
pub fn peer_uri_sans() -> Value {
    let names = json!({ "text_format_source": { "inline_string": "%DOWNSTREAM_PEER_URI_SAN%" } });
    let state = json!({ "object_key": "fedgate.handshake", "factory_key": "envoy.string", "format_string": names });
    extension(
        "envoy.filters.network.set_filter_state",
        "extensions.filters.network.set_filter_state.v3.Config",
        json!({ "on_downstream_tls_handshake": [state] }),
    )
}

/// Tells the filter that this chain passes TLS through, so there is no identity to wait for.
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

/// Lets `[::]` accept IPv4 as well.
fn accept_both_families(listener: &mut Value, listen: SocketAddr) {
    if listen.is_ipv6() && listen.ip().is_unspecified() {
        listener["address"]["socket_address"]["ipv4_compat"] = true.into();
    }
}

/// The local port of an import. Its connections go through the cluster `way`, with the service's
/// own server name.
///
/// By default Envoy shares the port with any other Envoy of the same user (`SO_REUSEPORT`), and
/// each would get some of the connections. So all workers use one socket, and a second process is
/// refused.
pub(super) fn import(
    service: &ServiceName,
    way: &str,
    listen: SocketAddr,
    (access_log, quiet): (&AccessLog, Quiet),
) -> Value {
    let listener = json!({
        "name": service.to_string(),
        "stat_prefix": metric_name(&service.cluster()),
        "address": address(listen),
        "enable_reuse_port": false,
        "per_connection_buffer_limit_bytes": BUFFER,
        "access_log": [egress_log(access_log, service)],
        "filter_chains": [{ "filters": [server_name(service), routed(&metric_name(&service.cluster()), way, quiet)] }],
    });
    typed(LISTENER, listener)
}

/// Sends a connection through a cluster of a peer's gateways.
pub(super) fn routed(stat_prefix: &str, way: &str, quiet: Quiet) -> Value {
    tcp_proxy(json!({
        "stat_prefix": stat_prefix,
        "cluster": way,
        "max_connect_attempts": CONNECT_ATTEMPTS,
        "idle_timeout": quiet.idle_timeout_text(),
    }))
}

/// A federated name's local port, or its host's own address. Its members' clusters have server names of their own.
pub(super) fn federated(name: &NameListener) -> Value {
    let stat = metric_name(&name.service.cluster());
    // The workers learn a moment after a failed connect that the address is out of rotation. Without
    // a pause, the next attempts would go there again. The pauses grow, so that the attempts outlast
    // what a health check takes to find out.
    let mut proxy = json!({
        "stat_prefix": stat,
        "max_connect_attempts": name.attempts,
        "idle_timeout": name.quiet.idle_timeout_text(),
        "backoff_options": { "base_interval": "0.05s", "max_interval": "0.5s" },
    });
    match name.ways.as_slice() {
        [] => proxy["cluster"] = NO_MEMBER.into(),
        [(way, _)] => proxy["cluster"] = way.as_str().into(),
        ways => {
            let share = |(way, weight): &(String, u32)| json!({ "name": way, "weight": weight });
            proxy["weighted_clusters"] =
                json!({ "clusters": ways.iter().map(share).collect::<Vec<_>>() });
        }
    }
    let own = if name.by_name { "name|" } else { "" };
    let listener = json!({
        "name": format!("{own}{}", name.service),
        "stat_prefix": stat,
        "address": address(name.listen),
        "enable_reuse_port": false,
        "per_connection_buffer_limit_bytes": BUFFER,
        "access_log": [federated_log(&name.access_log, &name.service)],
        "filter_chains": [{ "filters": [tcp_proxy(proxy)] }],
    });
    typed(LISTENER, listener)
}

/// Names the peer's service: the TLS client takes its server name from the connection.
pub(super) fn server_name(service: &ServiceName) -> Value {
    let name = json!({ "text_format_source": { "inline_string": service.sni() } });
    on_new_connection(
        json!({ "object_key": "envoy.network.upstream_server_name", "format_string": name }),
    )
}

/// Envoy's `tcp_proxy` with these fields.
pub fn tcp_proxy(fields: Value) -> Value {
    extension(
        "envoy.filters.network.tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        fields,
    )
}
