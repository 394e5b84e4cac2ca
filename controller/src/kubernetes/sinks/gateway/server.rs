//! The gateway's port: its server, and the route that leads nowhere. Without the filter every connection ends there, so that the
//! default is to deny whatever happens to the other objects.

use super::{BLACK_HOLE, GATEWAY, Objects};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::sinks::object::Desired;
use serde_json::json;

/// A host that is nobody's (RFC 2606, section 2).
const NOWHERE: &str = "fedgate-black-hole.invalid";
/// Its port. Any will do.
const PORT: u16 = 443;

impl Objects<'_> {
    /// The server: mutual TLS with the gateway's own certificate from istiod, for all hosts of this cluster.
    pub(super) fn server(&self) -> Desired {
        let gateway = &self.settings.gateway;
        let federation = json!({
            "port": { "number": gateway.port, "name": "tls-federation", "protocol": "TLS" },
            "hosts": [self.hosts()],
            "tls": { "mode": "ISTIO_MUTUAL" },
        });
        let spec = json!({ "selector": gateway.selector.0, "servers": [federation] });
        Desired::new(self.head(Kind::Gateway, GATEWAY), json!({ "spec": spec }))
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
        Desired::new(self.head(Kind::ServiceEntry, BLACK_HOLE), json!({ "spec": spec }))
    }

    /// The route of every connection that no filter sends elsewhere.
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
