//! The exporter's settings.

use super::{Limits, Metrics, ServerTls};
use crate::keyring::Keyring;
use fedgate_process::clock::{Clock, SystemClock};
use std::sync::Arc;

/// What [`super::serve`] needs, apart from a listener and the documents.
#[derive(Clone)]
pub struct ExporterSettings {
    /// The path that each document's suffix is appended to.
    pub(crate) path: MetadataPath,
    /// Whether the exporter speaks TLS itself.
    pub(crate) transport: Transport,
    /// Whether a load balancer says at the start of each connection where it is from.
    pub(crate) proxy_protocol: bool,
    /// How much a stranger may use.
    pub(crate) limits: Limits,
    /// The clock that tokens' times are compared with.
    pub(crate) clock: Arc<dyn Clock>,
    /// The exporter's counters.
    pub(crate) metrics: Metrics,
    /// What signs the documents.
    pub(crate) keyring: Keyring,
}

impl ExporterSettings {
    /// The settings of a running controller, with HTTPS if there is a certificate.
    pub fn new(
        path: MetadataPath,
        tls: Option<Arc<ServerTls>>,
        metrics: Metrics,
        keyring: Keyring,
    ) -> Self {
        let limits = Limits::default().within_descriptors();
        let (transport, limits) = match tls {
            // Behind a proxy all connections come from one source.
            None => (Transport::Plain, Limits { connections_per_source: None, ..limits }),
            Some(tls) => (Transport::Tls(tls), limits),
        };
        let clock = Arc::new(SystemClock);
        Self { path, transport, proxy_protocol: false, limits, clock, metrics, keyring }
    }

    /// The same, behind a load balancer that sends the PROXY protocol if `proxy_protocol` is true.
    /// Then sources can be told apart, whatever terminates TLS.
    #[must_use]
    pub fn behind_balancer(self, proxy_protocol: bool) -> Self {
        let mut limits = self.limits;
        if proxy_protocol {
            limits.connections_per_source = Limits::default().connections_per_source;
        }
        Self { proxy_protocol, limits, ..self }
    }
}

/// How the exporter talks to its clients.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    /// HTTP without TLS, behind a proxy on the same machine or network that terminates TLS.
    Plain,
    /// HTTPS, with a certificate that can be replaced.
    Tls(Arc<ServerTls>),
}

/// The path prefix of the documents, without a trailing slash: `/metadata` by default, empty for
/// the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPath(Box<str>);

/// Why a path is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a path such as /metadata, of letters, digits, '.', '_', '~' and '-' between single slashes"
)]
pub struct InvalidPath;

impl MetadataPath {
    /// Parses a path. One trailing slash is ignored.
    ///
    /// # Errors
    /// [`InvalidPath`] for a path that clients or proxies could spell in more than one way.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let plain =
            |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b));
        let good = |part: &str| !part.is_empty() && part != "." && part != ".." && plain(part);
        let parts = path.strip_prefix('/').map(|rest| rest.split('/').all(good));
        match path.is_empty() && !text.is_empty() || parts == Some(true) {
            true => Ok(Self(path.into())),
            false => Err(InvalidPath),
        }
    }

    /// The path, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MetadataPath {
    fn default() -> Self {
        Self("/metadata".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_exactly_one_spelling() {
        for (text, path) in [
            ("/metadata", "/metadata"),
            ("/metadata/", "/metadata"),
            ("/", ""),
            ("/a/b-c.d", "/a/b-c.d"),
        ] {
            assert_eq!(MetadataPath::parse(text).unwrap().as_str(), path);
        }
        for text in
            ["", "metadata", "//", "/a//b", "/a//", "/a/../b", "/.", "/{x}", "/%2e", "/a b", "/ä"]
        {
            assert_eq!(MetadataPath::parse(text), Err(InvalidPath), "{text}");
        }
        assert_eq!(MetadataPath::default(), MetadataPath::parse("/metadata").unwrap());
    }
}
