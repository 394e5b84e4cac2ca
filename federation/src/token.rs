//! The token that authenticates a request for the private document (peer protocol, section 3): a
//! JWS (RFC 7515) with EdDSA (RFC 8037), signed by the requesting cluster.
//!
//! `jsonwebtoken` signs and verifies. The claims are checked here, because that crate reads the
//! system's clock and accepts an array for `aud`. The order of the checks is: size, form, cheap
//! claims, signature, time. Whatever fails, the answer is the same 401; [`TokenError`] is only for
//! our own log.

use crate::document::ClusterUuid;
use crate::json::read_object;
use crate::key::{PublicKey, PublicKeys, SigningKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The most bytes of a token that are read; a real one has about 400.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// How far clocks may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leeway {
    /// How long before its `nbf` a token is accepted: the peer's clock may be ahead by this much.
    pub early: Duration,
    /// How long after its `exp` a token is accepted. It can be short: if the peer's clock is
    /// behind, its token is simply valid for less time. Every second more is one in which a stolen
    /// token may be accepted.
    pub late: Duration,
}

/// Tolerates clocks that differ by a minute either way. Tokens are valid for a minute, so one from
/// a clock that is a minute behind is just expiring when it arrives. `early` also covers a
/// [`TokenSource`] that runs ahead.
pub const DEFAULT_LEEWAY: Leeway =
    Leeway { early: Duration::from_secs(60), late: Duration::from_secs(10) };

const ISSUER: &str = "d8-istio";
const SCOPE: &str = "private-federation";
const LIFETIME_SECONDS: i64 = 60;
const MOST_LIFETIME_SECONDS: i64 = 300;

/// In order of name, like DKP's tokens. Unknown claims are ignored.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    aud: String,
    exp: i64,
    iss: String,
    nbf: i64,
    scope: String,
    sub: String,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any real token.
    #[error("the token has more than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It is not a JWS in compact form with the required claims.
    #[error("the token is not a JWS with the expected claims")]
    Form,
    /// Its header says something other than EdDSA.
    #[error("the token's header is not {{\"alg\":\"EdDSA\"}}")]
    Header,
    /// It is meant for another cluster.
    #[error("the token's audience is not this cluster")]
    Audience,
    /// It was issued for another purpose.
    #[error("the token's issuer or scope is another")]
    Purpose,
    /// Its subject is not a peer, or the peer's key is not known (yet).
    #[error("the token's subject is not a peer with a known key")]
    UnknownSubject,
    /// It was not signed with the subject's key.
    #[error("the token's signature is not the subject's")]
    Signature,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its lifetime is too long, or not positive.
    #[error("the token's lifetime is not between 1 and {MOST_LIFETIME_SECONDS} seconds")]
    Lifetime,
    /// It was used before.
    #[error("the token was used before")]
    Replayed,
    /// It was issued before this verifier began to remember tokens, so it may have been used
    /// already.
    #[error("the token was issued before this program started, so it may have been used already")]
    BeforeStart,
    /// Its peer sent more tokens than can be remembered.
    #[error("the peer sent more tokens than can be remembered")]
    TooMany,
}

impl TokenError {
    /// Returns a stable word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Form => "form",
            Self::Header => "header",
            Self::Audience => "audience",
            Self::Purpose => "purpose",
            Self::UnknownSubject => "unknown_subject",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Lifetime => "lifetime",
            Self::Replayed => "replayed",
            Self::BeforeStart => "before_start",
            Self::TooMany => "too_many",
        }
    }
}

/// The token could not be signed. The error contains nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed")]
pub struct SigningFailed;

/// A token that [`verify`] accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The cluster that sent the request.
    pub subject: ClusterUuid,
    /// The key that signed it.
    pub key: PublicKey,
    /// When it was issued, by the peer's clock, to the second.
    pub not_before: Timestamp,
    /// Until when it would be accepted again, leeway included.
    pub acceptable_until: Timestamp,
    /// SHA-256 of the signed part. It leaves out the signature, so that another spelling of the
    /// signature does not make another token.
    digest: [u8; 32],
}

/// Issues a token from `local` to `remote`, valid from `now` for 60 seconds. Two calls within one
/// second give the same token, because Ed25519 is deterministic. Use a [`TokenSource`] for
/// requests.
///
/// # Errors
/// [`SigningFailed`].
pub fn sign(
    key: &SigningKey,
    local: &ClusterUuid,
    remote: &ClusterUuid,
    now: Timestamp,
) -> Result<String, SigningFailed> {
    sign_from(key, local, remote, now.as_second())
}

fn sign_from(
    key: &SigningKey,
    local: &ClusterUuid,
    remote: &ClusterUuid,
    nbf: i64,
) -> Result<String, SigningFailed> {
    let claims = Claims {
        aud: remote.as_str().to_owned(),
        exp: nbf.saturating_add(LIFETIME_SECONDS),
        iss: ISSUER.to_owned(),
        nbf,
        scope: SCOPE.to_owned(),
        sub: local.as_str().to_owned(),
    };
    let header = Header { typ: None, ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, key.encoding_key()).map_err(|_| SigningFailed)
}

/// Issues tokens that all differ: for the same audience, `nbf` grows by at least a second from one
/// to the next. At more than one request a second it runs ahead of the clock, up to the verifier's
/// leeway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSource {
    last: BTreeMap<ClusterUuid, i64>,
}

impl TokenSource {
    /// Returns the next token from `local` to `remote`.
    ///
    /// # Errors
    /// [`SigningFailed`].
    pub fn issue(
        &mut self,
        key: &SigningKey,
        local: &ClusterUuid,
        remote: &ClusterUuid,
        now: Timestamp,
    ) -> Result<String, SigningFailed> {
        let last = self.last.get(remote).map_or(i64::MIN, |last| last.saturating_add(1));
        // After the clock was set back far, `nbf` would stay ahead of it for as long, so the old
        // one is forgotten.
        let nbf = match last - now.as_second().min(last) <= LIFETIME_SECONDS {
            true => last.max(now.as_second()),
            false => now.as_second(),
        };
        self.last.insert(remote.clone(), nbf);
        sign_from(key, local, remote, nbf)
    }
}

/// Checks that a token is meant for `audience` and signed by a peer. `keys_of` returns the peer's
/// keys; during a rotation either may have signed it. A good token by the current key costs one
/// check of a signature, any other two, so that the time does not tell how many keys a peer has. It
/// does not detect replays; see [`ReplayCache`].
///
/// # Errors
/// [`TokenError`]. No input panics.
pub fn verify<K: Into<PublicKeys>>(
    token: &str,
    audience: &ClusterUuid,
    keys_of: impl FnOnce(&ClusterUuid) -> Option<K>,
    now: Timestamp,
    leeway: Leeway,
) -> Result<VerifiedToken, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Form)?;
    check_header(header)?;
    let claims = read_claims(payload)?;
    let subject = check_purpose(&claims, audience)?;
    let PublicKeys { current, other } = keys_of(&subject).ok_or(TokenError::UnknownSubject)?.into();
    let signed_by = |key: &PublicKey| {
        let (message, algorithm) = (message.as_bytes(), Algorithm::EdDSA);
        jsonwebtoken::crypto::verify(signature, message, &key.decoding_key(), algorithm)
            .unwrap_or(false)
    };
    let mut keys = [current, other.unwrap_or(current)].into_iter();
    let key = keys.find(signed_by).ok_or(TokenError::Signature)?;
    let (not_before, acceptable_until) = check_times(&claims, now, leeway)?;
    Ok(VerifiedToken {
        subject,
        key,
        not_before,
        acceptable_until,
        digest: Sha256::digest(message).into(),
    })
}

/// Allows only `alg` and, optionally, `typ`, which must be a token's: the same key signs documents,
/// too. Any other field of a header asks the verifier to trust what the token says of itself.
fn check_header(encoded: &str) -> Result<(), TokenError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bare {
        alg: String,
        typ: Option<String>,
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Form)?;
    let header: Bare = read_object(&bytes).map_err(|_| TokenError::Header)?;
    let is_token = header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
    match header.alg == "EdDSA" && is_token {
        true => Ok(()),
        false => Err(TokenError::Header),
    }
}

fn read_claims(encoded: &str) -> Result<Claims, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Form)?;
    read_object(&bytes).map_err(|_| TokenError::Form)
}

fn check_purpose(claims: &Claims, audience: &ClusterUuid) -> Result<ClusterUuid, TokenError> {
    if claims.aud != audience.as_str() {
        return Err(TokenError::Audience);
    }
    if claims.iss != ISSUER || claims.scope != SCOPE {
        return Err(TokenError::Purpose);
    }
    ClusterUuid::parse(&claims.sub).map_err(|_| TokenError::UnknownSubject)
}

/// Returns when the token was issued, and until when it is accepted.
fn check_times(
    claims: &Claims,
    now: Timestamp,
    leeway: Leeway,
) -> Result<(Timestamp, Timestamp), TokenError> {
    let lifetime = claims.exp.checked_sub(claims.nbf).ok_or(TokenError::Lifetime)?;
    if !(1..=MOST_LIFETIME_SECONDS).contains(&lifetime) {
        return Err(TokenError::Lifetime);
    }
    let Leeway { early, late } = leeway;
    let signed = |leeway| SignedDuration::try_from(leeway).unwrap_or(SignedDuration::MAX);
    let moment = |second| Timestamp::from_second(second).map_err(|_| TokenError::Lifetime);
    let issued = moment(claims.nbf)?;
    let until =
        moment(claims.exp)?.saturating_add(signed(late)).map_err(|_| TokenError::Lifetime)?;
    let from = issued.saturating_sub(signed(early)).map_err(|_| TokenError::Lifetime)?;
    match (now < from, now < until) {
        (true, _) => Err(TokenError::NotYetValid),
        (false, false) => Err(TokenError::Expired),
        (false, true) => Ok((issued, until)),
    }
}

/// For how long after its first use a token is accepted again. DKP clusters sometimes ask twice
/// within a second. They then send the same token, because its times are to the second and its
/// signature is deterministic.
const SAME_ANSWER_FOR: SignedDuration = SignedDuration::from_secs(1);
/// How often a token is accepted in total within that time.
const SAME_ANSWERS: u8 = 4;

/// The used tokens that could be used again. Only verified tokens get in, so only peers can fill
/// it, and each peer has its own share.
///
/// A token is good for one second from its first use, and for a few requests. This second gives
/// nothing to a thief of the token, who could have been faster than the owner anyway.
#[derive(Debug, Clone)]
pub struct ReplayCache {
    per_peer: usize,
    used: BTreeMap<ClusterUuid, HashMap<[u8; 32], Used>>,
}

#[derive(Debug, Clone)]
struct Used {
    first: Timestamp,
    times: u8,
    until: Timestamp,
}

impl ReplayCache {
    /// Creates a cache that remembers up to `per_peer` tokens of each peer (some 80 bytes each).
    pub fn new(per_peer: usize) -> Self {
        Self { per_peer, used: BTreeMap::new() }
    }

    /// Accepts a token once, and up to three more times within a second.
    ///
    /// # Errors
    /// [`TokenError::Replayed`] after that, [`TokenError::TooMany`] if the peer's share is used up.
    pub fn accept(&mut self, token: &VerifiedToken, now: Timestamp) -> Result<(), TokenError> {
        let used = self.used.entry(token.subject.clone()).or_default();
        if let Some(before) = used.get_mut(&token.digest) {
            return before.again(now);
        }
        if used.len() >= self.per_peer {
            used.retain(|_, used| used.until > now);
        }
        if used.len() >= self.per_peer {
            return Err(TokenError::TooMany);
        }
        used.insert(token.digest, Used { first: now, times: 1, until: token.acceptable_until });
        Ok(())
    }

    /// Forgets the tokens of clusters that are no longer peers.
    pub fn keep_only(&mut self, is_peer: impl Fn(&ClusterUuid) -> bool) {
        self.used.retain(|peer, _| is_peer(peer));
    }
}

impl Used {
    fn again(&mut self, now: Timestamp) -> Result<(), TokenError> {
        let since = now.duration_since(self.first);
        // If the clock was set back, the time that has passed is not known.
        match !since.is_negative() && since < SAME_ANSWER_FOR && self.times < SAME_ANSWERS {
            true => {
                self.times += 1;
                Ok(())
            }
            false => Err(TokenError::Replayed),
        }
    }
}
