//! The patches of the listener that istiod builds from the Gateway.

use super::{BUNDLES, LISTENER, Objects};
use crate::settings::Delivery;
use crate::sinks::object::Desired;
use crate::sinks::patch::on_chain;
use fedgate_envoy::access_log::gateway_log;
use fedgate_envoy::connections::EARLY_DATA;
use fedgate_envoy::{AccessLog, filter, health, listener, proxy_protocol, trust};
use serde_json::{Value, json};

/// Istio's word for the proxies to patch.
const GATEWAY: &str = "GATEWAY";

const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";

/// How many endpoints of an export a connection tries, one after another. Istio's load balancing
/// picks at random. If one of two endpoints refuses connections, every second attempt picks it
/// again, and five attempts lost one call in 32.
const ENDPOINT_ATTEMPTS: u32 = 20;

/// The ALPNs that distinguish istiod's chains for AUTO_PASSTHROUGH from all others on a gateway
/// (`builtAutoPassthroughFilterChains`).
const PASSED_THROUGH: &str = "istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2";

/// A configuration that comes from istiod.
fn ads() -> Value {
    json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" })
}

impl Objects<'_> {
    /// Patches the chain of the federation server (hosts `*.<trust domain>`). Each root is bound to
    /// its trust domain, sessions are not resumed, the filter runs before tcp_proxy, and tcp_proxy
    /// waits for it.
    pub(super) fn patches(&self) -> Desired {
        let mut patches = vec![self.transport_socket(), self.socket_options()];
        if self.settings.namespaces.delivery.filter().needs_recorded_identity() {
            patches.push(self.inserted(listener::peer_uri_sans()));
        }
        patches.extend(self.filter().map(|filter| self.inserted(filter)));
        patches.push(self.waiting_tcp_proxy());
        if self.settings.gateway.proxy_protocol {
            patches.push(self.proxy_protocol());
        }
        if self.settings.gateway.access_log {
            patches.push(self.access_log());
        }
        if self.settings.gateway.health_name {
            patches.push(self.health_listener());
        }
        if self.settings.gateway.passthrough {
            patches.extend(self.passthrough());
        }
        self.envoy_filter(LISTENER, patches)
    }

    /// The filter's entry in a chain; `None` for a WasmPlugin, for which istiod adds it.
    fn filter(&self) -> Option<Value> {
        let delivery = self.settings.namespaces.delivery;
        let inserted = delivery != Delivery::WasmPlugin;
        inserted.then(|| filter::placeholder(delivery.filter(), ads()))
    }

    fn transport_socket(&self) -> Value {
        let folder = self.settings.gateway.trust_folder.trim_end_matches('/');
        let bundles = json!({ "filename": format!("{folder}/{BUNDLES}"), "watched_directory": { "path": folder } });
        let validation = json!({ "custom_validator_config": trust::spiffe_validator(bundles) });
        let socket = json!({ "transport_socket": trust::into_downstream_tls(validation) });
        on_chain(GATEWAY, &json!({ "sni": self.hosts() }), "FILTER_CHAIN", "MERGE", &socket)
    }

    /// Patches each chain that passes TLS through: adds the filter, and before it a filter
    /// that marks the connection as passed through.
    ///
    /// The patches match these chains by Istio's ALPNs and not by host. So they stay the same when
    /// exports change; the filter knows which hosts are exported.
    fn passthrough(&self) -> Vec<Value> {
        let tcp_proxy =
            json!({ "applicationProtocols": PASSED_THROUGH, "filter": { "name": TCP_PROXY } });
        let chain = json!({ "applicationProtocols": PASSED_THROUGH });
        let mut patches = Vec::new();
        if let Some(filter) = self.filter() {
            patches.push(on_chain(GATEWAY, &tcp_proxy, "NETWORK_FILTER", "INSERT_BEFORE", &filter));
        }
        patches.push(on_chain(
            GATEWAY,
            &chain,
            "NETWORK_FILTER",
            "INSERT_FIRST",
            &listener::passed_through(),
        ));
        patches
    }

    /// The listener that answers for the health name.
    fn health_listener(&self) -> Value {
        json!({
            "applyTo": "LISTENER",
            "match": { "context": GATEWAY },
            "patch": { "operation": "ADD", "value": health::listener(&self.health_socket()) },
        })
    }

    /// The gateways of two clusters may share a network namespace, as they do in tests.
    pub(super) fn health_socket(&self) -> String {
        health::socket(&format!(
            "{}/{}",
            self.settings.trust_domain,
            self.settings.namespaces.gateway()
        ))
    }

    fn inserted(&self, value: Value) -> Value {
        self.at_tcp_proxy("INSERT_BEFORE", value)
    }

    fn waiting_tcp_proxy(&self) -> Value {
        self.at_tcp_proxy(
            "MERGE",
            listener::tcp_proxy(json!({
                "max_early_data_bytes": EARLY_DATA,
                "max_connect_attempts": ENDPOINT_ATTEMPTS,
                "idle_timeout": self.settings.connections.quiet().idle_timeout_text(),
            })),
        )
    }

    fn at_tcp_proxy(&self, operation: &str, value: Value) -> Value {
        let chain = json!({ "sni": self.hosts(), "filter": { "name": TCP_PROXY } });
        on_chain(GATEWAY, &chain, "NETWORK_FILTER", operation, &value)
    }

    /// Logs one line for each connection, with the filter's decision and reason. Istio's own format
    /// has neither.
    fn access_log(&self) -> Value {
        self.on_listener(json!({ "access_log": [gateway_log(&AccessLog::Stdout, self.settings.gateway.proxy_protocol)] }))
    }

    /// Reads the balancer's header before anything else. Istio's own setting (`gatewayTopology` of a
    /// Pod) would do it on every port of the Pod.
    fn proxy_protocol(&self) -> Value {
        json!({
            "applyTo": "LISTENER_FILTER",
            "match": { "context": GATEWAY, "listener": { "portNumber": self.settings.gateway.port } },
            "patch": { "operation": "INSERT_FIRST", "value": proxy_protocol::listener_filter() },
        })
    }

    fn socket_options(&self) -> Value {
        let options = std::iter::once(listener::unread_timeout());
        let options: Vec<_> =
            options.chain(self.settings.connections.quiet().downstream()).collect();
        self.on_listener(json!({ "socket_options": options }))
    }

    fn on_listener(&self, value: Value) -> Value {
        json!({
            "applyTo": "LISTENER",
            "match": { "context": GATEWAY, "listener": { "portNumber": self.settings.gateway.port } },
            "patch": { "operation": "MERGE", "value": value },
        })
    }
}
