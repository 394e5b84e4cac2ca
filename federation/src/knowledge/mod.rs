//! What is known of one peer, and how it may change.
//!
//! Knowledge is a value. The importer passes in what it fetched, with the time, and gets back what
//! happened. Knowledge is serialisable, so a restart continues where the last run ended.
//!
//! Good knowledge is not given up lightly. A broken, empty, shrunken or replayed document does not
//! replace it until it has gone unconfirmed for the *staleness limit*. After that it is no longer
//! used, and the next valid document is accepted. [`AtExpiry::Keep`] has no such limit.
//!
//! What identifies the peer (its roots, key and UUID) is given up less lightly still: age alone
//! replaces none of it. See [`HeldTrust`].
//!
//! The saved entity tag belongs to the *known* document, never to a refused or held one. So "not
//! modified" confirms the known document, and a held document is sent again in full each time.

mod absorb;
mod clock;
mod keep;
mod names;
mod notice;
mod probe;
mod signed;
mod times;
mod trust;

pub use absorb::Absorbed;
pub(crate) use clock::WARN_ABOVE;
pub use clock::{Blame, ClockReading};
pub use names::{LookupOutcome, NameLookup};
pub use notice::Notice;
pub use probe::{Dataplane, DataplaneReason, ProbeDepth, ProbeResult, SERVER_ONLY};
pub use signed::{Delivery, Signed, SignedDocument};
pub use times::{Age, AtExpiry, Times};
pub use trust::{Basis, HeldRoot, HeldTrust};

use crate::bundle::Fingerprint;
use crate::document::{ClusterUuid, PrivateDocument, PublicDocument, TrustId};
use crate::finding::{Finding, shown_long};
use crate::key::PublicKey;
use crate::object::{IstioFederationSpec, Peer};
use fedgate_core::{Hostname, TrustDomain};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One of a peer's two documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// `/public/public.json`.
    Public,
    /// `/private/federation.json`.
    Private,
}

impl DocumentKind {
    /// Returns its file name, which findings use as the field.
    pub fn file(self) -> &'static str {
        match self {
            Self::Public => "public.json",
            Self::Private => "federation.json",
        }
    }
}

/// An accepted document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known<T> {
    /// The document.
    pub document: T,
    /// When this content was first fetched.
    pub fetched: Timestamp,
    /// When the peer last sent or confirmed this content.
    pub confirmed: Timestamp,
    /// The entity tag (RFC 9110, section 8.8.3) that came with it, for the next request's
    /// `If-None-Match`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// The findings about what was dropped from it, and the like.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// A document that is not accepted yet because it is suspiciously short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// When the first such document came.
    pub since: Timestamp,
    /// What is suspicious.
    pub why: String,
    /// The ID by which an operator accepts the document; see
    /// [`crate::document::PrivateDocument::id`].
    #[serde(default)]
    pub id: String,
}

/// How the last attempt to fetch a document ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// The reason word of DKP's conditions.
    pub reason: ExchangeReason,
    /// An explanation for people; empty on success.
    pub message: String,
    /// When the reason took its current value.
    pub since: Timestamp,
    /// When the last attempt ended.
    pub at: Timestamp,
}

/// The reasons of DKP's conditions `PublicMetadataExchangeReady` and
/// `PrivateMetadataExchangeReady`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExchangeReason {
    /// The document was fetched and accepted.
    Succeeded,
    /// There was no answer.
    FetchFailed,
    /// The status of the answer was not 200.
    #[serde(rename = "NonOKResponse")]
    NonOkResponse,
    /// The answer was not JSON.
    #[serde(rename = "InvalidJSON")]
    InvalidJson,
    /// The public document was refused.
    InvalidPublicMetadata,
    /// The private document was refused.
    InvalidPrivateMetadata,
    /// No token could be made for the request.
    TokenGenerationFailed,
    /// The private document cannot be fetched before the public one is known.
    AwaitingPublic,
}

impl ExchangeReason {
    /// Returns the word.
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

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerKnowledge {
    /// The trust domain in the peer's object. Knowledge does not carry over to another trust
    /// domain.
    pub trust_domain: TrustDomain,
    /// The last valid spec of the peer's object, so that a mistake in the object does not break
    /// what works.
    #[serde(default)]
    pub object: Option<IstioFederationSpec>,
    /// fedgate's annotations of the object at that time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The public document: who the peer is.
    pub public: Option<Known<PublicDocument>>,
    /// The private document: what the peer offers.
    pub private: Option<Known<PrivateDocument>>,
    /// When the peer was first seen with its current cluster UUID.
    pub uuid_since: Option<Timestamp>,
    /// How the last fetch of the public document ended.
    pub public_exchange: Option<Exchange>,
    /// How the last fetch of the private document ended.
    pub private_exchange: Option<Exchange>,
    /// The results of looking up the names of the peer's gateways.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<Hostname, NameLookup>,
    /// The result of the last probe of the peer's gateways.
    #[serde(default)]
    pub dataplane: Option<Dataplane>,
    /// Both clocks at the moment when their difference last changed; `None` if they agree or the
    /// peer's clock is not known.
    #[serde(default)]
    pub clock: Option<ClockReading>,
    /// Whether the peer's clock has ever been read.
    #[serde(default)]
    pub clock_read: bool,
    /// The latest private document, if it is not accepted yet.
    pub held: Option<Held>,
    /// The announced roots, key and UUID, if they have not taken effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_trust: Option<HeldTrust>,
    /// What the peer has signed. Once it has signed, all that it says must be signed; `None` before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// The key of ours by which the peer has accepted the last token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_key: Option<Fingerprint>,
    /// The approval that released the last change. It releases nothing else, not even the same
    /// change later, until it is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_approval: Option<TrustId>,
    /// The latest changes of UUID, key and roots, and the refused documents, oldest first; at most
    /// 16.
    #[serde(default, alias = "changes")]
    pub notices: Vec<Notice>,
}

impl PeerKnowledge {
    /// Creates empty knowledge of a peer.
    pub fn new(peer: &Peer) -> Self {
        Self {
            trust_domain: peer.trust_domain.clone(),
            object: None,
            annotations: BTreeMap::new(),
            public: None,
            private: None,
            uuid_since: None,
            public_exchange: None,
            private_exchange: None,
            names: BTreeMap::new(),
            dataplane: None,
            clock: None,
            clock_read: false,
            held: None,
            held_trust: None,
            signed: None,
            accepted_key: None,
            used_approval: None,
            notices: Vec::new(),
        }
    }

    /// Returns from which age on the peer wants its documents to be shown as stale.
    pub fn hint(&self) -> Option<Duration> {
        self.private.as_ref()?.document.extension.as_ref()?.stale_after()
    }

    /// Returns the peer's UUID, which is the audience of tokens for it.
    pub fn cluster_uuid(&self) -> Option<&ClusterUuid> {
        self.public.as_ref().map(|known| &known.document.cluster_uuid)
    }

    /// Returns the key of ours by which the peer has accepted the last token.
    pub fn accepted_key(&self) -> Option<&Fingerprint> {
        self.accepted_key.as_ref()
    }

    /// Records that the peer has accepted a token by this key of ours.
    pub fn record_accepted_key(&mut self, key: &PublicKey) {
        self.accepted_key = Some(key.fingerprint());
    }

    /// Returns the entity tag for the next request of a document.
    pub fn etag(&self, kind: DocumentKind) -> Option<&str> {
        match kind {
            DocumentKind::Public => self.public.as_ref().and_then(|known| known.etag.as_deref()),
            DocumentKind::Private => self.private.as_ref().and_then(|known| known.etag.as_deref()),
        }
    }

    /// Takes the answer "not modified" (304), which confirms the known document. If the peer signs,
    /// the answer has to be signed as well: otherwise anyone could keep an old document fresh.
    pub fn absorb_not_modified(
        &mut self,
        peer: &Peer,
        kind: DocumentKind,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Absorbed {
        if let Err(why) = self.check_not_modified(peer, kind, delivery, now) {
            return self.refuse_unsigned(peer, kind, &why, now);
        }
        self.record_not_modified(kind, now);
        Absorbed::Confirmed
    }

    /// Records that the known document was confirmed.
    pub fn record_not_modified(&mut self, kind: DocumentKind, now: Timestamp) {
        let confirmed = match kind {
            DocumentKind::Public => self.public.as_mut().map(|known| &mut known.confirmed),
            DocumentKind::Private => self.private.as_mut().map(|known| &mut known.confirmed),
        };
        let Some(confirmed) = confirmed else {
            return self.record_exchange(
                kind,
                ExchangeReason::NonOkResponse,
                "304 without anything being known",
                now,
            );
        };
        *confirmed = now;
        match kind {
            DocumentKind::Public => self.held_trust = None,
            DocumentKind::Private => self.held = None,
        }
        self.record_exchange(kind, ExchangeReason::Succeeded, "", now);
    }

    /// Records that the document could not be fetched. `message` must not contain a secret; it is
    /// escaped and shortened here.
    pub fn record_failure(
        &mut self,
        kind: DocumentKind,
        reason: ExchangeReason,
        message: &str,
        now: Timestamp,
    ) {
        self.record_exchange(kind, reason, message, now);
    }

    fn record_exchange(
        &mut self,
        kind: DocumentKind,
        reason: ExchangeReason,
        message: &str,
        now: Timestamp,
    ) {
        let exchange = match kind {
            DocumentKind::Public => &mut self.public_exchange,
            DocumentKind::Private => &mut self.private_exchange,
        };
        let since = exchange
            .as_ref()
            .filter(|before| before.reason == reason)
            .map_or(now, |before| before.since);
        *exchange =
            Some(Exchange { reason, message: shown_long(message).to_string(), since, at: now });
    }
}
