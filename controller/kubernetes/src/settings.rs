//! How `fedgate controller` is set up: by flags, each with an environment variable, and nothing else reads either.

use clap::{Args, ValueEnum};
use fedgate_core::TrustDomain;
use fedgate_exchange::exporter::MetadataPath;
use fedgate_federation::document::{ClusterUuid, GatewayAddress, Network, WorkloadIdentity};
use fedgate_federation::knowledge::Times;
use fedgate_process::words::spell;
use ipnet::IpNet;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that the controller is told at its start.
#[derive(Debug, Clone, Args)]
pub struct ControllerSettings {
    /// The trust domain of this cluster, which is its cluster domain as well
    #[arg(long, env = "FEDGATE_TRUST_DOMAIN", value_name = "DOMAIN", value_parser = TrustDomain::parse)]
    pub trust_domain: TrustDomain,
    /// The UUID that peers know this cluster by; made once and kept when it is absent
    #[arg(long, env = "FEDGATE_CLUSTER_UUID", value_name = "UUID", value_parser = ClusterUuid::parse)]
    pub cluster_uuid: Option<ClusterUuid>,
    /// Where fedgate's and the mesh's objects are
    #[command(flatten)]
    pub places: Places,
    /// The gateway that peers connect to
    #[command(flatten)]
    pub gateway: GatewaySettings,
    /// The network that this cluster's addresses are in
    #[command(flatten)]
    pub network: NetworkSettings,
    /// What peers fetch
    #[command(flatten)]
    pub metadata: MetadataSettings,
    /// How often, and how long
    #[command(flatten)]
    pub times: TimeSettings,
    /// Where probes and Prometheus ask: /healthz, /readyz, /metrics
    #[arg(long, env = "FEDGATE_PROBES_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:15090")]
    pub probes_listen: SocketAddr,
    /// The name of this pod: replicas are told apart by it, and Events come from it
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "fedgate")]
    pub pod_name: String,
}

/// Where objects are. The command line reads this of a running controller (ConfigMap `fedgate-state`).
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Places {
    /// fedgate's own namespace: its key, its lease, its memory
    #[arg(long, env = "FEDGATE_NAMESPACE", value_name = "NAMESPACE", default_value = "fedgate-system")]
    pub namespace: String,
    /// The namespace of the gateway [default: fedgate's own]
    #[arg(long = "gateway-namespace", env = "FEDGATE_GATEWAY_NAMESPACE", value_name = "NAMESPACE")]
    gateway: Option<String>,
    /// The namespace that ServiceEntries and DestinationRules of imports are written to [default: fedgate's own]
    #[arg(long = "imports-namespace", env = "FEDGATE_IMPORTS_NAMESPACE", value_name = "NAMESPACE")]
    imports: Option<String>,
    /// The mesh's root namespace: what is written there holds for all sidecars
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
    /// By an EnvoyFilter: a new table keeps the filter's VM.
    #[default]
    EnvoyFilter,
    /// By a WasmPlugin, which can pull the module from a registry: each table makes a new VM.
    WasmPlugin,
}

impl Delivery {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EnvoyFilter, Self::WasmPlugin];
}

/// The gateway.
#[derive(Debug, Clone, Args)]
pub struct GatewaySettings {
    /// The gateway's Service, by whose addresses peers reach it
    #[arg(
        long = "gateway-service",
        env = "FEDGATE_GATEWAY_SERVICE",
        value_name = "NAME",
        default_value = "fedgate-gateway"
    )]
    pub service: String,
    /// The port of that Service
    #[arg(long = "gateway-port", env = "FEDGATE_GATEWAY_PORT", value_name = "PORT", default_value = "15443")]
    pub port: u16,
    /// The labels of the gateway's Pods
    #[arg(long = "gateway-selector", env = "FEDGATE_GATEWAY_SELECTOR", value_name = "KEY=VALUE,…", default_value = "istio=fedgate", value_parser = Selector::parse)]
    pub selector: Selector,
    /// The gateway's service account: peers expect its identity and no other
    #[arg(
        long = "gateway-service-account",
        env = "FEDGATE_GATEWAY_SERVICE_ACCOUNT",
        value_name = "NAME",
        default_value = "fedgate-gateway"
    )]
    pub service_account: String,
    /// Where peers are told to connect, in place of the Service's addresses
    #[arg(long, env = "FEDGATE_ADVERTISE", value_name = "HOST:PORT", value_delimiter = ',', value_parser = advertised)]
    pub advertise: Vec<GatewayAddress>,
    /// The filter that the gateway is given, by the ConfigMap fedgate-filter [default: fedgate_filter.wasm beside this program]
    #[arg(long, env = "FEDGATE_FILTER_FILE", value_name = "FILE")]
    pub filter_file: Option<PathBuf>,
    /// The folder that the ConfigMap fedgate-filter is mounted at in the gateway's container
    #[arg(long, env = "FEDGATE_FILTER_FOLDER", value_name = "DIR", default_value = "/etc/fedgate/filter")]
    pub filter_folder: String,
    /// The filter where the gateway has it without the controller: a file in its container (file://…), or with the WasmPlugin a registry (oci://…)
    #[arg(long, env = "FEDGATE_FILTER_MODULE", value_name = "URL")]
    pub filter_module: Option<String>,
    /// The folder that the trust bundle is mounted at in the gateway's container
    #[arg(long, env = "FEDGATE_TRUST_FOLDER", value_name = "DIR", default_value = "/etc/fedgate/trust")]
    pub trust_folder: String,
    /// Whether peers are offered the name that DKP's clusters probe once a minute; the gateway answers it
    #[arg(long, env = "FEDGATE_HEALTH_NAME", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub health_name: bool,
    /// Pass TLS through to Services that ask for it; needs the ClusterRole fedgate-passthrough
    #[arg(long, env = "FEDGATE_PASSTHROUGH")]
    pub passthrough: bool,
    /// Whether the gateway prints a line for each connection, with what was decided and why
    #[arg(
        long = "gateway-access-log",
        env = "FEDGATE_GATEWAY_ACCESS_LOG",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub access_log: bool,
    /// How long HTTP requests to a peer share a connection: a gateway of the peer's that is to end waits as long
    #[arg(
        long = "connection-lifetime",
        env = "FEDGATE_CONNECTION_LIFETIME",
        value_name = "TIME",
        default_value = "60s",
        value_parser = poll
    )]
    pub connection_lifetime: Duration,
    /// The namespaces that may see imports
    #[arg(long, env = "FEDGATE_EXPORT_TO", value_name = "NAMESPACE", value_delimiter = ',', default_value = "*")]
    pub export_to: Vec<String>,
}

/// Labels that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selector(pub std::collections::BTreeMap<String, String>);

/// The network.
#[derive(Debug, Clone, Args)]
pub struct NetworkSettings {
    /// The network's name: clusters with the same one reach each other's pods directly
    #[arg(long = "network", env = "FEDGATE_NETWORK", value_name = "NAME")]
    pub name: Option<String>,
    /// Where pods' addresses come from [default: what the Nodes say]
    #[arg(long, env = "FEDGATE_POD_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidrs: Vec<IpNet>,
    /// Where Services' addresses come from [default: what the ServiceCIDRs say]
    #[arg(long, env = "FEDGATE_SERVICE_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    pub service_cidrs: Vec<IpNet>,
}

/// What peers fetch.
#[derive(Debug, Clone, Args)]
pub struct MetadataSettings {
    /// Where peers fetch metadata
    #[arg(
        long = "metadata-listen",
        env = "FEDGATE_METADATA_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15080"
    )]
    pub listen: SocketAddr,
    /// The path in front of the documents
    #[arg(long = "metadata-path", env = "FEDGATE_METADATA_PATH", value_name = "PATH", default_value = "/metadata", value_parser = MetadataPath::parse)]
    pub path: MetadataPath,
    /// A folder with tls.crt and tls.key, as a mounted Secret has them
    #[arg(long = "metadata-tls", env = "FEDGATE_METADATA_TLS", value_name = "DIR", required_unless_present = "plain")]
    pub tls: Option<PathBuf>,
    /// HTTP without TLS, behind an ingress that terminates it
    #[arg(long = "metadata-plain", env = "FEDGATE_METADATA_PLAIN", conflicts_with = "tls")]
    pub plain: bool,
    /// The ConfigMap with this cluster's roots (key root-cert.pem), which istiod writes into every namespace
    #[arg(long, env = "FEDGATE_ROOTS_CONFIGMAP", value_name = "NAME", default_value = "istio-ca-root-cert")]
    pub roots_configmap: String,
}

/// How often, and how long.
#[derive(Debug, Clone, Args)]
pub struct TimeSettings {
    /// How often each peer is asked, from 1s on
    #[arg(long, env = "FEDGATE_POLL", value_name = "TIME", default_value = "30s", value_parser = poll)]
    pub poll: Duration,
    /// How often each peer's gateways are connected to, to see that they can be reached
    #[arg(long, env = "FEDGATE_PROBE", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub probe: Duration,
    /// How long one document may take
    #[arg(long, env = "FEDGATE_TIMEOUT", value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub timeout: Duration,
    /// From this age on what is known of a peer is shown as stale
    #[arg(long, env = "FEDGATE_STALE_AFTER", value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub stale_after: Duration,
    /// From this age on it is not used any more
    #[arg(long, env = "FEDGATE_STALENESS_LIMIT", value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub staleness_limit: Duration,
}

impl Places {
    /// What the defaults say for a fedgate in this namespace.
    pub fn all_in(namespace: &str) -> Self {
        let (namespace, root) = (namespace.to_owned(), "istio-system".to_owned());
        Self { namespace, gateway: None, imports: None, root, delivery: Delivery::default() }
    }

    /// The same with these namespaces in place of those that it has, where one is given.
    pub fn moved(mut self, gateway: Option<String>, imports: Option<String>, root: Option<String>) -> Self {
        self.gateway = gateway.or(self.gateway);
        self.imports = imports.or(self.imports);
        self.root = root.unwrap_or(self.root);
        self
    }

    /// The gateway's namespace.
    pub fn gateway(&self) -> &str {
        self.gateway.as_deref().unwrap_or(&self.namespace)
    }

    /// The namespace of imports.
    pub fn imports(&self) -> &str {
        self.imports.as_deref().unwrap_or(&self.namespace)
    }
}

impl GatewaySettings {
    /// The file of the filter that this program brings.
    pub fn filter_file(&self) -> PathBuf {
        self.filter_file.clone().unwrap_or_else(fedgate_process::beside::filter_module)
    }
}

impl ControllerSettings {
    /// The SPIFFE ID of the gateway; `None` when namespace and service account make none.
    pub fn gateway_identity(&self) -> Option<WorkloadIdentity> {
        let (namespace, account) = (self.places.gateway(), &self.gateway.service_account);
        WorkloadIdentity::parse(&format!("spiffe://{}/ns/{namespace}/sa/{account}", self.trust_domain)).ok()
    }

    /// Checks what no field can be checked for alone.
    ///
    /// # Errors
    /// What contradicts what.
    pub fn check(&self) -> anyhow::Result<()> {
        let TimeSettings { stale_after, staleness_limit, .. } = self.times;
        anyhow::ensure!(
            staleness_limit >= stale_after,
            "--staleness-limit ({}) must be at least --stale-after ({})",
            spell(staleness_limit),
            spell(stale_after)
        );
        anyhow::ensure!(
            self.places.delivery == Delivery::WasmPlugin || !is_elsewhere(self.gateway.filter_module.as_ref()),
            "--filter-module is {:?}: expected a file of the gateway's container (file:///…), unless --delivery is WasmPlugin",
            self.gateway.filter_module.as_deref().unwrap_or_default()
        );
        Ok(())
    }

    /// When knowledge is stale.
    pub fn knowledge_times(&self) -> Times {
        Times { stale_after: self.times.stale_after, staleness_limit: self.times.staleness_limit }
    }

    /// The network as far as it is configured.
    pub fn network(&self) -> Network {
        let NetworkSettings { name, pod_cidrs, service_cidrs } = self.network.clone();
        Network { name, pod_cidrs, service_cidrs }
    }
}

impl Selector {
    /// Reads `key=value` pairs, separated by commas.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pair = |pair: &str| {
            let (key, value) = pair.trim().split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        };
        let pairs: Option<_> = text.split(',').map(pair).collect();
        pairs.map(Self).ok_or_else(|| format!("expected labels such as istio=fedgate, found {text:?}"))
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

fn advertised(text: &str) -> Result<GatewayAddress, String> {
    let expected = || format!("expected a host and port such as gw.example:15443, found {text:?}");
    GatewayAddress::parse(text.trim()).ok_or_else(expected)
}

/// Tokens of one second are the same token, so a peer cannot be asked more often.
fn poll(text: &str) -> Result<Duration, String> {
    let poll = duration(text)?;
    (poll >= Duration::from_secs(1)).then_some(poll).ok_or_else(|| format!("expected 1s or more, found {text:?}"))
}

/// A time from a tenth of a second to 30 days.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as 500ms, 30s, 5m or 24h, found {text:?}");
    let duration: SignedDuration = text.parse().map_err(|_| expected())?;
    let duration = Duration::try_from(duration).map_err(|_| expected())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(30 * 24 * 3600);
    range.contains(&duration).then_some(duration).ok_or_else(|| format!("{}, from 100ms to 30 days", expected()))
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

    /// The settings of a plain case with these flags besides.
    pub(crate) fn read(more: &[&str]) -> Result<ControllerSettings, String> {
        let line = ["fedgate", "--trust-domain", "alpha.example", "--metadata-plain"].iter().chain(more);
        Line::try_parse_from(line).map(|line| line.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plain_case_needs_two_words() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.places.gateway(), settings.places.imports()), ("fedgate-system", "fedgate-system"));
        assert_eq!(
            settings.gateway_identity().unwrap().as_str(),
            "spiffe://alpha.example/ns/fedgate-system/sa/fedgate-gateway"
        );
        assert_eq!(settings.times.poll, Duration::from_secs(30));
        assert_eq!(settings.places.delivery, Delivery::EnvoyFilter);
        assert!(settings.check().is_ok());
    }

    #[test]
    fn a_module_of_a_registry_is_for_the_wasm_plugin_alone() {
        let oci = ["--filter-module", "oci://registry.example/fedgate-filter:1"];
        let said = read(&oci).unwrap().check().unwrap_err().to_string();
        assert!(said.contains("oci://registry.example") && said.contains("WasmPlugin"), "{said}");
        let [flag, url] = oci;
        assert!(read(&[flag, url, "--delivery", "WasmPlugin"]).unwrap().check().is_ok());
        assert!(read(&["--filter-module", "file:///filter.wasm"]).unwrap().check().is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (flag, value, expected) in [
            ("--poll", "soon", "30s"),
            ("--timeout", "10ms", "from 100ms"),
            ("--poll", "500ms", "1s or more"),
            ("--advertise", "gw.example", "gw.example:15443"),
            ("--gateway-selector", "istio", "istio=fedgate"),
            ("--pod-cidrs", "10.0.0.0", "CIDR"),
            ("--delivery", "Helm", "EnvoyFilter"),
            ("--metadata-tls", "/tls", "--metadata-plain"),
        ] {
            let said = read(&[flag, value]).unwrap_err();
            assert!(said.contains(expected) && said.contains(flag), "{said}");
        }
        assert!(read(&["--advertise", "[2001:db8::1]:15443,gw.example:443", "--poll", "1s"]).is_ok());
    }
}
