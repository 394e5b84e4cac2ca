//! Checks that a peer's documents are signed by its known key, once it has signed.

use super::{Absorbed, DocumentKind, ExchangeReason, PeerKnowledge};
use crate::bundle::Fingerprint;
use crate::document::{ClusterUuid, PublicDocument};
use crate::finding::{Finding, FindingReason};
use crate::key::{PublicKey, PublicKeys};
use crate::object::{Peer, UNSIGNED_ANNOTATION};
use crate::signature::{Expected, SignatureError, Signatures};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What came with an answer, besides the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The entity tag.
    pub etag: Option<String>,
    /// The signatures, or why they cannot be read; `None` if there are none.
    pub signatures: Option<Result<Signatures, SignatureError>>,
    /// This cluster, for which private documents are signed.
    pub reader: Option<ClusterUuid>,
}

/// What a peer has signed with its known key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Signed {
    /// The known public document.
    pub public: Option<SignedDocument>,
    /// The known private document.
    pub private: Option<SignedDocument>,
}

/// A document that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedDocument {
    /// Its sequence. An older one is not believed.
    pub sequence: u64,
    /// SHA-256 of its body, by which a signed "not modified" confirms it.
    pub digest: Fingerprint,
}

/// Who has signed a public document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody.
    Unsigned,
    /// A known key.
    KnownKey(SignedDocument),
    /// Not a known key, but the one that the document announces.
    AnnouncedKey(SignedDocument),
}

/// Why a document or an answer is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disbelief {
    /// The peer has signed before, and this is not signed.
    Unsigned(PublicKey),
    /// Its signature does not hold.
    Signature(SignatureError),
    /// It is older than the known one.
    Older { known: u64, found: u64 },
}

impl std::fmt::Display for Disbelief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned(key) => write!(
                f,
                "expected a signature by the peer's known key {}, found none",
                key.fingerprint()
            ),
            Self::Signature(error) => write!(f, "{error}"),
            Self::Older { known, found } => {
                write!(
                    f,
                    "expected the sequence in its signature to be at least {known}, found {found}"
                )
            }
        }
    }
}

const WAYS_OUT: &str = "ask the peer's operator who answers at its endpoint; if the peer does not sign any more, annotate its IstioFederation with";

impl PeerKnowledge {
    /// Returns who has signed a public document.
    pub(super) fn origin(
        &self,
        peer: &Peer,
        document: &PublicDocument,
        delivery: &Delivery,
        digest: Fingerprint,
        now: Timestamp,
    ) -> Result<Origin, Disbelief> {
        if peer.trust.accepts_unsigned {
            return Ok(Origin::Unsigned);
        }
        let known = self.public.as_ref().map(|known| known.document.keys());
        let is_known = |key: &PublicKey| known.is_some_and(|known| known.contains(key));
        let signatures = match &delivery.signatures {
            Some(signatures) => {
                signatures.as_ref().map_err(|error| Disbelief::Signature(*error))?
            }
            // A change of the key is judged, and not refused: it may be lost. A key that is known or
            // pinned would not be held, and the peer would pass for one that does not sign.
            None => {
                let announced = document.authn_key;
                let may_be_lost =
                    !is_known(&announced) && !peer.trust.pins.names_key(&announced.fingerprint());
                return match known.filter(|_| self.signed.is_some() && !may_be_lost) {
                    Some(known) => Err(Disbelief::Unsigned(known.current)),
                    None => Ok(Origin::Unsigned),
                };
            }
        };
        let (kind, issuer) = (DocumentKind::Public, &document.cluster_uuid);
        let expected = Expected { kind, issuer, audience: None, digest };
        let verify = |keys: PublicKeys| {
            let sequence = signatures.verify_with(keys, &expected, now)?;
            Ok(SignedDocument { sequence, digest })
        };
        match known.map_or(Err(SignatureError::Key), verify) {
            Ok(signed) => match self.newest(DocumentKind::Public) {
                Some(newest) if signed.sequence < newest.sequence => {
                    Err(Disbelief::Older { known: newest.sequence, found: signed.sequence })
                }
                _ => Ok(Origin::KnownKey(signed)),
            },
            Err(SignatureError::Key) if !is_known(&document.authn_key) => {
                let announced = PublicKeys::from(document.authn_key);
                verify(announced).map(Origin::AnnouncedKey).map_err(Disbelief::Signature)
            }
            Err(error) => Err(Disbelief::Signature(error)),
        }
    }

    /// Checks the signature of a private document. Its sequence is in the document as well, and
    /// judged there. `None` if it is not signed and need not be.
    pub(super) fn check_private(
        &self,
        peer: &Peer,
        delivery: &Delivery,
        digest: Fingerprint,
        now: Timestamp,
    ) -> Result<Option<SignedDocument>, Disbelief> {
        let known = self.public.as_ref().filter(|_| !peer.trust.accepts_unsigned);
        let Some(known) = known.map(|known| &known.document) else { return Ok(None) };
        match &delivery.signatures {
            None if self.signed.is_some() => Err(Disbelief::Unsigned(known.authn_key)),
            None => Ok(None),
            Some(signatures) => {
                let expected = Expected {
                    kind: DocumentKind::Private,
                    issuer: &known.cluster_uuid,
                    audience: delivery.reader.as_ref(),
                    digest,
                };
                let verified = signatures.as_ref().map_err(|error| *error);
                let verified = verified
                    .and_then(|signatures| signatures.verify_with(known.keys(), &expected, now));
                let sequence = verified.map_err(Disbelief::Signature)?;
                Ok(Some(SignedDocument { sequence, digest }))
            }
        }
    }

    /// Checks the signature of "not modified". If it does not hold, the next answer is a whole
    /// document.
    pub(super) fn check_not_modified(
        &mut self,
        peer: &Peer,
        kind: DocumentKind,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<(), Disbelief> {
        let known = self.public.as_ref().filter(|_| !peer.trust.accepts_unsigned);
        let Some(known) = known.map(|known| &known.document) else { return Ok(()) };
        let checked = match (self.newest(kind), kind) {
            (Some(signed), DocumentKind::Public) => {
                self.origin(peer, known, delivery, signed.digest, now).map(drop)
            }
            (Some(signed), DocumentKind::Private) => {
                self.check_private(peer, delivery, signed.digest, now).map(drop)
            }
            (None, _) if self.signed.is_some() => Err(Disbelief::Unsigned(known.authn_key)),
            (None, _) => Ok(()),
        };
        // A peer that begins to sign: the signature is about a body that is not known any more.
        let begins = self.signed.is_none() && delivery.signatures.is_some();
        if begins || checked.is_err() {
            match kind {
                DocumentKind::Public => self.public.iter_mut().for_each(|known| known.etag = None),
                DocumentKind::Private => {
                    self.private.iter_mut().for_each(|known| known.etag = None)
                }
            }
        }
        checked
    }

    fn newest(&self, kind: DocumentKind) -> Option<SignedDocument> {
        let signed = self.signed.as_ref()?;
        match kind {
            DocumentKind::Public => signed.public,
            DocumentKind::Private => signed.private,
        }
    }

    /// Takes note of who has signed the public document that is taken or confirmed.
    pub(super) fn note_origin(&mut self, origin: Origin) {
        match origin {
            Origin::Unsigned => self.signed = None,
            Origin::KnownKey(public) => {
                self.signed.get_or_insert_default().public = Some(public);
            }
            Origin::AnnouncedKey(public) => {
                self.signed = Some(Signed { public: Some(public), private: None });
            }
        }
    }

    /// Takes note of the signature of the private document that is taken or confirmed.
    pub(super) fn note_private(&mut self, private: Option<SignedDocument>) {
        if let Some(private) = private {
            self.signed.get_or_insert_default().private = Some(private);
        }
    }

    /// Refuses a document or an answer that is not signed as it must be.
    pub(super) fn refuse_unsigned(
        &mut self,
        peer: &Peer,
        kind: DocumentKind,
        why: &Disbelief,
        now: Timestamp,
    ) -> Absorbed {
        let exchange = match kind {
            DocumentKind::Public => ExchangeReason::InvalidPublicMetadata,
            DocumentKind::Private => ExchangeReason::InvalidPrivateMetadata,
        };
        let message = format!("{why}; {WAYS_OUT} {UNSIGNED_ANNOTATION}: Accept");
        self.record_exchange(kind, exchange, &message, now);
        self.note_refusal(FindingReason::UnsignedDocument, kind, &message, now);
        let message = format!("the document was refused, what was known stays: {message}");
        let reason = FindingReason::UnsignedDocument;
        Absorbed::Refused(Finding::error(reason, peer.object(), kind.file(), message))
    }
}
