//! The settings of `fedgate controller`: flags, each with an environment variable. Only this module
//! reads them.

mod check;
mod exchange;
mod gateway;
mod namespaces;
mod networks;
mod shared;
mod values;

pub use exchange::{MetadataSettings, PeerSettings, TimeSettings};
pub use gateway::{GatewaySettings, Selector};
pub use namespaces::{Delivery, Namespaces};
pub use networks::{AdvertisedTo, ConnectionSettings, NetworkSettings};
pub use shared::{FederatedNames, ImportsNamespace, ProbesListen};

use clap::Args;
use fedgate_core::TrustDomain;
use fedgate_envoy::AddressRange;
use fedgate_exchange::proxy::ProxySettings;
use fedgate_exchange::settings::{Intervals, MetadataEndpoint, MetadataTransport, PeerAccess};
use fedgate_federation::document::{ClusterUuid, Network, WorkloadIdentity};
use fedgate_federation::knowledge::Times;
use fedgate_trace::{Endpoint, EndpointText, InvalidEndpoint};

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
    #[arg(long, env = "FEDGATE_IMPORT_ADDRESSES", value_name = "CIDR", value_parser = values::mesh_range)]
    pub import_addresses: Option<AddressRange>,
    /// What the names of FederatedServices end in
    #[command(flatten)]
    pub federated: FederatedNames,
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
    /// Where to send traces of changes: the base URL of an OTLP/HTTP endpoint [default: changes are
    /// not traced]
    #[arg(long, env = "FEDGATE_TRACING_OTLP_ENDPOINT", value_name = "URL")]
    pub tracing_otlp_endpoint: Option<EndpointText>,
    /// The name of this Pod, which identifies the replica and is the source of its Events
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "fedgate")]
    pub pod_name: String,
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
