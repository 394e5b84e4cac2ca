//! The filter in Envoy's configuration: a Wasm plugin or a dynamic module, delivered by extension
//! discovery, with the table as its configuration.

use super::resource::{discovery, hash, typed};
use super::{FilePath, GatewayInputs};
use fedgate_core::write_configuration;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The filter's name in its metrics and in its filter state.
const NAME: &str = "fedgate";
const WASM: &str = "extensions.filters.network.wasm.v3.Wasm";
const DYNAMIC_MODULE: &str =
    "extensions.filters.network.dynamic_modules.v3.DynamicModuleNetworkFilter";
/// The prefix of a Wasm plugin's metrics. The dynamic module's have the same, so that both have the
/// same names.
const METRICS: &str = "wasmcustom";

/// What the module may call, and which of its functions are called. Any other call returns an
/// error, even if the module is compromised. Without a capability that it needs, the filter would
/// refuse everyone.
const CAPABILITIES: &[&str] = &[
    "proxy_call_foreign_function",
    "proxy_close_stream",
    "proxy_continue_stream",
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_log_level",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_set_effective_context",
    "proxy_set_property",
    "proxy_set_shared_data",
    "proxy_set_tick_period_milliseconds",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_done",
    "proxy_on_downstream_connection_close",
    "proxy_on_downstream_data",
    "proxy_on_log",
    "proxy_on_new_connection",
    "proxy_on_tick",
    "proxy_on_upstream_connection_close",
    "proxy_on_upstream_data",
    "proxy_on_vm_start",
];

/// How Envoy runs the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FilterKind {
    /// As a proxy-wasm plugin, in a sandbox.
    #[default]
    ProxyWasm,
    /// As a dynamic module: native code in Envoy's process.
    Native,
}

impl FilterKind {
    /// Its word in the settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::ProxyWasm => "proxy-wasm",
            Self::Native => "native",
        }
    }

    /// The name of the module's file, as it is built.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::ProxyWasm => "fedgate_filter.wasm",
            Self::Native => "libfedgate_filter_native.so",
        }
    }

    /// The format of the module's file, for messages.
    pub fn format(self) -> &'static str {
        match self {
            Self::ProxyWasm => "a WebAssembly module",
            Self::Native => "a shared library",
        }
    }

    /// Returns true if a file begins as each module of this kind does. Envoy checks the rest.
    pub fn is_module(self, file: &[u8]) -> bool {
        file.starts_with(match self {
            Self::ProxyWasm => b"\0asm",
            Self::Native => b"\x7fELF",
        })
    }

    /// The name under which a listener asks for the filter. Each kind has its own: while any
    /// listener of an Envoy asks for one kind, that Envoy refuses the other kind under that name.
    fn discovery_name(self) -> &'static str {
        match self {
            Self::ProxyWasm => NAME,
            Self::Native => "fedgate_native",
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::ProxyWasm => WASM,
            Self::Native => DYNAMIC_MODULE,
        }
    }

    /// Returns true if the listener must record the client's identity for the filter. Envoy reports
    /// it to a dynamic module itself.
    pub fn needs_recorded_identity(self) -> bool {
        self == Self::ProxyWasm
    }
}

impl std::str::FromStr for FilterKind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::ProxyWasm, Self::Native].into_iter().find(|kind| kind.word() == word).ok_or(())
    }
}

/// The filter's module.
#[derive(Debug, Clone)]
pub struct FilterModule {
    kind: FilterKind,
    bytes: Arc<[u8]>,
    file_name: String,
}

impl FilterModule {
    /// A module with these bytes. They are not checked; Envoy refuses an invalid module.
    ///
    /// A Wasm module's file name contains its hash, so a file that Envoy has open or is about to
    /// read never changes. A dynamic module has one file name: Envoy keeps the first module that it
    /// loaded from a path, so another one takes effect when Envoy restarts. Two of them in one
    /// Envoy would not share a table, and the older one would keep its connections.
    pub fn new(kind: FilterKind, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let file_name = match kind {
            FilterKind::ProxyWasm => format!("fedgate_filter-{}.wasm", hash(&bytes)),
            FilterKind::Native => kind.file_name().to_owned(),
        };
        Self { kind, bytes, file_name }
    }

    pub(super) fn kind(&self) -> FilterKind {
        self.kind
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn file_name(&self) -> &str {
        &self.file_name
    }
}

/// Without it, the names of a dynamic module's metrics would have a prefix in Prometheus's format.
pub(super) fn runtime_layers(kind: FilterKind) -> Vec<Value> {
    const WITHOUT_PREFIX: &str =
        "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
    match kind {
        FilterKind::ProxyWasm => vec![],
        FilterKind::Native => {
            vec![json!({ "name": "metrics", "static_layer": { WITHOUT_PREFIX: true } })]
        }
    }
}

/// The filter itself, as in `gateway/filter/filter.json`.
pub(super) fn extension_config(inputs: &GatewayInputs<'_>, module: &FilePath) -> Value {
    let configuration = json!(write_configuration(inputs.table, inputs.options)).to_string();
    let extension = extension_of(inputs.module.kind, configuration, module.as_str());
    discovery(vec![typed("config.core.v3.TypedExtensionConfig", extension)])
}

/// The name and configuration of the extension. `module` is a file on Envoy's machine.
pub fn extension_of(kind: FilterKind, configuration: String, module: &str) -> Value {
    let filter = match kind {
        FilterKind::ProxyWasm => plugin(configuration, module),
        FilterKind::Native => dynamic_module(configuration, module),
    };
    json!({ "name": kind.discovery_name(), "typed_config": typed(kind.type_name(), filter) })
}

/// The dynamic module. Envoy never unloads it: threads keep its state.
fn dynamic_module(configuration: String, module: &str) -> Value {
    json!({
        "filter_name": NAME,
        "filter_config": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration },
        "dynamic_module_config": {
            "module": { "local": { "filename": module } },
            "do_not_close": true,
            "metrics_namespace": METRICS,
        },
    })
}

/// A failed VM is replaced (`FAIL_RELOAD`); until then connections are closed. The VM has its own
/// ID, because VMs with the same ID share data, and the newest table travels through it.
fn plugin(configuration: String, module: &str) -> Value {
    let allowed: Map<_, _> =
        CAPABILITIES.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    let plugin = json!({
        "name": NAME,
        "root_id": NAME,
        "failure_policy": "FAIL_RELOAD",
        "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration },
        "capability_restriction_config": { "allowed_capabilities": allowed },
        "vm_config": {
            "vm_id": NAME,
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": module } },
        },
    });
    json!({ "config": plugin })
}

/// The filter's entry in a listener: where it comes from (`source`), and nothing about its table.
pub fn placeholder(kind: FilterKind, source: Value) -> Value {
    let type_url = format!("type.googleapis.com/envoy.{}", kind.type_name());
    let discovery = json!({ "config_source": source, "type_urls": [type_url] });
    json!({ "name": kind.discovery_name(), "config_discovery": discovery })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Envoy keeps the first module that it loaded from a path.
    #[test]
    fn a_dynamic_module_keeps_its_file_name_and_a_wasm_module_does_not() {
        let names = |kind| [b"old", b"new"].map(|bytes| FilterModule::new(kind, *bytes).file_name);
        let [old, new] = names(FilterKind::Native);
        assert_eq!((old.as_str(), &old), ("libfedgate_filter_native.so", &new));
        let [old, new] = names(FilterKind::ProxyWasm);
        assert_ne!(old, new);
    }

    #[test]
    fn a_dynamic_module_is_delivered_like_a_wasm_module() {
        for kind in [FilterKind::ProxyWasm, FilterKind::Native] {
            let entry = placeholder(kind, json!({ "ads": {} }));
            let extension = extension_of(kind, "{}".to_owned(), "/module");
            assert_eq!(entry["name"], extension["name"]);
            assert_eq!(
                entry["config_discovery"]["type_urls"],
                json!([extension["typed_config"]["@type"]])
            );
        }
    }

    #[test]
    fn a_dynamic_module_is_never_unloaded_and_its_metrics_keep_their_names() {
        let module = extension_of(FilterKind::Native, "{}".to_owned(), "/module.so");
        let config = &module["typed_config"]["dynamic_module_config"];
        assert_eq!(config["module"]["local"]["filename"], "/module.so");
        assert_eq!(config["do_not_close"], true);
        assert_eq!(config["metrics_namespace"], "wasmcustom");
        assert!(runtime_layers(FilterKind::ProxyWasm).is_empty());
        // Where Istio starts Envoy, the Helm chart passes it the same layer.
        let chart = include_str!("../../../deploy/chart/files/gateway-runtime.json");
        assert_eq!(
            serde_json::from_str::<Value>(chart).unwrap(),
            json!({ "layered_runtime": { "layers": runtime_layers(FilterKind::Native) } })
        );
    }
}
