//! What is known of one peer, and how it may change.
//!
//! Knowledge is a value: the importer hands in what it fetched, with the time, and gets back what happened. It is serialisable, so
//! that a restart begins where the last run ended.
//!
//! What is known good is not given up lightly. A broken, empty, shrunken or replayed document leaves it as it is, until it has not
//! been confirmed for the *staleness limit*; from then on it is not used any more, and whatever the peer says is believed.
//!
//! The entity tag that is kept belongs to the document that is *known*, never to one that was refused or held. So a peer that
//! answers "not modified" confirms what is known, and a held document comes again in full each time.

mod absorb;
mod clock;
mod keep;
mod names;
mod notice;
mod probe;

pub use absorb::Absorbed;
pub use clock::ClockReading;
pub use names::{ADDRESSES_PER_NAME, LookUpOutcome, LookedUp};
pub use notice::Notice;
pub use probe::{Dataplane, DataplaneReason, Probed, SERVER_ONLY, Tried};

use crate::document::{ClusterUuid, PrivateDocument, PublicDocument};
use crate::finding::{Finding, shown_long};
use crate::object::{IstioFederationSpec, Peer};
use fedgate_core::{Hostname, TrustDomain};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// When what is known of a peer is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Times {
    /// From this age on it is shown as stale, and still used.
    pub stale_after: Duration,
    /// From this age on it is not used any more.
    pub staleness_limit: Duration,
}

impl Default for Times {
    /// Stale after 5 minutes; not used any more after 24 hours.
    fn default() -> Self {
        Self { stale_after: Duration::from_secs(5 * 60), staleness_limit: Duration::from_secs(24 * 60 * 60) }
    }
}

/// How old a piece of knowledge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Age {
    /// Confirmed lately.
    Fresh,
    /// Not confirmed for a while; still used.
    Stale,
    /// Not confirmed for so long that it is not used any more.
    Expired,
}

impl Times {
    /// How old something is that was last confirmed at `confirmed`. A clock that was set back makes nothing old.
    pub fn age(&self, confirmed: Timestamp, now: Timestamp) -> Age {
        let old = |than: Duration| {
            now.duration_since(confirmed) >= SignedDuration::try_from(than).unwrap_or(SignedDuration::MAX)
        };
        match (old(self.staleness_limit), old(self.stale_after)) {
            (true, _) => Age::Expired,
            (false, true) => Age::Stale,
            (false, false) => Age::Fresh,
        }
    }
}

/// Which of a peer's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// `/public/public.json`.
    Public,
    /// `/private/federation.json`.
    Private,
}

impl DocumentKind {
    /// Its file's name, by which findings name it.
    pub fn file(self) -> &'static str {
        match self {
            Self::Public => "public.json",
            Self::Private => "federation.json",
        }
    }
}

/// A document that is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known<T> {
    /// The document.
    pub document: T,
    /// When it was first fetched as it is.
    pub fetched: Timestamp,
    /// When the peer last said the same.
    pub confirmed: Timestamp,
    /// The entity tag (RFC 9110, section 8.8.3) that it came with, for the next request's `If-None-Match`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// What was dropped from it, and the like.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// A document that is not believed yet, since it says suspiciously little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// When the first such document came.
    pub since: Timestamp,
    /// What is suspicious.
    pub why: String,
    /// What the document is accepted by; see [`crate::document::PrivateDocument::id`].
    #[serde(default)]
    pub id: String,
}

/// How the last attempt to fetch a document ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// The word, as DKP's conditions have it.
    pub reason: ExchangeReason,
    /// More of it, for people; empty on success.
    pub message: String,
    /// When the reason became this one.
    pub since: Timestamp,
    /// When the last attempt ended.
    pub at: Timestamp,
}

/// The reasons of DKP's conditions `PublicMetadataExchangeReady` and `PrivateMetadataExchangeReady`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExchangeReason {
    /// The document was fetched and taken.
    Succeeded,
    /// There was no answer.
    FetchFailed,
    /// The answer was another than 200.
    #[serde(rename = "NonOKResponse")]
    NonOkResponse,
    /// The answer was no JSON.
    #[serde(rename = "InvalidJSON")]
    InvalidJson,
    /// The public document was refused.
    InvalidPublicMetadata,
    /// The private document was refused.
    InvalidPrivateMetadata,
    /// No token could be made for the request.
    TokenGenerationFailed,
    /// The private document cannot be asked for before the public one is known.
    AwaitingPublic,
}

impl ExchangeReason {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::FetchFailed => "FetchFailed",
            Self::NonOkResponse => "NonOKResponse",
            Self::InvalidJson => "InvalidJSON",
            Self::InvalidPublicMetadata => "InvalidPublicMetadata",
            Self::InvalidPrivateMetadata => "InvalidPrivateMetadata",
            Self::TokenGenerationFailed => "TokenGenerationFailed",
            Self::AwaitingPublic => "AwaitingPublic",
        }
    }
}

impl std::fmt::Display for ExchangeReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerKnowledge {
    /// The trust domain that the peer's object had: knowledge of another trust domain is none.
    pub trust_domain: TrustDomain,
    /// The spec of the peer's object when it was last valid, so that a mistake in the object does not end what works.
    #[serde(default)]
    pub object: Option<IstioFederationSpec>,
    /// Who the peer is.
    pub public: Option<Known<PublicDocument>>,
    /// What the peer offers.
    pub private: Option<Known<PrivateDocument>>,
    /// Since when the peer has the cluster UUID that it has.
    pub uuid_since: Option<Timestamp>,
    /// How the last fetch of the public document ended.
    pub public_exchange: Option<Exchange>,
    /// How the last fetch of the private document ended.
    pub private_exchange: Option<Exchange>,
    /// What the names of the peer's gateways lead to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<Hostname, LookedUp>,
    /// What came of the last probe of the peer's gateways.
    #[serde(default)]
    pub dataplane: Option<Dataplane>,
    /// The clocks when their difference became what it is; `None` when they agree, or nothing is known of the peer's.
    #[serde(default)]
    pub clock: Option<ClockReading>,
    /// The private document that came last, when it is not believed yet.
    pub held: Option<Held>,
    /// The latest changes of UUID, key and roots, and the documents that were refused, oldest first; at most 16.
    #[serde(default, alias = "changes")]
    pub notices: Vec<Notice>,
}

impl PeerKnowledge {
    /// Nothing is known yet.
    pub fn new(peer: &Peer) -> Self {
        Self {
            trust_domain: peer.trust_domain.clone(),
            object: None,
            public: None,
            private: None,
            uuid_since: None,
            public_exchange: None,
            private_exchange: None,
            names: BTreeMap::new(),
            dataplane: None,
            clock: None,
            held: None,
            notices: Vec::new(),
        }
    }

    /// The peer's UUID, which a token for it must have as its audience.
    pub fn cluster_uuid(&self) -> Option<&ClusterUuid> {
        self.public.as_ref().map(|known| &known.document.cluster_uuid)
    }

    /// The entity tag for the next request of a document.
    pub fn etag(&self, kind: DocumentKind) -> Option<&str> {
        match kind {
            DocumentKind::Public => self.public.as_ref().and_then(|known| known.etag.as_deref()),
            DocumentKind::Private => self.private.as_ref().and_then(|known| known.etag.as_deref()),
        }
    }

    /// The peer answered that the document is the one that is known (304).
    pub fn not_modified(&mut self, kind: DocumentKind, now: Timestamp) {
        let confirmed = match kind {
            DocumentKind::Public => self.public.as_mut().map(|known| &mut known.confirmed),
            DocumentKind::Private => self.private.as_mut().map(|known| &mut known.confirmed),
        };
        let Some(confirmed) = confirmed else {
            return self.ended(kind, ExchangeReason::NonOkResponse, "304 without anything being known", now);
        };
        *confirmed = now;
        if kind == DocumentKind::Private {
            self.held = None;
        }
        self.ended(kind, ExchangeReason::Succeeded, "", now);
    }

    /// The document could not be fetched. `message` must hold no secret; it is shortened and made harmless here.
    pub fn failed(&mut self, kind: DocumentKind, reason: ExchangeReason, message: &str, now: Timestamp) {
        self.ended(kind, reason, message, now);
    }

    fn ended(&mut self, kind: DocumentKind, reason: ExchangeReason, message: &str, now: Timestamp) {
        let exchange = match kind {
            DocumentKind::Public => &mut self.public_exchange,
            DocumentKind::Private => &mut self.private_exchange,
        };
        let since = exchange.as_ref().filter(|before| before.reason == reason).map_or(now, |before| before.since);
        *exchange = Some(Exchange { reason, message: shown_long(message), since, at: now });
    }
}
