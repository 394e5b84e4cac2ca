//! The settings of `fedgate controller`: flags, each with an environment variable. Only this module
//! reads them.

mod networks;
mod shared;

pub use networks::{AdvertisedTo, ConnectionSettings};
pub use shared::{ImportsNamespace, ProbesListen};

use clap::{Args, ValueEnum};
use fedgate_core::{Options, TrustDomain};
use fedgate_envoy::{AddressRange, FilterKind};
use fedgate_exchange::exporter::MetadataPath;
use fedgate_exchange::proxy::{ProxyAddress, ProxySettings};
use fedgate_exchange::settings::{
    Intervals, LimitTooShort, MetadataEndpoint, MetadataTransport, PeerAccess,
};
use fedgate_federation::document::{Advertised, ClusterUuid, Network, WorkloadIdentity};
use fedgate_federation::knowledge::{AtExpiry, Times};
use fedgate_federation::object::FederatedSuffix;
use fedgate_process::filter_module::default_path;
use fedgate_trace::{Endpoint, EndpointText, InvalidEndpoint};
use ipnet::IpNet;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What the names of the Multi-Cluster Services API end in.
pub(crate) const CLUSTER_SET: &str = "svc.clusterset.local";

/// All settings of the controller.
#[derive(Debug, Clone, Args)]
pub struct ControllerSettings {
    /// The trust domain of this cluster, which is also its cluster domain
    #[arg(long, env = "FEDGATE_TRUST_DOMAIN", value_name = "DOMAIN", value_parser = TrustDomain::parse)]
    pub trust_domain: TrustDomain,
    /// The UUID by which peers know this cluster [default: created once and kept]
    #[arg(long, env = "FEDGATE_CLUSTER_UUID", value_name = "UUID", value_parser = ClusterUuid::parse)]
    pub cluster_uuid: Option<ClusterUuid>,
    /// The namespaces of fedgate's objects
    #[command(flatten)]
    pub namespaces: Namespaces,
    /// The gateway that peers connect to
    #[command(flatten)]
    pub gateway: GatewaySettings,
    /// The network of this cluster's addresses
    #[command(flatten)]
    pub network: NetworkSettings,
    /// What peers fetch
    #[command(flatten)]
    pub metadata: MetadataSettings,
    /// What becomes of silent connections
    #[command(flatten)]
    pub connections: ConnectionSettings,
    /// How peers are asked
    #[command(flatten)]
    pub peers: PeerSettings,
    /// Intervals and time limits
    #[command(flatten)]
    pub times: TimeSettings,
    /// Addresses for imports, one for each host, for meshes whose sidecars do not answer DNS
    /// [default: istiod chooses addresses for those that do]
    #[arg(long, env = "FEDGATE_IMPORT_ADDRESSES", value_name = "CIDR", value_parser = mesh_range)]
    pub import_addresses: Option<AddressRange>,
    /// The suffix of FederatedServices' host names; it must not overlap any trust domain
    #[arg(
        long,
        env = "FEDGATE_FEDERATED_SUFFIX",
        value_name = "DOMAIN",
        default_value = FederatedSuffix::DEFAULT,
        value_parser = FederatedSuffix::parse
    )]
    pub federated_suffix: FederatedSuffix,
    /// Export the Service of each ServiceExport of the Multi-Cluster Services API; needs the
    /// ClusterRole fedgate-mcs
    #[arg(long, env = "FEDGATE_MCS_EXPORTS")]
    pub mcs_exports: bool,
    /// Write a ServiceImport of the same API for each FederatedService; needs that ClusterRole, and
    /// --federated-suffix svc.clusterset.local
    #[arg(long, env = "FEDGATE_MCS_IMPORTS")]
    pub mcs_imports: bool,
    /// Where probes and metrics are
    #[command(flatten)]
    pub probes: ProbesListen,
    /// Where to send traces of changes: the base URL of an OTLP/HTTP endpoint, such as
    /// http://collector.observability:4318 [default: changes are not traced]
    #[arg(long, env = "FEDGATE_TRACING_OTLP_ENDPOINT", value_name = "URL")]
    pub tracing_otlp_endpoint: Option<EndpointText>,
    /// The name of this Pod, which identifies the replica and is the source of its Events
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "fedgate")]
    pub pod_name: String,
}

/// The namespaces of fedgate's objects, and the kind of object that carries the table. The command
/// line reads the running controller's from the ConfigMap `fedgate-state`.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespaces {
    /// Those that `fedgate dns` needs as well
    #[command(flatten)]
    #[serde(flatten)]
    imports: ImportsNamespace,
    /// The namespace of the gateway [default: fedgate's own]
    #[arg(long = "gateway-namespace", env = "FEDGATE_GATEWAY_NAMESPACE", value_name = "NAMESPACE")]
    gateway: Option<String>,
    /// The mesh's root namespace, whose objects apply to all sidecars
    #[arg(
        long = "root-namespace",
        env = "FEDGATE_ROOT_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "istio-system"
    )]
    pub root: String,
    /// How the gateway gets its filter and table
    #[arg(long, env = "FEDGATE_DELIVERY", value_enum, default_value_t)]
    pub delivery: Delivery,
}

/// How the gateway gets its filter and its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "PascalCase")]
pub enum Delivery {
    /// By an EnvoyFilter: the filter keeps its VM when the table changes.
    #[default]
    EnvoyFilter,
    /// By a WasmPlugin, which can pull the module from a registry: each table starts a new VM.
    WasmPlugin,
    /// By an EnvoyFilter, with the native filter: a shared library in the gateway's container.
    DynamicModule,
}

impl Delivery {
    /// All ways of delivery.
    pub const ALL: [Self; 3] = [Self::EnvoyFilter, Self::WasmPlugin, Self::DynamicModule];

    /// How the gateway's Envoy runs the filter.
    pub fn filter(self) -> FilterKind {
        match self {
            Self::EnvoyFilter | Self::WasmPlugin => FilterKind::ProxyWasm,
            Self::DynamicModule => FilterKind::Native,
        }
    }
}

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
    #[arg(long, env = "FEDGATE_ADVERTISE", value_name = "HOST:PORT", value_delimiter = ',', value_parser = networks::advertised)]
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
        value_parser = poll
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
pub struct Selector(pub std::collections::BTreeMap<String, String>);

/// The settings of the network.
#[derive(Debug, Clone, Args)]
pub struct NetworkSettings {
    /// The network's name: clusters with the same name reach each other's Pods directly
    #[arg(long = "network", env = "FEDGATE_NETWORK", value_name = "NAME")]
    pub name: Option<String>,
    /// The address ranges of Pods [default: those of the Nodes]
    #[arg(long, env = "FEDGATE_POD_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidrs: Vec<IpNet>,
    /// The address ranges of Services [default: those of the ServiceCIDRs]
    #[arg(long, env = "FEDGATE_SERVICE_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    pub service_cidrs: Vec<IpNet>,
}

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

impl Namespaces {
    /// The defaults for a fedgate in this namespace.
    pub fn all_in(namespace: &str) -> Self {
        let imports = ImportsNamespace { own: namespace.to_owned(), imports: None };
        let root = "istio-system".to_owned();
        Self { imports, gateway: None, root, delivery: Delivery::default() }
    }

    /// Replaces the namespaces that are given, and keeps the others.
    pub fn overridden(
        mut self,
        gateway: Option<String>,
        imports: Option<String>,
        root: Option<String>,
    ) -> Self {
        self.gateway = gateway.or(self.gateway);
        self.imports.imports = imports.or(self.imports.imports);
        self.root = root.unwrap_or(self.root);
        self
    }

    /// fedgate's own namespace.
    pub fn own(&self) -> &str {
        &self.imports.own
    }

    /// The gateway's namespace.
    pub fn gateway(&self) -> &str {
        self.gateway.as_deref().unwrap_or(self.own())
    }

    /// The namespace of imports.
    pub fn imports(&self) -> &str {
        self.imports.imports()
    }
}

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

impl ControllerSettings {
    /// The SPIFFE ID of the gateway; `None` if namespace and service account do not form a valid
    /// one.
    pub fn gateway_identity(&self) -> Option<WorkloadIdentity> {
        let (namespace, account) = (self.namespaces.gateway(), &self.gateway.service_account);
        WorkloadIdentity::parse(&format!(
            "spiffe://{}/ns/{namespace}/sa/{account}",
            self.trust_domain
        ))
        .ok()
    }

    /// Checks settings against each other.
    ///
    /// # Errors
    /// Names the settings that contradict each other.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Err(LimitTooShort { staleness_limit, stale_after }) = self.intervals().check() {
            anyhow::bail!(
                "--staleness-limit ({staleness_limit}) must be at least --stale-after ({stale_after})"
            );
        }
        if let Err(error) = self.peer_access().proxy.check() {
            anyhow::bail!("--proxy: {error}");
        }
        anyhow::ensure!(
            self.namespaces.delivery == Delivery::WasmPlugin
                || !is_elsewhere(self.gateway.filter_module.as_ref()),
            "--filter-module is {:?}: expected a file of the gateway's container (file:///…), unless --delivery is WasmPlugin",
            self.gateway.filter_module.as_deref().unwrap_or_default()
        );
        let ours = self.network.pod_cidrs.iter().chain(&self.network.service_cidrs);
        if let Some((range, taken)) = self.import_addresses.and_then(|range| {
            ours.copied().find(|taken| range.overlaps(taken)).map(|taken| (range, taken))
        }) {
            anyhow::bail!(
                "--import-addresses ({range}) overlaps {taken}, which has addresses of Pods or Services; choose a range that nothing in \
                 this cluster uses"
            );
        }
        anyhow::ensure!(
            !self.mcs_imports || self.federated_suffix.as_str() == CLUSTER_SET,
            "--federated-suffix is {}: expected {CLUSTER_SET} with --mcs-imports, because a ServiceImport stands for a name that ends in it",
            self.federated_suffix
        );
        anyhow::ensure!(
            self.gateway.named_callers == 0
                || self.namespaces.delivery.filter() == FilterKind::ProxyWasm,
            "--named-callers is {}: expected 0 with --delivery DynamicModule, because Envoy takes new counters of the native filter only with a new table",
            self.gateway.named_callers
        );
        self.tracing()
            .map(drop)
            .map_err(|error| anyhow::anyhow!("--tracing-otlp-endpoint: {error}"))
    }

    /// Where traces go; `None` if changes are not traced.
    ///
    /// # Errors
    /// If that is not an endpoint, which [`Self::check`] reports.
    pub(crate) fn tracing(&self) -> Result<Option<Endpoint>, InvalidEndpoint> {
        self.tracing_otlp_endpoint.as_ref().map(EndpointText::endpoint).transpose()
    }

    /// Intervals and time limits of the importer.
    pub fn intervals(&self) -> Intervals {
        let TimeSettings {
            poll,
            probe,
            timeout,
            stale_after,
            staleness_limit,
            at_expiry,
            stale_after_hint: hint,
        } = self.times;
        let knowledge = Times { stale_after, staleness_limit, at_expiry, hint };
        Intervals { poll, probe, timeout, knowledge }
    }

    /// How peers' metadata endpoints are reached.
    pub fn peer_access(&self) -> PeerAccess {
        let PeerSettings { proxy, no_proxy, client_tls } = self.peers.clone();
        PeerAccess { proxy: ProxySettings { proxy, no_proxy }, client_tls }
    }

    /// The endpoint that the exporter serves.
    pub fn metadata_endpoint(&self) -> MetadataEndpoint {
        let MetadataSettings { listen, path, tls, plain: _, proxy_protocol, roots_configmap: _ } =
            self.metadata.clone();
        let transport = match tls {
            None => MetadataTransport::Plain,
            Some(folder) => MetadataTransport::Tls {
                certificate: folder.join("tls.crt"),
                key: folder.join("tls.key"),
            },
        };
        MetadataEndpoint { listen, path, proxy_protocol, transport }
    }

    /// The configured part of the network.
    pub fn network(&self) -> Network {
        let NetworkSettings { name, pod_cidrs, service_cidrs } = self.network.clone();
        Network { name, pod_cidrs, service_cidrs }
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

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

fn is_elsewhere(module: Option<&String>) -> bool {
    module.is_some_and(|url| !url.starts_with("file://"))
}

fn proxy(text: &str) -> Result<ProxyAddress, Infallible> {
    Ok(ProxyAddress::new(text))
}

/// Sidecars do not catch what goes to loopback addresses.
fn mesh_range(text: &str) -> Result<AddressRange, String> {
    let range = AddressRange::parse(text)?;
    (!range.is_loopback()).then_some(range).ok_or_else(|| {
        format!("expected a range that no Pod has, such as 240.96.0.0/16, found {text:?}: sidecars do not catch calls to loopback")
    })
}

fn poll(text: &str) -> Result<Duration, String> {
    let poll = duration(text)?;
    (poll >= Intervals::SHORTEST_POLL)
        .then_some(poll)
        .ok_or_else(|| format!("expected 1s or more, found {text:?}"))
}

fn at_expiry(text: &str) -> Result<AtExpiry, String> {
    AtExpiry::parse(text).ok_or_else(|| format!("expected Keep, Drain or Drop, found {text:?}"))
}

/// A duration in whole seconds, as TCP and Envoy count.
fn seconds(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    (time.as_secs() >= 1 && time.subsec_nanos() == 0)
        .then_some(time)
        .ok_or_else(|| format!("expected whole seconds such as 30s, found {text:?}"))
}

/// A duration from 100 ms to 30 days.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as 500ms, 30s, 5m or 24h, found {text:?}");
    let duration: SignedDuration = text.parse().map_err(|_| expected())?;
    let duration = Duration::try_from(duration).map_err(|_| expected())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(30 * 24 * 3600);
    range
        .contains(&duration)
        .then_some(duration)
        .ok_or_else(|| format!("{}, from 100ms to 30 days", expected()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: ControllerSettings,
    }

    /// The settings of a minimal case, plus these flags.
    pub(crate) fn read(more: &[&str]) -> Result<ControllerSettings, String> {
        let line =
            ["fedgate", "--trust-domain", "alpha.example", "--metadata-plain"].iter().chain(more);
        Line::try_parse_from(line).map(|line| line.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_minimal_case_needs_only_a_trust_domain_and_a_transport() {
        let settings = read(&[]).unwrap();
        assert_eq!(
            (settings.namespaces.gateway(), settings.namespaces.imports()),
            ("fedgate-system", "fedgate-system")
        );
        assert_eq!(
            settings.gateway_identity().unwrap().as_str(),
            "spiffe://alpha.example/ns/fedgate-system/sa/fedgate-gateway"
        );
        assert_eq!(settings.intervals(), Intervals::default());
        assert_eq!(settings.namespaces.delivery, Delivery::EnvoyFilter);
        assert!(settings.check().is_ok());
    }

    #[test]
    fn only_the_wasm_plugin_can_use_a_module_of_a_registry() {
        let oci = ["--filter-module", "oci://registry.example/fedgate-filter:1"];
        let error = read(&oci).unwrap().check().unwrap_err().to_string();
        assert!(
            error.contains("oci://registry.example") && error.contains("WasmPlugin"),
            "{error}"
        );
        let [flag, url] = oci;
        assert!(read(&[flag, url, "--delivery", "WasmPlugin"]).unwrap().check().is_ok());
        assert!(read(&["--filter-module", "file:///filter.wasm"]).unwrap().check().is_ok());
        assert!(read(&[flag, url, "--delivery", "DynamicModule"]).unwrap().check().is_err());
    }

    #[test]
    fn imports_of_the_multi_cluster_services_api_need_its_suffix() {
        let error = read(&["--mcs-imports"]).unwrap().check().unwrap_err().to_string();
        assert!(error.starts_with("--federated-suffix is global: expected svc.cl"), "{error}");
        let right = ["--mcs-imports", "--federated-suffix", CLUSTER_SET];
        assert!(read(&right).unwrap().check().is_ok());
        let off = read(&[]).unwrap();
        assert!(!off.mcs_exports && !off.mcs_imports);
    }

    #[test]
    fn callers_are_counted_by_name_only_if_asked_for_and_only_by_the_wasm_filter() {
        assert_eq!(read(&[]).unwrap().gateway.named_callers, 0);
        let [flag, most] = ["--named-callers", "1000"];
        assert!(read(&[flag, most]).unwrap().check().is_ok());
        assert!(read(&[flag, "1001"]).is_err());
        let native = read(&[flag, "1", "--delivery", "DynamicModule"]).unwrap();
        let error = native.check().unwrap_err().to_string();
        assert!(error.starts_with("--named-callers is 1: expected 0"), "{error}");
    }

    #[test]
    fn a_wrong_otlp_endpoint_is_named_but_not_shown() {
        let settings = |url| read(&["--tracing-otlp-endpoint", url]).unwrap();
        assert_eq!(read(&[]).unwrap().tracing(), Ok(None));
        assert!(settings("http://collector:4318").check().is_ok());
        let wrong = settings("http://user:secret@collector:4318");
        let (error, shown) = (wrong.check().unwrap_err().to_string(), format!("{wrong:?}"));
        assert!(error.starts_with("--tracing-otlp-endpoint: expected the base URL"), "{error}");
        assert!(!error.contains("secret") && !shown.contains("secret"));
    }

    #[test]
    fn a_wrong_proxy_is_named_but_not_shown() {
        let check = |url| read(&["--proxy", url]).unwrap().check().map_err(|e| e.to_string());
        let error = check("socks5://user:secret@proxy.example").unwrap_err();
        assert!(error.starts_with("--proxy: expected") && !error.contains("secret"), "{error}");
        assert!(check("http://user:secret@proxy.example:3128").is_ok());
    }

    #[test]
    fn the_native_filter_has_a_folder_of_its_own() {
        let url = |flags: &[&str]| read(flags).unwrap().gateway.native_filter_url();
        assert_eq!(url(&[]), "file:///etc/fedgate/native/libfedgate_filter_native.so");
        let other = url(&["--native-filter-folder", "/opt/"]);
        assert_eq!(other, "file:///opt/libfedgate_filter_native.so");
    }

    #[test]
    fn an_invalid_flag_is_named_with_what_was_expected() {
        for (flag, value, expected) in [
            ("--poll", "soon", "30s"),
            ("--timeout", "10ms", "from 100ms"),
            ("--poll", "500ms", "1s or more"),
            ("--advertise", "gw.example", "gw.example:15443"),
            ("--gateway-selector", "istio", "istio=fedgate"),
            ("--pod-cidrs", "10.0.0.0", "CIDR"),
            ("--import-addresses", "127.96.0.0/16", "240.96.0.0/16"),
            ("--import-addresses", "10.0.0.0", "240.96.0.0/16"),
            ("--delivery", "Helm", "EnvoyFilter"),
            ("--metadata-tls", "/tls", "--metadata-plain"),
        ] {
            let error = read(&[flag, value]).unwrap_err();
            assert!(error.contains(expected) && error.contains(flag), "{error}");
        }
        assert!(
            read(&["--advertise", "[2001:db8::1]:15443,gw.example:443", "--poll", "1s"]).is_ok()
        );
    }
}
