//! The filter in Envoy's configuration: a Wasm plugin delivered by extension discovery, with the
//! table as its configuration.

use super::resource::{discovery, hash, source, typed};
use super::{FilePath, GatewayInputs};
use fedgate_core::write_configuration;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The filter's name in the listener, in its metrics and in its filter state.
const NAME: &str = "fedgate";
const WASM: &str = "extensions.filters.network.wasm.v3.Wasm";

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

/// The filter's module. Its file name contains its hash, so a file that Envoy has open or is about
/// to read never changes.
#[derive(Debug, Clone)]
pub struct FilterModule {
    bytes: Arc<[u8]>,
    file_name: String,
}

impl FilterModule {
    /// A module with these bytes. They are not checked; Envoy refuses an invalid module.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let file_name = format!("fedgate_filter-{}.wasm", hash(&bytes));
        Self { bytes, file_name }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn file_name(&self) -> &str {
        &self.file_name
    }
}

/// The filter's entry in the listener. It says where to find the filter, and nothing about its
/// table.
pub(super) fn in_listener(file: &FilePath) -> Value {
    placeholder(source(file))
}

/// The filter itself, as in `gateway/filter/filter.json`.
pub(super) fn extension_config(inputs: &GatewayInputs<'_>, module: &FilePath) -> Value {
    let configuration = json!(write_configuration(inputs.table, inputs.options)).to_string();
    discovery(vec![typed(
        "config.core.v3.TypedExtensionConfig",
        extension_of(configuration, module.as_str()),
    )])
}

/// The name and configuration of the extension. `module` is a file on Envoy's machine.
///
/// A failed VM is replaced (`FAIL_RELOAD`); until then connections are closed. The VM has its own
/// ID, because VMs with the same ID share data, and the newest table travels through it.
pub fn extension_of(configuration: String, module: &str) -> Value {
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
    json!({ "name": NAME, "typed_config": typed(WASM, json!({ "config": plugin })) })
}

/// The filter's entry in a listener. `source` says where it comes from.
pub fn placeholder(source: Value) -> Value {
    let type_url = format!("type.googleapis.com/envoy.{WASM}");
    json!({ "name": NAME, "config_discovery": { "config_source": source, "type_urls": [type_url] } })
}
