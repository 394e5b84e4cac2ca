//! The header by which a load balancer says where a connection is from.

use super::resource::extension;
use serde_json::{Value, json};

/// The listener filter that reads the header, in front of the one that reads TLS. Both versions are
/// read, and a connection without a header is closed. So nobody who can reach the listener only
/// through the balancer can pretend to be at another address.
pub fn listener_filter() -> Value {
    extension(
        "envoy.filters.listener.proxy_protocol",
        "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        json!({}),
    )
}
