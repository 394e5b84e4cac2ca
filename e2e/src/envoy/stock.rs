//! A gateway built without fedgate. Envoy's default validator has the roots of all clusters in one
//! list, and an RBAC rule checks the identity; an Istio AuthorizationPolicy compiles to such a
//! rule. The demo attacks this gateway for comparison.

use super::Envoy;
use crate::authority::IdentityFiles;
use crate::run_folder::RunFolder;
use anyhow::Result;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use xtask::ports;

/// A running stock gateway.
#[derive(Debug)]
pub struct StockGateway {
    /// Its Envoy.
    pub envoy: Envoy,
    /// The address where it accepts connections.
    pub address: SocketAddr,
}

impl StockGateway {
    /// Starts a gateway that trusts all of `roots` (PEM) and lets only the identity `allowed`
    /// through to `backend`.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub async fn start(
        run: &RunFolder,
        roots: &str,
        identity: &IdentityFiles,
        allowed: &str,
        backend: SocketAddr,
    ) -> Result<Self> {
        Self::start_at(ports::free()?, run, roots, identity, json!({ "exact": allowed }), backend)
            .await
    }

    /// Starts a gateway that lets in every SPIFFE identity signed by one of `roots`, at the address
    /// of an earlier gateway.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub async fn start_in_place(
        address: SocketAddr,
        run: &RunFolder,
        roots: &str,
        identity: &IdentityFiles,
        backend: SocketAddr,
    ) -> Result<Self> {
        Self::start_at(address, run, roots, identity, json!({ "prefix": "spiffe://" }), backend)
            .await
    }

    async fn start_at(
        address: SocketAddr,
        run: &RunFolder,
        roots: &str,
        identity: &IdentityFiles,
        allowed: Value,
        backend: SocketAddr,
    ) -> Result<Self> {
        let roots_file = run.path().join("stock-roots.pem");
        std::fs::write(&roots_file, roots)?;
        let bootstrap = run.path().join("stock-bootstrap.json");
        let config = json!({
            "admin": { "address": socket(([127, 0, 0, 1], 0).into()) },
            "static_resources": {
                "listeners": [listener(address, &roots_file, identity, &allowed)],
                "clusters": [cluster_of("backend", backend)],
            },
        });
        std::fs::write(&bootstrap, config.to_string())?;
        Ok(Self {
            envoy: Envoy::start("stock gateway", &bootstrap, &run.log("stock-gateway")).await?,
            address,
        })
    }
}

fn listener(address: SocketAddr, roots: &Path, identity: &IdentityFiles, allowed: &Value) -> Value {
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [{
                "certificate_chain": { "filename": identity.certificate },
                "private_key": { "filename": identity.key },
            }],
            "validation_context": { "trusted_ca": { "filename": roots } },
        },
    });
    let principal = json!({ "authenticated": { "principal_name": allowed } });
    let rbac = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
        "stat_prefix": "stock",
        "rules": { "policies": { "allowed": { "permissions": [{ "any": true }], "principals": [principal] } } },
    });
    let tcp_proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "stock",
        "cluster": "backend",
    });
    json!({
        "name": "stock",
        "address": socket(address),
        "filter_chains": [{
            "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
            "filters": [
                { "name": "envoy.filters.network.rbac", "typed_config": rbac },
                { "name": "envoy.filters.network.tcp_proxy", "typed_config": tcp_proxy },
            ],
        }],
    })
}

/// A cluster with one endpoint.
pub(super) fn cluster_of(name: &str, address: SocketAddr) -> Value {
    let endpoint = json!({ "endpoint": { "address": socket(address) } });
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
    })
}

pub(super) fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}
