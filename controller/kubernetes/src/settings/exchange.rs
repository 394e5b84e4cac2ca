//! The settings of the exchange of metadata with peers: what they fetch here, how they are reached,
//! and when.

use super::values::{duration, poll};
use clap::Args;
use fedgate_exchange::exporter::MetadataPath;
use fedgate_exchange::proxy::ProxyAddress;
use fedgate_federation::knowledge::AtExpiry;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of the metadata endpoint.
#[derive(Debug, Clone, Args)]
pub struct MetadataSettings {
    /// The address on which peers fetch metadata
    #[arg(
        long = "metadata-listen",
        env = "FEDGATE_METADATA_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15080"
    )]
    pub listen: SocketAddr,
    /// The path of the documents
    #[arg(long = "metadata-path", env = "FEDGATE_METADATA_PATH", value_name = "PATH", default_value = "/metadata", value_parser = MetadataPath::parse)]
    pub path: MetadataPath,
    /// A folder with tls.crt and tls.key, such as a mounted Secret
    #[arg(
        long = "metadata-tls",
        env = "FEDGATE_METADATA_TLS",
        value_name = "DIR",
        required_unless_present = "plain"
    )]
    pub tls: Option<PathBuf>,
    /// Serve HTTP without TLS, behind an ingress that terminates it
    #[arg(long = "metadata-plain", env = "FEDGATE_METADATA_PLAIN", conflicts_with = "tls")]
    pub plain: bool,
    /// Whether a load balancer in front of the metadata endpoint sends the PROXY protocol
    #[arg(
        id = "metadata-proxy-protocol",
        long = "metadata-proxy-protocol",
        env = "FEDGATE_METADATA_PROXY_PROTOCOL",
        value_name = "BOOL",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub proxy_protocol: bool,
    /// The ConfigMap with this cluster's roots (key root-cert.pem), which istiod writes into every
    /// namespace
    #[arg(
        long,
        env = "FEDGATE_ROOTS_CONFIGMAP",
        value_name = "NAME",
        default_value = "istio-ca-root-cert"
    )]
    pub roots_configmap: String,
}

/// How peers' metadata endpoints are reached.
#[derive(Debug, Clone, Args)]
pub struct PeerSettings {
    /// The HTTP proxy that leads to peers' metadata endpoints [default: that of HTTPS_PROXY]
    #[arg(long, env = "FEDGATE_PROXY", value_name = "URL", value_parser = proxy, hide_env_values = true)]
    pub proxy: Option<ProxyAddress>,
    /// The hosts that are reached without it: names, addresses or CIDRs [default: those of NO_PROXY]
    #[arg(long, env = "FEDGATE_NO_PROXY", value_name = "HOST,…", value_delimiter = ',')]
    pub no_proxy: Vec<String>,
    /// A folder with tls.crt and tls.key, which is shown to peers' metadata endpoints that ask for a
    /// client certificate; those in its folder PEER are for that peer
    #[arg(long, env = "FEDGATE_CLIENT_TLS", value_name = "DIR")]
    pub client_tls: Option<PathBuf>,
}

/// Intervals and time limits.
#[derive(Debug, Clone, Args)]
pub struct TimeSettings {
    /// How often to ask each peer, at least 1s
    #[arg(long, env = "FEDGATE_POLL", value_name = "TIME", default_value = "30s", value_parser = poll)]
    pub poll: Duration,
    /// How often to connect to each peer's gateways, to check that they are reachable
    #[arg(long, env = "FEDGATE_PROBE", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub probe: Duration,
    /// The time limit for fetching a document
    #[arg(long, env = "FEDGATE_TIMEOUT", value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub timeout: Duration,
    /// The age from which knowledge of a peer is shown as stale
    #[arg(long, env = "FEDGATE_STALE_AFTER", value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub stale_after: Duration,
    /// The age from which knowledge of a peer is expired
    #[arg(long, env = "FEDGATE_STALENESS_LIMIT", value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub staleness_limit: Duration,
    /// What happens then: Keep (all stays in force), Drain (its imports and new connections end) or
    /// Drop (its open connections end too)
    #[arg(long, env = "FEDGATE_AT_EXPIRY", value_name = "WORD", default_value = "Drain", value_parser = at_expiry)]
    pub at_expiry: AtExpiry,
    /// The age from which peers should show what they know of this cluster as stale, if that is
    /// sooner than they do anyway
    #[arg(long, env = "FEDGATE_STALE_AFTER_HINT", value_name = "TIME", value_parser = duration)]
    pub stale_after_hint: Option<Duration>,
}

fn proxy(text: &str) -> Result<ProxyAddress, Infallible> {
    Ok(ProxyAddress::new(text))
}

fn at_expiry(text: &str) -> Result<AtExpiry, String> {
    AtExpiry::parse(text).ok_or_else(|| format!("expected Keep, Drain or Drop, found {text:?}"))
}
