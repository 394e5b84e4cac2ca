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

/// How far clocks may be apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leeway {
    /// How long before its `nbf` a token is taken: the peer's clock may be ahead by that.
    pub early: Duration,
    /// How long after its `exp` a token is taken. Little is needed: the token of a peer whose clock is behind is valid for as much less,
    /// and every second more is one in which a token that somebody got hold of may pass.
    pub late: Duration,
}

/// A minute either way: a token is valid for a minute itself, so that of a peer whose clock is a minute behind is just expiring when it
/// comes. `early` also covers a [`TokenSource`] that runs ahead.
pub const DEFAULT_LEEWAY: Leeway = Leeway { early: Duration::from_secs(60), late: Duration::from_secs(10) };

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
    /// It was issued before this verifier began to remember tokens, so that it may have been used.
    #[error("the token was issued before this program started, so it may have been used already")]
    BeforeStart,
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
            Self::BeforeStart => "before_start",
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
    /// When it was issued, by the peer's clock, to the second.
    pub not_before: Timestamp,
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
    let key = key_of(&subject).ok_or(TokenError::UnknownSubject)?;
    let genuine = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding_key(), Algorithm::EdDSA);
    if !genuine.unwrap_or(false) {
        return Err(TokenError::Signature);
    }
    let (not_before, acceptable_until) = check_times(&claims, now, leeway)?;
    Ok(VerifiedToken { subject, not_before, acceptable_until, digest: Sha256::digest(message).into() })
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

/// When the token was issued, and up to when it is taken.
fn check_times(claims: &Claims, now: Timestamp, leeway: Leeway) -> Result<(Timestamp, Timestamp), TokenError> {
    let lifetime = claims.exp.checked_sub(claims.nbf).ok_or(TokenError::Lifetime)?;
    if !(1..=MOST_LIFETIME_SECONDS).contains(&lifetime) {
        return Err(TokenError::Lifetime);
    }
    let signed = |leeway| SignedDuration::try_from(leeway).unwrap_or(SignedDuration::MAX);
    let moment = |second| Timestamp::from_second(second).map_err(|_| TokenError::Lifetime);
    let issued = moment(claims.nbf)?;
    let until = moment(claims.exp)?.saturating_add(signed(leeway.late)).map_err(|_| TokenError::Lifetime)?;
    let from = issued.saturating_sub(signed(leeway.early)).map_err(|_| TokenError::Lifetime)?;
    match (now < from, now < until) {
        (true, _) => Err(TokenError::NotYetValid),
        (false, false) => Err(TokenError::Expired),
        (false, true) => Ok((issued, until)),
    }
}

/// Within how long after its first use a token is taken again. A DKP cluster asks twice in a second at times, with the same token,
/// since its tokens are to the second and their signature is deterministic.
const SAME_ANSWER_FOR: SignedDuration = SignedDuration::from_secs(1);
/// How often it is taken within that time.
const SAME_ANSWERS: u8 = 4;

/// The tokens that were used and could be used again. Only verified ones get in, so only peers fill it, and each peer has a
/// share of its own.
///
/// A token is good for one second from its first use on, and a few answers. Whoever got hold of a token could as well have been
/// faster than its owner, so that this second gives nothing to him that he does not have without it.
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
    /// A cache that remembers up to `per_peer` tokens of each peer (some 80 bytes each).
    pub fn new(per_peer: usize) -> Self {
        Self { per_peer, used: BTreeMap::new() }
    }

    /// Accepts a token once, and up to three times more within a second.
    ///
    /// # Errors
    /// [`TokenError::Replayed`] from then on, [`TokenError::TooMany`] when its peer's share is used up.
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

    /// Forgets the tokens of clusters that are no peers any more.
    pub fn keep_only(&mut self, is_peer: impl Fn(&ClusterUuid) -> bool) {
        self.used.retain(|peer, _| is_peer(peer));
    }
}

impl Used {
    fn again(&mut self, now: Timestamp) -> Result<(), TokenError> {
        let since = now.duration_since(self.first);
        // A clock that was set back says nothing about the time that has passed.
        match !since.is_negative() && since < SAME_ANSWER_FOR && self.times < SAME_ANSWERS {
            true => {
                self.times += 1;
                Ok(())
            }
            false => Err(TokenError::Replayed),
        }
    }
}
