//! What the exporter counts. All label values come from fixed sets, so a stranger cannot create new
//! series.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The exporter's counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Requests, by document and status.
    pub(crate) requests: Family<RequestLabels, Counter>,
    /// Refused tokens, by reason.
    pub(crate) refused_tokens: Family<TokenLabels, Counter>,
    /// Connections closed without an answer, by reason.
    pub(crate) dropped_connections: Family<DroppedLabels, Counter>,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Peers whose request waits for a change.
    pub(crate) waiting: Gauge,
}

/// What a request was for, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) document: DocumentLabel,
    /// The HTTP status.
    pub(crate) code: u16,
}

/// The requested document, or `Other` for any other path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the words say it")]
pub(crate) enum DocumentLabel {
    Public,
    Bundle,
    Private,
    Other,
}

/// The label for a refused token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TokenLabels {
    /// The stable reason word.
    pub(crate) reason: &'static str,
}

/// The label for a connection closed without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DroppedLabels {
    pub(crate) reason: Dropped,
}

/// Why a connection was closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Dropped {
    /// It made room for a newer connection of the same source, which had reached its limit.
    SourceLimit,
    /// It made room for a newer connection, because all slots were taken.
    Crowded,
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// It did not begin with a header of the PROXY protocol, or the header took too long.
    NoProxyHeader,
    /// It reached the longest life of a connection.
    Life,
}

impl Metrics {
    /// Adds the counters to `registry`, under its prefix.
    pub fn register(&self, registry: &mut Registry) {
        let metrics = registry.sub_registry_with_prefix("exporter");
        metrics.register("requests", "Requests for metadata", self.requests.clone());
        metrics.register("refused_tokens", "Refused tokens", self.refused_tokens.clone());
        metrics.register(
            "dropped_connections",
            "Connections closed unanswered",
            self.dropped_connections.clone(),
        );
        metrics.register("connections", "Open connections", self.connections.clone());
        metrics.register("waiting", "Peers whose request waits for a change", self.waiting.clone());
    }

    pub(super) fn dropped(&self, reason: Dropped) {
        self.dropped_connections.get_or_create(&DroppedLabels { reason }).inc();
    }

    pub(super) fn answered(&self, document: DocumentLabel, code: u16) {
        self.requests.get_or_create(&RequestLabels { document, code }).inc();
    }
}
