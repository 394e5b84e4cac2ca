//! Which fields of which documents get into a bundle.

use super::allow::Rules;

/// Of manifests and objects, by kind. Of other kinds only [`ANY`] is kept.
pub(super) fn of_kind(kind: &str) -> Rules {
    match kind {
        "Service" => SERVICE,
        "EndpointSlice" => ENDPOINT_SLICE,
        "IstioFederation" => FEDERATION,
        "FederationPolicy" => POLICY,
        "Deployment" => DEPLOYMENT,
        "Pod" => POD,
        "Event" => EVENT,
        _ => ANY,
    }
}

const ANY: Rules = &["apiVersion", "kind", "metadata.name", "metadata.namespace"];

const SERVICE: Rules = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.labels.federation.istio.deckhouse.io/public-service",
    "spec.type",
    "spec.clusterIP",
    "spec.ports.name",
    "spec.ports.port",
    "spec.ports.targetPort",
    "spec.ports.protocol",
    "spec.ports.appProtocol",
];

const ENDPOINT_SLICE: Rules = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.labels.kubernetes.io/service-name",
    "addressType",
    "ports.name",
    "ports.port",
    "ports.protocol",
    "endpoints.addresses",
    "endpoints.conditions.ready",
];

/// Without the CA: someone may have put a key there.
const FEDERATION: Rules = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.generation",
    "metadata.creationTimestamp",
    "spec.trustDomain",
    "spec.metadataEndpoint",
    "spec.metadata.insecureSkipVerify",
    "status.conditions.type",
    "status.conditions.status",
    "status.conditions.reason",
    "status.conditions.lastTransitionTime",
];

const POLICY: Rules = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.generation",
    "spec.mode",
    "spec.peers",
    "spec.services.namespaces",
    "spec.services.names",
    "spec.services.ports",
    "spec.callers.namespace",
    "spec.callers.serviceAccount",
];

/// Without arguments, and of the environment only the names.
const DEPLOYMENT: Rules = &[
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.generation",
    "spec.replicas",
    "spec.template.spec.containers.name",
    "spec.template.spec.containers.image",
    "spec.template.spec.containers.env.name",
    "status.replicas",
    "status.readyReplicas",
    "status.observedGeneration",
    "status.conditions.type",
    "status.conditions.status",
    "status.conditions.reason",
];

const POD: Rules = &[
    "kind",
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.containers.name",
    "spec.containers.image",
    "status.phase",
    "status.startTime",
    "status.conditions.type",
    "status.conditions.status",
    "status.conditions.reason",
    "status.containerStatuses.name",
    "status.containerStatuses.ready",
    "status.containerStatuses.restartCount",
    "status.containerStatuses.state.*.reason",
    "status.containerStatuses.state.*.startedAt",
    "status.containerStatuses.lastState.*.reason",
    "status.containerStatuses.lastState.*.exitCode",
];

const EVENT: Rules = &[
    "kind",
    "type",
    "reason",
    "count",
    "lastTimestamp",
    "eventTime",
    "involvedObject.kind",
    "involvedObject.name",
    "regarding.kind",
    "regarding.name",
];

/// Names below which an Envoy's configuration is read. Not `secret`, `metadata` of nodes, or
/// anything with data: inline bytes and strings, and environment variables.
pub(super) const THROUGH: Rules = &[
    "configs",
    "bootstrap",
    "node",
    "admin",
    "address",
    "socket_address",
    "pipe",
    "static_listeners",
    "dynamic_listeners",
    "active_state",
    "warming_state",
    "draining_state",
    "error_state",
    "listener",
    "filter_chains",
    "filters",
    "listener_filters",
    "typed_config",
    "static_clusters",
    "dynamic_active_clusters",
    "dynamic_warming_clusters",
    "cluster",
    "load_assignment",
    "endpoints",
    "lb_endpoints",
    "endpoint",
    "circuit_breakers",
    "thresholds",
    "outlier_detection",
    "transport_socket",
    "ecds_filters",
    "ecds_filter",
    "static_secrets",
    "dynamic_active_secrets",
    "dynamic_warming_secrets",
    "certificates",
    "ca_cert",
    "cert_chain",
    "subject_alt_names",
    "command_line_options",
];

/// The fields that are kept there.
pub(super) const FIELDS: Rules = &[
    "@type",
    "name",
    "id",
    "cluster",
    "cluster_name",
    "version_info",
    "last_updated",
    "last_update_attempt",
    "address",
    "port_value",
    "path",
    "stat_prefix",
    "alt_stat_name",
    "type",
    "connect_timeout",
    "per_connection_buffer_limit_bytes",
    "max_connections",
    "max_pending_requests",
    "max_early_data_bytes",
    "max_connect_attempts",
    "listener_filters_timeout",
    "transport_socket_connect_timeout",
    "interval",
    "base_ejection_time",
    "version",
    "state",
    "uptime_current_epoch",
    "uptime_all_epochs",
    "concurrency",
    "base_id",
    "log_level",
    "mode",
    "drain_time",
    "drain_strategy",
    "serial_number",
    "days_until_expiration",
    "valid_from",
    "expiration_time",
    "uri",
    "dns",
];
