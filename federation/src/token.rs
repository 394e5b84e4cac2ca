//! The token that opens the private document (peer protocol, section 3): a JWS (RFC 7515) with EdDSA (RFC 8037), signed by the
//! cluster that asks.
//!
//! Signing and verifying are `jsonwebtoken`'s; the claims are checked here, because that crate reads the system's clock and
//! takes an array for `aud`. The order of the checks is: size, form, claims that cost nothing, signature, time. Whatever fails, the
//! answer to the stranger is the same 401; [`TokenError`] is for our own log.

use crate::document::ClusterUuid;
use crate::json::read_object;
use crate::key::{PublicKey, SigningKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The most bytes of a token that are looked at; a real one has about 400.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// How far clocks may be apart (default for the argument of [`verify`]). It also covers a [`TokenSource`] that runs ahead.
pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);

const ISSUER: &str = "d8-istio";
const SCOPE: &str = "private-federation";
const LIFETIME_SECONDS: i64 = 60;
const MOST_LIFETIME_SECONDS: i64 = 300;

/// In order of name, which is the order of DKP's tokens. Unknown claims are passed over.
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
    /// It is longer than any real one.
    #[error("the token has more than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It is no JWS in compact form with the claims that must be there.
    #[error("the token is not a JWS with the expected claims")]
    Form,
    /// Its header says something else than EdDSA.
    #[error("the token's header is not {{\"alg\":\"EdDSA\"}}")]
    Header,
    /// It is meant for another cluster.
    #[error("the token's audience is not this cluster")]
    Audience,
    /// It was issued for something else.
    #[error("the token's issuer or scope is another")]
    Purpose,
    /// It says that it comes from a cluster that is no peer, or whose key is not known (yet).
    #[error("the token's subject is no peer whose key is known")]
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
    /// It is valid for too long, or for no time at all.
    #[error("the token's lifetime is not between 1 and {MOST_LIFETIME_SECONDS} seconds")]
    Lifetime,
    /// It was used before.
    #[error("the token was used before")]
    Replayed,
    /// Its peer sent so many that they cannot be remembered.
    #[error("the peer sent more tokens than can be remembered")]
    TooMany,
}

impl TokenError {
    /// A stable word, for logs and for metrics.
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
            Self::TooMany => "too_many",
        }
    }
}

/// The token could not be signed. It says nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed")]
pub struct SigningFailed;

/// A token that [`verify`] accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The cluster that asks.
    pub subject: ClusterUuid,
    /// Up to when it would be accepted again, leeway included.
    pub acceptable_until: Timestamp,
    /// SHA-256 of what is signed. The signature is left out, so that no other spelling of it passes for another token.
    digest: [u8; 32],
}

/// Issues a token by which `local` asks `remote`; valid from `now` for 60 seconds. Two calls within one second give the same
/// token, because Ed25519 is deterministic: use a [`TokenSource`] for requests.
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

fn sign_from(key: &SigningKey, local: &ClusterUuid, remote: &ClusterUuid, nbf: i64) -> Result<String, SigningFailed> {
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

/// Issues tokens of which no two are the same: `nbf` grows by a second at least from one to the next for the same audience.
/// Under more than one request a second it runs ahead of the clock, up to the verifier's leeway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSource {
    last: BTreeMap<ClusterUuid, i64>,
}

impl TokenSource {
    /// The next token by which `local` asks `remote`.
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
        // A clock that was set back far would have to catch up for as long; an old `nbf` is forgotten then.
        let nbf = match last - now.as_second().min(last) <= LIFETIME_SECONDS {
            true => last.max(now.as_second()),
            false => now.as_second(),
        };
        self.last.insert(remote.clone(), nbf);
        sign_from(key, local, remote, nbf)
    }
}

/// Checks a token: that it is meant for `audience`, and signed by a peer, whose key `key_of` knows. A replay is another matter:
/// see [`ReplayCache`].
///
/// # Errors
/// [`TokenError`], for any bytes whatever; none panic.
pub fn verify(
    token: &str,
    audience: &ClusterUuid,
    key_of: impl FnOnce(&ClusterUuid) -> Option<PublicKey>,
    now: Timestamp,
    leeway: Duration,
) -> Result<VerifiedToken, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Form)?;
    check_header(header)?;
    let claims = read_claims(payload)?;
    let subject = check_purpose(&claims, audience)?;
    let key = key_of(&subject).ok_or(TokenError::UnknownSubject)?;
    let genuine = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding_key(), Algorithm::EdDSA);
    if !genuine.unwrap_or(false) {
        return Err(TokenError::Signature);
    }
    let acceptable_until = check_times(&claims, now, leeway)?;
    Ok(VerifiedToken { subject, acceptable_until, digest: Sha256::digest(message).into() })
}

/// Exactly `alg` and, at most, `typ`: anything else in a header asks a verifier to trust what the token says of itself.
fn check_header(encoded: &str) -> Result<(), TokenError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bare {
        alg: String,
        #[serde(rename = "typ")]
        _typ: Option<String>,
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Form)?;
    let header: Bare = read_object(&bytes).map_err(|_| TokenError::Header)?;
    match header.alg == "EdDSA" {
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

fn check_times(claims: &Claims, now: Timestamp, leeway: Duration) -> Result<Timestamp, TokenError> {
    let lifetime = claims.exp.checked_sub(claims.nbf).ok_or(TokenError::Lifetime)?;
    if !(1..=MOST_LIFETIME_SECONDS).contains(&lifetime) {
        return Err(TokenError::Lifetime);
    }
    let leeway = SignedDuration::try_from(leeway).unwrap_or(SignedDuration::MAX);
    let moment = |second| Timestamp::from_second(second).map_err(|_| TokenError::Lifetime);
    let until = moment(claims.exp)?.saturating_add(leeway).map_err(|_| TokenError::Lifetime)?;
    let from = moment(claims.nbf)?.saturating_sub(leeway).map_err(|_| TokenError::Lifetime)?;
    match (now < from, now < until) {
        (true, _) => Err(TokenError::NotYetValid),
        (false, false) => Err(TokenError::Expired),
        (false, true) => Ok(until),
    }
}

/// The tokens that were used and could be used again. Only verified ones get in, so only peers fill it, and each peer has a
/// share of its own.
#[derive(Debug, Clone)]
pub struct ReplayCache {
    per_peer: usize,
    used: BTreeMap<ClusterUuid, HashMap<[u8; 32], Timestamp>>,
}

impl ReplayCache {
    /// A cache that remembers up to `per_peer` tokens of each peer (64 bytes each).
    pub fn new(per_peer: usize) -> Self {
        Self { per_peer, used: BTreeMap::new() }
    }

    /// Accepts a token once.
    ///
    /// # Errors
    /// [`TokenError::Replayed`] the second time, [`TokenError::TooMany`] when its peer's share is used up.
    pub fn accept(&mut self, token: &VerifiedToken, now: Timestamp) -> Result<(), TokenError> {
        let used = self.used.entry(token.subject.clone()).or_default();
        if used.contains_key(&token.digest) {
            return Err(TokenError::Replayed);
        }
        if used.len() >= self.per_peer {
            used.retain(|_, until| *until > now);
        }
        if used.len() >= self.per_peer {
            return Err(TokenError::TooMany);
        }
        used.insert(token.digest, token.acceptable_until);
        Ok(())
    }

    /// Forgets the tokens of clusters that are no peers any more.
    pub fn keep_only(&mut self, is_peer: impl Fn(&ClusterUuid) -> bool) {
        self.used.retain(|peer, _| is_peer(peer));
    }
}
