//! Where the collector listens.

use std::fmt;
use url::Url;

/// The base URL of an OTLP endpoint, such as `http://collector.observability:4318`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why a URL is refused. The message does not repeat it, because it could hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the base URL of an OTLP/HTTP endpoint such as http://collector.example:4318, without user, query or fragment"
)]
pub struct InvalidEndpoint;

impl Endpoint {
    /// Parses a base URL.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] if it is not an `http` or `https` URL, or has more than a host, a port
    /// and a path.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(text).map_err(|_| InvalidEndpoint)?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        (is_http && is_bare).then_some(Self(url)).ok_or(InvalidEndpoint)
    }

    /// Whether spans are sent over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL that spans are sent to: the base with `/v1/traces`, as OpenTelemetry specifies.
    pub(crate) fn traces(&self) -> String {
        format!("{}/v1/traces", self.0.as_str().trim_end_matches('/'))
    }
}

/// The text of an endpoint as an operator has set it. It is not shown, because a wrong one could
/// hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointText(String);

impl EndpointText {
    /// Takes any text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The endpoint that the text says.
    ///
    /// # Errors
    /// Same as [`Endpoint::parse`].
    pub fn endpoint(&self) -> Result<Endpoint, InvalidEndpoint> {
        Endpoint::parse(&self.0)
    }
}

impl From<String> for EndpointText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for EndpointText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointText(…)")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_base_url() {
        for (text, traces) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://collector.example/otlp", "https://collector.example/otlp/v1/traces"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().traces(), traces);
        }
        for text in [
            "",
            "collector:4318",
            "grpc://collector:4317",
            "file:///tmp/spans",
            "http://user:secret@collector:4318",
            "http://collector:4318/?token=secret",
            "http://collector:4318/#a",
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
