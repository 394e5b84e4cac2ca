//! Attributes: the answers of `proxy_get_property`.
//!
//! A path's segments are separated by NUL. Numbers and booleans are passed as their bytes in
//! memory: one byte for a bool, eight little-endian bytes for an integer. A property that is not
//! known (yet) is `NotFound`. An empty text is passed as a null pointer, which the SDK reports as
//! absent.

use crate::abi::Status;
use crate::stream::{Handshake, Stream};
use crate::vm_state::{Context, Root, VmState};

/// Looks up a path for a context.
pub(crate) fn property(state: &VmState, context: u32, path: &[u8]) -> Result<Vec<u8>, Status> {
    let path = std::str::from_utf8(path).map_err(|_| Status::NotFound)?;
    let segments: Vec<&str> = path.split('\0').collect();
    let (root, stream) = match state.contexts.get(&context) {
        Some(Context::Root(root)) => (Some(root), None),
        Some(Context::Stream(stream)) => (state.root(stream.root), Some(stream.as_ref())),
        None => (None, None),
    };
    of_plugin(state, root, &segments)
        .or_else(|| stream.and_then(|stream| of_stream(stream, &segments)))
        .ok_or(match segments.as_slice() {
            // Whole maps cannot be serialized here.
            ["connection" | "source" | "destination" | "xds"] => Status::SerializationFailure,
            _ => Status::NotFound,
        })
}

fn text(value: &str) -> Option<Vec<u8>> {
    Some(value.as_bytes().to_vec())
}

fn number(value: u64) -> Option<Vec<u8>> {
    Some(value.to_le_bytes().to_vec())
}

fn truth(value: bool) -> Option<Vec<u8>> {
    Some(vec![u8::from(value)])
}

fn of_plugin(state: &VmState, root: Option<&Root>, segments: &[&str]) -> Option<Vec<u8>> {
    match segments {
        ["plugin_name"] => text(&root?.plugin_name),
        ["plugin_root_id"] => text(&root?.root_id),
        ["plugin_vm_id"] => text(&state.vm_id),
        _ => None,
    }
}

fn of_stream(stream: &Stream, segments: &[&str]) -> Option<Vec<u8>> {
    match segments {
        ["connection", name] => of_connection(stream, name),
        ["connection_id"] => number(stream.id.0),
        ["source", "address"] => text(&format!("127.0.0.1:{}", 1024 + stream.id.0 % 60_000)),
        ["source", "port"] => number(1024 + stream.id.0 % 60_000),
        ["destination", "address"] => text("127.0.0.1:15443"),
        ["destination", "port"] => number(15443),
        ["xds", "filter_chain_name"] => text("federation"),
        ["xds", "cluster_name"] => text(stream.upstream()?),
        ["filter_state", key] => stream.filter_state.get(*key).cloned(),
        // A value set with `proxy_set_property` is read back under its own name, without a prefix.
        [name] => stream.filter_state.get(&format!("wasm.{name}")).cloned(),
        _ => None,
    }
}

/// `connection.*`. The client's certificate is available as soon as the client has sent it, before
/// it has proved that it holds the key. Until then the properties are absent, and `mtls` is false.
fn of_connection(stream: &Stream, name: &str) -> Option<Vec<u8>> {
    let passed_through = stream.listener.passed_through_key.is_some();
    let shown = stream.handshake >= Handshake::CertificateRead && !passed_through;
    let certificate = stream.client.certificate.as_ref().filter(|_| shown);
    match name {
        "id" => number(stream.id.0),
        "mtls" => truth(certificate.is_some()),
        // For a client without a server name, the property is present but empty.
        "requested_server_name" => text(stream.client.server_name.as_deref().unwrap_or_default()),
        // Not a sign of a finished handshake: it is present from the beginning.
        "tls_version" if !passed_through => text("TLSv1.3"),
        "uri_san_local_certificate" => {
            text("spiffe://beta.example/ns/istio-system/sa/ingressgateway")
        }
        "uri_san_peer_certificate" => text(certificate?.first_uri_san()?),
        _ => None,
    }
}
