//! The common parts of Envoy's resources.

use super::FilePath;
use fedgate_core::Hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `google.protobuf.Any` as JSON: the fields, plus the message's name (given without `envoy.`).
pub(crate) fn typed(message: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/envoy.{message}").into();
    fields
}

/// An extension: its name and its configuration.
pub fn extension(name: &str, message: &str, fields: Value) -> Value {
    json!({ "name": name, "typed_config": typed(message, fields) })
}

/// A `DiscoveryResponse` as in files. It has no version, because Envoy compares the resources
/// themselves.
pub(super) fn discovery(resources: Vec<Value>) -> Value {
    json!({ "resources": resources })
}

/// A `ConfigSource` for a file. Envoy reads the file again when another one is renamed to it. With
/// a `watched_directory`, it would also do so for any other file of that folder.
pub(super) fn source(path: &FilePath) -> Value {
    json!({ "path_config_source": { "path": path.as_str() }, "resource_api_version": "V3" })
}

pub(super) fn address(address: std::net::SocketAddr) -> Value {
    socket_address(&address.ip().to_string(), address.port())
}

pub(super) fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

/// A name as part of a metric's name, where dots are separators.
pub fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}

/// SHA-256 in hexadecimal, used as a short name.
pub fn hash(bytes: &[u8]) -> String {
    Hex(&Sha256::digest(bytes)).to_string()
}
