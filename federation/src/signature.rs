//! The signature that comes with a document: a JWS (RFC 7515) with EdDSA (RFC 8037), in a header of
//! the response, by the key that the cluster's tokens are signed with. DKP ignores the header, and
//! the body stays as DKP reads it.
//!
//! The payload names the body by its SHA-256, and is not the body (RFC 7515, appendix F): so the
//! statement about it (whose, for whom, how new, how long) is signed as well, and one hash of a
//! large body serves its entity tag and all signatures.
//!
//! A signature can never be taken for a token or the other way round: `typ` is required here and
//! refused there. As for tokens, the crate that signs reads the system's clock, so times are checked
//! here.

use crate::bundle::Fingerprint;
use crate::document::ClusterUuid;
use crate::json::read_object;
use crate::key::{PublicKey, PublicKeys, SigningKey};
use crate::knowledge::DocumentKind;
use crate::token::SigningFailed;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};

/// The name of the header.
pub const SIGNATURE_HEADER: &str = "fedgate-signature";
/// The most bytes of the header that are read; one signature has about 450.
pub const MAX_SIGNATURE_BYTES: usize = 4096;
/// The most signatures in one header: the current key's and the next or the last one's.
const MOST_SIGNATURES: usize = 4;

/// The type in the JWS's header. It begins with no letter of `JWT`, which tokens may have.
pub(crate) const TYPE: &str = "fedgate-document+jws";

/// How long a signature is valid. A replayed document is believed no longer than this.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// How long a signature of another version of fedgate may be valid.
const LONGEST_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How long before its time a signature is accepted: the peer's clock may be ahead by this much.
/// That is more than tokens allow, so that their finding about the clocks comes first.
const EARLY: SignedDuration = SignedDuration::from_mins(5);
/// How long after its end it is accepted.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// What is said of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Which document it is.
    pub kind: DocumentKind,
    /// Whose document it is.
    pub issuer: ClusterUuid,
    /// Whom it is for; `None` for the public document.
    pub audience: Option<ClusterUuid>,
    /// Grows whenever the content changes.
    pub sequence: u64,
    /// SHA-256 of the body.
    pub digest: Fingerprint,
}

/// In order of name. Unknown claims are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    aud: Option<String>,
    digest: Fingerprint,
    doc: DocumentKind,
    exp: i64,
    iat: i64,
    iss: String,
    seq: u64,
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is longer than any real one.
    #[error("the signature has more than {MAX_SIGNATURE_BYTES} bytes")]
    TooLong,
    /// There are several headers, or more signatures than a cluster has keys.
    #[error("there are more than {MOST_SIGNATURES} signatures")]
    TooMany,
    /// It is not a JWS in compact form with the required claims.
    #[error("the signature is not a JWS with the expected claims")]
    Form,
    /// Its header says something else than what a signature's must.
    #[error("the signature's header is not that of a document's signature")]
    Header,
    /// It is not by the known key.
    #[error("the signature is not by the known key")]
    Key,
    /// It is about another document, body, cluster or reader.
    #[error("the signature is for another document")]
    Other,
    /// It has expired.
    #[error("the signature has expired; an old document was sent again, or the clocks differ")]
    Expired,
    /// It is not valid yet, or for too long.
    #[error("the signature is from the future, or valid for too long; the clocks may differ")]
    Times,
}

/// Signs a statement, for [`LIFETIME`] from `now`.
///
/// # Errors
/// [`SigningFailed`].
pub fn sign(
    key: &SigningKey,
    statement: &Statement,
    now: Timestamp,
) -> Result<String, SigningFailed> {
    let claims = Claims {
        aud: statement.audience.as_ref().map(|audience| audience.as_str().to_owned()),
        digest: statement.digest,
        doc: statement.kind,
        exp: now.as_second().saturating_add(LIFETIME.as_secs()),
        iat: now.as_second(),
        iss: statement.issuer.as_str().to_owned(),
        seq: statement.sequence,
    };
    let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, key.encoding_key()).map_err(|_| SigningFailed)
}

/// The signatures of one response, parsed but not verified. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures(Vec<Signature>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    message: String,
    signature: String,
    claims: Claims,
}

/// What a document must be for its signature to hold.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Which document it is.
    pub kind: DocumentKind,
    /// Whose document it is.
    pub issuer: &'a ClusterUuid,
    /// Who reads it; `None` for the public document.
    pub audience: Option<&'a ClusterUuid>,
    /// SHA-256 of the body.
    pub digest: Fingerprint,
}

impl Signatures {
    /// Parses the value of the header: one or more JWS in compact form, separated by commas.
    ///
    /// # Errors
    /// [`SignatureError`]. No input panics.
    pub fn parse(header: &[u8]) -> Result<Self, SignatureError> {
        if header.len() > MAX_SIGNATURE_BYTES {
            return Err(SignatureError::TooLong);
        }
        let text = std::str::from_utf8(header).map_err(|_| SignatureError::Form)?;
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        if parts.len() > MOST_SIGNATURES {
            return Err(SignatureError::TooMany);
        }
        parts.into_iter().map(Signature::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Checks that one of the signatures is by `key` and about the expected document, and returns
    /// its sequence.
    ///
    /// # Errors
    /// [`SignatureError`]: [`SignatureError::Key`] only if none is by the key.
    pub fn verify(
        &self,
        key: &PublicKey,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<u64, SignatureError> {
        let by_key = self.0.iter().find(|signature| signature.is_by(key));
        by_key.ok_or(SignatureError::Key)?.check(expected, now)
    }
}

impl Signatures {
    /// The same as [`Self::verify`] for a signer with several keys: one signature that holds is
    /// enough.
    ///
    /// # Errors
    /// [`SignatureError`]: [`SignatureError::Key`] only if none is by any of the keys.
    pub(crate) fn verify_with(
        &self,
        keys: PublicKeys,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<u64, SignatureError> {
        let mut refused = SignatureError::Key;
        for key in keys.iter() {
            match self.verify(&key, expected, now) {
                Ok(sequence) => return Ok(sequence),
                Err(SignatureError::Key) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl Signature {
    fn parse(text: &str) -> Result<Self, SignatureError> {
        let (message, signature) = text.rsplit_once('.').ok_or(SignatureError::Form)?;
        let (header, payload) = message.split_once('.').ok_or(SignatureError::Form)?;
        let decode =
            |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| SignatureError::Form);
        check_header(&decode(header)?)?;
        let claims = read_object(&decode(payload)?).map_err(|_| SignatureError::Form)?;
        Ok(Self { message: message.to_owned(), signature: signature.to_owned(), claims })
    }

    fn is_by(&self, key: &PublicKey) -> bool {
        let (signature, message) = (&self.signature, self.message.as_bytes());
        let algorithm = Algorithm::EdDSA;
        jsonwebtoken::crypto::verify(signature, message, &key.decoding_key(), algorithm)
            .unwrap_or(false)
    }

    fn check(&self, expected: &Expected<'_>, now: Timestamp) -> Result<u64, SignatureError> {
        let Claims { aud, digest, doc, exp, iat, iss, seq } = &self.claims;
        let is = |text: &str, uuid: &ClusterUuid| {
            ClusterUuid::parse(text).is_ok_and(|parsed| parsed == *uuid)
        };
        let audience = match (aud, expected.audience) {
            (Some(aud), Some(audience)) => is(aud, audience),
            (None, None) => true,
            _ => false,
        };
        if *doc != expected.kind
            || *digest != expected.digest
            || !audience
            || !is(iss, expected.issuer)
        {
            return Err(SignatureError::Other);
        }
        let lifetime = exp.checked_sub(*iat).ok_or(SignatureError::Times)?;
        if !(1..=LONGEST_LIFETIME.as_secs()).contains(&lifetime)
            || *iat > now.as_second().saturating_add(EARLY.as_secs())
        {
            return Err(SignatureError::Times);
        }
        match exp.saturating_add(LATE.as_secs()) > now.as_second() {
            true => Ok(*seq),
            false => Err(SignatureError::Expired),
        }
    }
}

/// Allows exactly `alg` and `typ`, with these values.
fn check_header(header: &[u8]) -> Result<(), SignatureError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Typed {
        alg: String,
        typ: String,
    }
    let header: Typed = read_object(header).map_err(|_| SignatureError::Header)?;
    match header.alg == "EdDSA" && header.typ == TYPE {
        true => Ok(()),
        false => Err(SignatureError::Header),
    }
}
