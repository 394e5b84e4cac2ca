//! What the importer counts. Peers' names are no labels: how it is with each stands in its status.

use fedgate_federation::knowledge::{DataplaneReason, DocumentKind, ExchangeReason};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The importer's counters; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Ended attempts to fetch a document, by document and reason.
    pub exchanges: Family<ExchangeLabels, Counter>,
    /// Probes of peers' gateways, by reason.
    pub probes: Family<ProbeLabels, Counter>,
    /// Peers that are polled.
    pub peers: Gauge,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExchangeLabels {
    /// `public` or `private`.
    pub document: &'static str,
    /// The word of DKP's conditions.
    pub reason: &'static str,
}

/// What a probe of a peer's gateways gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProbeLabels {
    /// The word of DKP's condition.
    pub reason: &'static str,
}

impl Metrics {
    /// Names the counters in `registry`, below the prefix that it has.
    pub fn register(&self, registry: &mut Registry) {
        let metrics = registry.sub_registry_with_prefix("importer");
        metrics.register("exchanges", "Ended attempts to fetch a document from a peer", self.exchanges.clone());
        metrics.register("probes", "Probes of a peer's gateways", self.probes.clone());
        metrics.register("peers", "Peers that are polled", self.peers.clone());
    }

    pub(super) fn probed(&self, reason: DataplaneReason) {
        self.probes.get_or_create(&ProbeLabels { reason: reason.word() }).inc();
    }

    pub(super) fn ended(&self, kind: DocumentKind, reason: ExchangeReason) {
        let document = match kind {
            DocumentKind::Public => "public",
            DocumentKind::Private => "private",
        };
        self.exchanges.get_or_create(&ExchangeLabels { document, reason: reason.word() }).inc();
    }
}
