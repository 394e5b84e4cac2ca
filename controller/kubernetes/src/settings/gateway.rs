//! The settings of the gateway.

use super::networks::{AdvertisedTo, advertised};
use super::values;
use clap::Args;
use fedgate_core::Options;
use fedgate_envoy::FilterKind;
use fedgate_federation::document::Advertised;
use fedgate_process::filter_module::default_path;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of the gateway.
#[derive(Debug, Clone, Args)]
pub struct GatewaySettings {
    /// The gateway's Service; peers reach the gateway by its addresses
    #[arg(
        long = "gateway-service",
        env = "FEDGATE_GATEWAY_SERVICE",
        value_name = "NAME",
        default_value = "fedgate-gateway"
    )]
    pub service: String,
    /// The port of that Service
    #[arg(
        long = "gateway-port",
        env = "FEDGATE_GATEWAY_PORT",
        value_name = "PORT",
        default_value = "15443"
    )]
    pub port: u16,
    /// The labels of the gateway's Pods
    #[arg(long = "gateway-selector", env = "FEDGATE_GATEWAY_SELECTOR", value_name = "KEY=VALUE,…", default_value = "istio=fedgate", value_parser = Selector::parse)]
    pub selector: Selector,
    /// The gateway's service account; peers accept only this identity
    #[arg(
        long = "gateway-service-account",
        env = "FEDGATE_GATEWAY_SERVICE_ACCOUNT",
        value_name = "NAME",
        default_value = "fedgate-gateway"
    )]
    pub service_account: String,
    /// The addresses that peers should connect to, instead of the Service's addresses; each may end
    /// in @REGION/ZONE
    #[arg(long, env = "FEDGATE_ADVERTISE", value_name = "HOST:PORT", value_delimiter = ',', value_parser = advertised)]
    pub advertise: Vec<Advertised>,
    /// The addresses that single peers should connect to instead
    #[arg(long, env = "FEDGATE_ADVERTISE_TO", value_name = "PEER=HOST:PORT", value_delimiter = ',', value_parser = AdvertisedTo::parse)]
    pub advertise_to: Vec<AdvertisedTo>,
    /// Whether a load balancer in front of the gateway sends the PROXY protocol
    #[arg(
        id = "gateway-proxy-protocol",
        long = "gateway-proxy-protocol",
        env = "FEDGATE_GATEWAY_PROXY_PROTOCOL",
        value_name = "BOOL",
        default_value_t = false,
        action = clap::ArgAction::Set
    )]
    pub proxy_protocol: bool,
    /// The proxy-wasm filter for the ConfigMap fedgate-filter, from which the gateway loads it
    /// [default: fedgate_filter.wasm beside this program]
    #[arg(long, env = "FEDGATE_FILTER_FILE", value_name = "FILE")]
    pub filter_file: Option<PathBuf>,
    /// The folder where the gateway's container mounts the ConfigMap fedgate-filter
    #[arg(
        long,
        env = "FEDGATE_FILTER_FOLDER",
        value_name = "DIR",
        default_value = "/etc/fedgate/filter"
    )]
    pub filter_folder: String,
    /// The folder with libfedgate_filter_native.so in the gateway's container, for --delivery
    /// DynamicModule
    #[arg(
        long,
        env = "FEDGATE_NATIVE_FILTER_FOLDER",
        value_name = "DIR",
        default_value = "/etc/fedgate/native"
    )]
    pub native_filter_folder: String,
    /// Another place of the filter, if the gateway gets it without the controller: a file in its
    /// container (file://…) or, with the WasmPlugin, a registry (oci://…)
    #[arg(long, env = "FEDGATE_FILTER_MODULE", value_name = "URL")]
    pub filter_module: Option<String>,
    /// The folder where the gateway's container mounts the trust bundle
    #[arg(
        long,
        env = "FEDGATE_TRUST_FOLDER",
        value_name = "DIR",
        default_value = "/etc/fedgate/trust"
    )]
    pub trust_folder: String,
    /// Whether to offer peers the health name, which DKP clusters probe once a minute; the gateway
    /// answers it
    #[arg(long, env = "FEDGATE_HEALTH_NAME", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub health_name: bool,
    /// Pass TLS through to Services that ask for it; needs the ClusterRole fedgate-passthrough
    #[arg(long, env = "FEDGATE_PASSTHROUGH")]
    pub passthrough: bool,
    /// Whether the gateway logs a line for each connection, with the decision and its reason
    #[arg(
        long = "gateway-access-log",
        env = "FEDGATE_GATEWAY_ACCESS_LOG",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub access_log: bool,
    /// How many combinations of peer, caller's namespace and export the gateway counts by name, at
    /// most 1000; 0 counts none. Not with --delivery DynamicModule
    #[arg(
        long,
        env = "FEDGATE_NAMED_CALLERS",
        value_name = "COUNT",
        default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(..=i64::from(Options::MOST_NAMED_CALLERS))
    )]
    pub named_callers: u32,
    /// How long HTTP requests to a peer share a connection; a peer's gateway that shuts down has to
    /// wait as long
    #[arg(
        long = "connection-lifetime",
        env = "FEDGATE_CONNECTION_LIFETIME",
        value_name = "TIME",
        default_value = "60s",
        value_parser = values::poll
    )]
    pub connection_lifetime: Duration,
    /// The namespaces that may see imports
    #[arg(
        long,
        env = "FEDGATE_EXPORT_TO",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        default_value = "*"
    )]
    pub export_to: Vec<String>,
}

/// Labels that an object must have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selector(pub BTreeMap<String, String>);

impl GatewaySettings {
    /// The file of the filter that ships with this program.
    pub fn filter_file(&self) -> PathBuf {
        let default = || default_path(FilterKind::ProxyWasm.file_name());
        self.filter_file.clone().unwrap_or_else(default)
    }

    /// The URL of the native filter, if no setting names a filter.
    pub fn native_filter_url(&self) -> String {
        let folder = self.native_filter_folder.trim_end_matches('/');
        format!("file://{folder}/{}", FilterKind::Native.file_name())
    }
}

impl Selector {
    /// Reads `key=value` pairs, separated by commas.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pair = |pair: &str| {
            let (key, value) = pair.trim().split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        };
        let pairs: Option<_> = text.split(',').map(pair).collect();
        pairs
            .map(Self)
            .ok_or_else(|| format!("expected labels such as istio=fedgate, found {text:?}"))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}
