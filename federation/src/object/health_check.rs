//! How the callers of a `FederatedService` find out whether its members work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most bytes of a path, or of a text over TCP.
pub const MAX_CHECK_TEXT: usize = 256;

/// How the proxies of this cluster find out whether a peer's Service works: they ask it, through
/// the peer's gateways. Set exactly one of path and tcp.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheckSpec {
    /// The path of an HTTP GET, such as /healthz. An answer from 200 to 299 says that the Service
    /// works.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(min = 1, max = MAX_CHECK_TEXT))]
    pub path: Option<String>,
    /// An exchange of texts over TCP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcp: Option<TcpCheckSpec>,
    /// The time between two checks of a gateway, from 500ms to 1m, such as 2s. By default 500ms.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(min = 2, max = 16))]
    pub interval: Option<String>,
}

/// A check over TCP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpCheckSpec {
    /// What to send first, such as "PING\r\n". By default nothing, for servers that speak first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(min = 1, max = MAX_CHECK_TEXT))]
    pub send: Option<String>,
    /// What the answer must contain.
    #[schemars(length(min = 1, max = MAX_CHECK_TEXT))]
    pub expect: String,
}
