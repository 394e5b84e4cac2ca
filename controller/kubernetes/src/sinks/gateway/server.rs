//! The gateway's port: its server, and the route to the black hole. Without the filter every
//! connection ends there. So the default is to deny, whatever happens to the other objects.

use super::{BLACK_HOLE, GATEWAY, HEALTH, Objects};
use crate::api::kind::Kind;
use crate::sinks::imports::NO_WAYPOINT;
use crate::sinks::object::Desired;
use fedgate_core::{Hostname, ServiceName};
use serde_json::json;
use std::collections::BTreeSet;

/// A host that cannot exist (RFC 2606, section 2).
const NOWHERE: &str = "fedgate-black-hole.invalid";
/// Its port; any number works.
const PORT: u16 = 443;

impl Objects<'_> {
    /// The server for all hosts of this cluster: mutual TLS with the gateway's own certificate from
    /// istiod.
    ///
    /// A second server on the same port passes TLS through to exactly the `passed_through` hosts.
    /// istiod builds chains for them that match before the wildcard.
    pub(super) fn server(&self, passed_through: &BTreeSet<Hostname>) -> Desired {
        let gateway = &self.settings.gateway;
        let federation = json!({
            "port": { "number": gateway.port, "name": "tls-federation", "protocol": "TLS" },
            "hosts": [self.hosts()],
            "tls": { "mode": "ISTIO_MUTUAL" },
        });
        let mut servers = vec![federation];
        if !passed_through.is_empty() {
            servers.push(json!({
                "port": { "number": gateway.port, "name": "tls-passthrough", "protocol": "TLS" },
                "hosts": passed_through.iter().filter_map(in_namespace).collect::<Vec<_>>(),
                "tls": { "mode": "AUTO_PASSTHROUGH" },
            }));
        }
        let spec = json!({ "selector": gateway.selector.0, "servers": servers });
        Desired::new(self.head(Kind::Gateway, GATEWAY), json!({ "spec": spec }))
    }

    /// The host of the health name, for the gateway alone; the gateway's own listener answers
    /// (`fedgate_envoy::health`).
    pub(super) fn health_host(&self, health: &ServiceName) -> Desired {
        let spec = json!({
            "hosts": [health.host.as_str()],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{ "number": health.port.get(), "name": "http", "protocol": "HTTP" }],
            "endpoints": [{ "address": format!("unix://{}", self.health_socket()) }],
            "exportTo": ["."],
        });
        Desired::labelled(
            self.head(Kind::ServiceEntry, HEALTH),
            json!({ "spec": spec }),
            &[NO_WAYPOINT],
        )
    }

    /// A host without endpoints.
    pub(super) fn black_hole_host(&self) -> Desired {
        let spec = json!({
            "hosts": [NOWHERE],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{ "number": PORT, "name": "tcp", "protocol": "TCP" }],
            "exportTo": ["."],
        });
        Desired::labelled(
            self.head(Kind::ServiceEntry, BLACK_HOLE),
            json!({ "spec": spec }),
            &[NO_WAYPOINT],
        )
    }

    /// The route of every connection that no filter routes.
    pub(super) fn black_hole_route(&self) -> Desired {
        let destination = json!({ "host": NOWHERE, "port": { "number": PORT } });
        let spec = json!({
            "hosts": [self.hosts()],
            "gateways": [GATEWAY],
            "exportTo": ["."],
            "tcp": [{ "route": [{ "destination": destination }] }],
        });
        Desired::new(self.head(Kind::VirtualService, BLACK_HOLE), json!({ "spec": spec }))
    }
}

/// A host in the form of a Gateway, `<namespace>/<host>`, so that it matches no Service of another
/// namespace.
fn in_namespace(host: &Hostname) -> Option<String> {
    let namespace = host.as_str().split('.').nth(1)?;
    Some(format!("{namespace}/{host}"))
}
