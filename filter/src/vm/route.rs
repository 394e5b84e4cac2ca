//! Sets the cluster of an allowed connection.

use super::host::Host;
use crate::host::Status;

/// The filter state from which tcp_proxy takes its cluster when it starts (Envoy: "Well Known
/// Filter State Objects").
const CLUSTER: &str = "envoy.tcp_proxy.cluster";

/// Sets the cluster of a connection. Has no effect once tcp_proxy has started.
///
/// # Errors
/// The proxy's status. The caller must then close the connection, because tcp_proxy would send it
/// to its default cluster.
pub(crate) fn set_cluster(host: &impl Host, cluster: &str) -> Result<(), Status> {
    host.call_foreign_function("set_envoy_filter_state", &filter_state(CLUSTER, cluster))
}

/// Envoy's `SetEnvoyFilterStateArguments {1: path, 2: value, 3: span}` in protobuf. The span is
/// omitted and so 0, `FilterChain`: the state lives as long as the connection's filters.
fn filter_state(path: &str, value: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(path.len() + value.len() + 8);
    for (tag, text) in [(0x0a, path), (0x12, value)] {
        message.push(tag);
        push_length(&mut message, text.len());
        message.extend_from_slice(text.as_bytes());
    }
    message
}

/// Appends a length as a protobuf varint.
fn push_length(message: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        message.push((length & 0x7f | 0x80) as u8);
        length >>= 7;
    }
    message.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_state_is_encoded_as_protobuf() {
        assert_eq!(filter_state("a.b", "c"), b"\x0a\x03a.b\x12\x01c");
        let long = "x".repeat(300);
        assert_eq!(filter_state("a", &long)[3..6], [0x12, 0xac, 0x02]);
        assert_eq!(filter_state("a", &long).len(), 6 + 300);
    }
}
