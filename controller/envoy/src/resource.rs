//! The forms that all of Envoy's resources have in common.

use super::FilePath;
use fedgate_core::Hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `google.protobuf.Any` as JSON: the fields, with the message's name (without `envoy.`) beside them.
pub(crate) fn typed(message: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/envoy.{message}").into();
    fields
}

/// An extension: its name, and its configuration.
pub fn extension(name: &str, message: &str, fields: Value) -> Value {
    json!({ "name": name, "typed_config": typed(message, fields) })
}

/// A `DiscoveryResponse`, as files have it. There is no version: Envoy compares the resources themselves.
pub(super) fn discovery(resources: Vec<Value>) -> Value {
    json!({ "resources": resources })
}

/// A `ConfigSource` that is a file. Envoy reads it anew when another file is renamed to it; a `watched_directory` would have
/// it read as well when any other file of that folder is.
pub(super) fn source(path: &FilePath) -> Value {
    json!({ "path_config_source": { "path": path.as_str() }, "resource_api_version": "V3" })
}

/// A `SocketAddress`.
pub(super) fn address(address: std::net::SocketAddr) -> Value {
    socket_address(&address.ip().to_string(), address.port())
}

/// A `SocketAddress` with an IP address or, in clusters that resolve names, a name.
pub(super) fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

/// A name as part of a metric's name, where dots separate.
pub(super) fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}

/// SHA-256 in hexadecimal: a name for what has none that is short enough.
pub fn hash(bytes: &[u8]) -> String {
    Hex(&Sha256::digest(bytes)).to_string()
}
