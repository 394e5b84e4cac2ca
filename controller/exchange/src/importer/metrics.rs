//! What the importer counts. Peer names are labels only where operators need them, and for at most
//! a hundred peers.

use crate::supervision::Panics;
use fedgate_core::PeerName;
use fedgate_federation::FindingReason;
use fedgate_federation::knowledge::{DataplaneReason, DocumentKind, ExchangeReason, PeerKnowledge};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The importer's counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Finished attempts to fetch a document, by document and reason.
    pub(crate) exchanges: Family<ExchangeLabels, Counter>,
    /// Probes of peers' gateways, by reason.
    pub(crate) probes: Family<ProbeLabels, Counter>,
    /// Events about a peer's documents, by peer and reason.
    pub(crate) notices: Family<NoticeLabels, Counter>,
    /// New documents, by document.
    pub(crate) documents: Family<DocumentLabels, Counter>,
    /// When the peers' documents were last confirmed, by peer and document.
    pub(crate) confirmed: Family<PeerDocumentLabels, Gauge>,
    /// The number of polled peers.
    pub(crate) peers: Gauge,
    /// The number of peers at which a request waits for a change.
    pub(crate) waiting: Gauge,
    /// Panics in peers' tasks, by task.
    pub(crate) panics: Panics,
    named: Arc<Mutex<BTreeSet<PeerName>>>,
}

/// The findings that are counted as notices.
const NOTICES: [FindingReason; 8] = [
    FindingReason::UuidChanged,
    FindingReason::KeyChanged,
    FindingReason::RootsChanged,
    FindingReason::NotPinned,
    FindingReason::InvalidDocument,
    FindingReason::ReplayedDocument,
    FindingReason::UnsignedDocument,
    FindingReason::HeldDocument,
];

/// How many peers have their own label.
const NAMED_PEERS: usize = 100;

/// An event, and the peer whose documents it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct NoticeLabels {
    /// The peer's name. Empty, which is never a peer's name, for all peers beyond the first
    /// hundred.
    pub(crate) peer: String,
    /// The stable reason word.
    pub(crate) reason: &'static str,
}

/// How an attempt to fetch a document ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ExchangeLabels {
    /// `public` or `private`.
    pub(crate) document: &'static str,
    /// The reason word, as in DKP's conditions.
    pub(crate) reason: &'static str,
}

/// A kind of documents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DocumentLabels {
    /// `public` or `private`.
    pub(crate) document: &'static str,
}

/// A document of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PeerDocumentLabels {
    /// The peer's name.
    pub(crate) peer: String,
    /// `public` or `private`.
    pub(crate) document: &'static str,
}

/// The outcome of a probe of a peer's gateways.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ProbeLabels {
    /// The reason word, as in DKP's condition.
    pub(crate) reason: &'static str,
}

impl Metrics {
    /// Adds the counters to `registry`, under its prefix.
    pub fn register(&self, registry: &mut Registry) {
        let metrics = registry.sub_registry_with_prefix("importer");
        metrics.register(
            "exchanges",
            "Ended attempts to fetch a document from a peer",
            self.exchanges.clone(),
        );
        metrics.register("probes", "Probes of a peer's gateways", self.probes.clone());
        let notices =
            "Changes of a peer's UUID, key and roots, and documents that were refused or held";
        metrics.register("notices", notices, self.notices.clone());
        let documents = "Accepted documents of peers that differ from the ones before";
        metrics.register("documents", documents, self.documents.clone());
        let confirmed = "When a peer last sent or confirmed its document, in seconds since 1970; a hundred peers by name";
        metrics.register("confirmed_timestamp_seconds", confirmed, self.confirmed.clone());
        let panics = "How often a peer's task ended because of a bug in fedgate, and was restarted";
        metrics.register("panics", panics, self.panics.clone());
        metrics.register("peers", "Peers that are polled", self.peers.clone());
        let waiting = "Peers at which a request waits, so that a change is known at once";
        metrics.register("waiting", waiting, self.waiting.clone());
    }

    pub(super) fn probed(&self, reason: DataplaneReason) {
        self.probes.get_or_create(&ProbeLabels { reason: reason.word() }).inc();
    }

    /// Counts a finding, unless it is about single rows of a document.
    pub(super) fn noticed(&self, peer: &PeerName, reason: FindingReason) {
        if NOTICES.contains(&reason) {
            let labels = NoticeLabels { peer: self.label(peer), reason: reason.word() };
            self.notices.get_or_create(&labels).inc();
        }
    }

    /// Shows when a peer's documents were last confirmed.
    pub(super) fn confirmed(&self, peer: &PeerName, known: &PeerKnowledge) {
        let (public, private) = (known.public.as_ref(), known.private.as_ref());
        let times = [public.map(|known| known.confirmed), private.map(|known| known.confirmed)];
        let label = self.label(peer);
        for (kind, time) in KINDS.into_iter().zip(times) {
            if let Some(time) = time.filter(|_| !label.is_empty()) {
                let labels = PeerDocumentLabels { peer: label.clone(), document: word(kind) };
                self.confirmed.get_or_create(&labels).set(time.as_second());
            }
        }
    }

    fn label(&self, peer: &PeerName) -> String {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED_PEERS {
            named.insert(peer.clone());
        }
        named.get(peer).map(ToString::to_string).unwrap_or_default()
    }

    /// Frees a removed peer's label for another peer.
    pub(super) fn forget(&self, peer: &PeerName) {
        if self.named.lock().unwrap_or_else(PoisonError::into_inner).remove(peer) {
            for reason in NOTICES {
                self.notices
                    .remove(&NoticeLabels { peer: peer.to_string(), reason: reason.word() });
            }
            for kind in KINDS {
                self.confirmed
                    .remove(&PeerDocumentLabels { peer: peer.to_string(), document: word(kind) });
            }
        }
    }

    pub(super) fn ended(&self, kind: DocumentKind, reason: ExchangeReason) {
        let labels = ExchangeLabels { document: word(kind), reason: reason.word() };
        self.exchanges.get_or_create(&labels).inc();
    }

    /// Counts a document that differs from the one before.
    pub(super) fn taken(&self, kind: DocumentKind) {
        self.documents.get_or_create(&DocumentLabels { document: word(kind) }).inc();
    }
}

const KINDS: [DocumentKind; 2] = [DocumentKind::Public, DocumentKind::Private];

fn word(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Public => "public",
        DocumentKind::Private => "private",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::TestClock;
    use fedgate_core::TrustDomain;
    use fedgate_federation::{
        document::PrivateDocument,
        knowledge::Known,
        object::{EndpointTls, MetadataEndpoint, Peer, TrustPolicy},
    };
    use fedgate_process::clock::Clock;

    /// Knowledge of a private document that was confirmed just now.
    fn known(name: &PeerName) -> PeerKnowledge {
        let peer = Peer {
            name: name.clone(),
            trust_domain: TrustDomain::parse("beta.example").unwrap(),
            endpoint: MetadataEndpoint::parse("https://beta.example/metadata").unwrap(),
            tls: EndpointTls::System,
            source: None,
            accepted_document: None,
            trust: TrustPolicy::default(),
            at_expiry: None,
            advertise: None,
        };
        let now = TestClock::new().now();
        let document =
            PrivateDocument { gateways: Vec::new(), services: [].into(), extension: None };
        let private =
            Known { document, fetched: now, confirmed: now, etag: None, findings: Vec::new() };
        PeerKnowledge { private: Some(private), ..PeerKnowledge::new(&peer) }
    }

    #[test]
    fn a_hundred_peers_show_how_old_their_documents_are() {
        let metrics = Metrics::default();
        let peer = |n: usize| PeerName::parse(&format!("p{n}")).unwrap();
        (0..150).for_each(|n| metrics.confirmed(&peer(n), &known(&peer(n))));
        let shown = |name: &str, document: &'static str| {
            let labels = PeerDocumentLabels { peer: name.to_owned(), document };
            metrics.confirmed.get(&labels).map(|gauge| gauge.get())
        };
        let then = Some(TestClock::new().now().as_second());
        assert_eq!((shown("p0", "private"), shown("p0", "public")), (then, None));
        assert_eq!((shown("p99", "private"), shown("p100", "private")), (then, None));
        assert_eq!(shown("", "private"), None);
        metrics.forget(&peer(7));
        assert_eq!(shown("p7", "private"), None);
        metrics.confirmed(&peer(120), &known(&peer(120)));
        assert_eq!(shown("p120", "private"), then);
    }

    #[test]
    fn a_hundred_peers_have_own_labels_and_a_removed_one_frees_its_label() {
        let metrics = Metrics::default();
        let peer = |n: usize| PeerName::parse(&format!("p{n}")).unwrap();
        for n in 0..150 {
            metrics.noticed(&peer(n), FindingReason::KeyChanged);
            metrics.noticed(&peer(n), FindingReason::InvalidRoot);
        }
        let count = |name: &str| {
            let labels = NoticeLabels { peer: name.to_owned(), reason: "key_changed" };
            metrics.notices.get_or_create(&labels).get()
        };
        assert_eq!((count("p0"), count("p99"), count("p100"), count("")), (1, 1, 0, 50));
        metrics.forget(&peer(7));
        metrics.noticed(&peer(120), FindingReason::KeyChanged);
        assert_eq!((count("p7"), count("p120"), count("")), (0, 1, 50));
    }
}
