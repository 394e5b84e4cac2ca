//! A stock Envoy as the ingress in front of a cluster's metadata endpoint: HTTP/1.1 only, behind a
//! private CA, open to clients with a certificate of another.

use super::Envoy;
use super::stock::{cluster_of, socket};
use crate::authority::Authority;
use crate::cluster::{Cluster, metadata_leaf};
use crate::run_folder::RunFolder;
use anyhow::Result;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use xtask::ports;

/// A running ingress.
#[derive(Debug)]
pub struct MetadataIngress {
    /// Its Envoy. The log has a line for each request: [`MetadataIngress::requests`].
    pub envoy: Envoy,
    address: SocketAddr,
}

/// A request that has been answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// For example `HTTP/1.1`.
    pub protocol: String,
    /// The status of the answer.
    pub status: u16,
    /// The path.
    pub path: String,
}

/// What an ingress does with requests and answers.
#[derive(Debug, Clone, Copy)]
pub enum Habits {
    /// It answers 504 in place of the endpoint after this time, such as `6s`.
    GivesUp(&'static str),
    /// It holds requests and answers back until they are complete. It sends a request again, up to
    /// three times, that the endpoint does not answer within this time or answers with 500 to 599.
    BuffersAndRepeats(&'static str),
}

impl Habits {
    fn route(self) -> Value {
        match self {
            Self::GivesUp(timeout) => json!({ "timeout": timeout }),
            Self::BuffersAndRepeats(timeout) => json!({
                "timeout": "60s",
                "retry_policy": {
                    "retry_on": "5xx,reset,connect-failure",
                    "num_retries": 3,
                    "per_try_timeout": timeout,
                },
            }),
        }
    }

    fn filters(self) -> Vec<Value> {
        let Self::BuffersAndRepeats(_) = self else { return Vec::new() };
        let whole = json!({ "behavior": { "fully_buffer": {} } });
        let buffer = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig",
            "manager_config": { "thread_pool": { "thread_count": 1 } },
            "request": whole,
            "response": whole,
        });
        vec![json!({ "name": "envoy.filters.http.file_system_buffer", "typed_config": buffer })]
    }
}

/// What lines of the access log begin with.
const LINE: &str = "ingress-request";

impl MetadataIngress {
    /// Starts an ingress in front of a cluster's endpoint. It demands certificates of `clients`.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub async fn start(
        run: &RunFolder,
        cluster: &Cluster,
        clients: &Authority,
        habits: Habits,
    ) -> Result<Self> {
        let address = ports::free()?;
        let own = cluster.metadata_authority().sign(&metadata_leaf()?)?;
        let own = own.write(run.path(), "ingress")?;
        let roots = |name: &str, authority: &Authority| -> Result<PathBuf> {
            let file = run.path().join(name);
            std::fs::write(&file, authority.pem())?;
            Ok(file)
        };
        let clients = roots("ingress-clients.pem", clients)?;
        let upstream = roots("ingress-upstream.pem", cluster.metadata_authority())?;
        let tls = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {
                "alpn_protocols": ["http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": { "filename": own.certificate },
                    "private_key": { "filename": own.key },
                }],
                "validation_context": { "trusted_ca": { "filename": clients } },
            },
        });
        let mut route = habits.route();
        route["cluster"] = "metadata".into();
        let route = json!({ "match": { "prefix": "/" }, "route": route });
        let format = format!("{LINE} %PROTOCOL% %RESPONSE_CODE% %REQ(:PATH)%\n");
        let connections = connections(
            "HTTP1",
            &[json!({ "name": "all", "domains": ["*"], "routes": [route] })],
            &format,
            habits.filters(),
        );
        let config = json!({
            "admin": { "address": socket(([127, 0, 0, 1], 0).into()) },
            "static_resources": {
                "listeners": [{
                    "name": "ingress",
                    "address": socket(address),
                    "filter_chains": [{
                        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
                        "filters": [connections],
                    }],
                }],
                "clusters": [metadata(cluster.metadata_address(), &upstream)],
            },
        });
        let bootstrap = run.path().join("ingress-bootstrap.json");
        std::fs::write(&bootstrap, config.to_string())?;
        let envoy = Envoy::start("metadata ingress", &bootstrap, &run.log("ingress")).await?;
        Ok(Self { envoy, address })
    }

    /// The URL for the peers' `metadataEndpoint`.
    pub fn url(&self) -> String {
        format!("https://{}/metadata", self.address)
    }

    /// The requests that have been answered.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let log = std::fs::read_to_string(self.envoy.log())?;
        let request = |line: &str| {
            let mut parts = line.strip_prefix(LINE)?.split_whitespace().map(str::to_owned);
            let (protocol, status) = (parts.next()?, parts.next()?.parse().ok()?);
            Some(Request { protocol, status, path: parts.next()? })
        };
        Ok(log.lines().filter_map(request).collect())
    }
}

/// The filter that speaks HTTP, with a line of this format for each request.
pub(super) fn connections(
    codec: &str,
    hosts: &[Value],
    format: &str,
    mut filters: Vec<Value>,
) -> Value {
    let log = json!({
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": { "text_format_source": { "inline_string": format } },
    });
    let router =
        json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" });
    filters.push(json!({ "name": "envoy.filters.http.router", "typed_config": router }));
    let typed = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stock",
        "codec_type": codec,
        "route_config": { "virtual_hosts": hosts },
        "upgrade_configs": [{ "upgrade_type": "CONNECT" }],
        "access_log": [{ "name": "envoy.access_loggers.stdout", "typed_config": log }],
        "http_filters": filters,
    });
    json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": typed })
}

fn metadata(address: SocketAddr, roots: &Path) -> Value {
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": { "validation_context": { "trusted_ca": { "filename": roots } } },
    });
    let mut cluster = cluster_of("metadata", address);
    cluster["transport_socket"] =
        json!({ "name": "envoy.transport_sockets.tls", "typed_config": tls });
    cluster
}
