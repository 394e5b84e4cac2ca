//! Decides who may read which private document. No other code makes this decision.
//!
//! From outside, all refusals look alike. They return the same bytes and cost the same work, two
//! signature checks, whether or not the token's subject is a member. Only our log and counters show
//! the reason.

use super::{Metrics, PeerAccess, Published, metrics::TokenLabels};
use axum::http::{HeaderMap, header};
use fedgate_federation::{
    document::ClusterUuid,
    header::bearer as bearer_in,
    token::{DEFAULT_LEEWAY, ReplayCache, TokenError, VerifiedToken, verify},
};
use jiff::Timestamp;
use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tracing::{debug, info};

/// How many unexpired tokens of one peer are remembered. A peer that makes one a second needs 120.
const TOKENS_PER_PEER: usize = 1024;
/// The shortest time between two log lines with the same reason. In between, refusals are only
/// counted, because a stranger controls their number.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Why a request for a private document is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is no bearer token")]
    NoToken,
    #[error("this cluster publishes nothing yet")]
    NotReady,
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Refusal {
    fn word(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::NotReady => "not_ready",
            Self::Token(error) => error.word(),
        }
    }
}

/// Checks tokens, and remembers the used ones.
pub(super) struct Authorizer {
    metrics: Metrics,
    /// The second from which on used tokens are remembered. An older token may have been used
    /// before this program started. A peer with a slow clock is refused after a start until its
    /// clock reaches this second, for a minute at most: see [`DEFAULT_LEEWAY`].
    since: AtomicI64,
    used: Mutex<Used>,
    logged: Mutex<HashMap<&'static str, Instant>>,
}

struct Used {
    tokens: ReplayCache,
    /// The published state whose members' tokens are remembered.
    members: Arc<Published>,
}

impl Authorizer {
    pub(super) fn new(metrics: Metrics, now: Timestamp) -> Self {
        let used = Used { tokens: ReplayCache::new(TOKENS_PER_PEER), members: Arc::default() };
        let since = AtomicI64::new(now.as_second());
        Self { metrics, since, used: Mutex::new(used), logged: Mutex::default() }
    }

    /// Identifies the peer that asks, by its token. A token is good for one answer, or for the same answer again
    /// within a second.
    pub(super) fn authorize<'p>(
        &self,
        published: &'p Arc<Published>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<(VerifiedToken, &'p PeerAccess), Refusal> {
        let checked = check(published, headers, now).and_then(|(token, peer)| {
            self.check_start(&token, now)?;
            self.accept_once(published, &token, now)?;
            Ok((token, peer))
        });
        checked.inspect_err(|refusal| self.report(*refusal))
    }

    fn check_start(&self, token: &VerifiedToken, now: Timestamp) -> Result<(), TokenError> {
        // If our clock was ahead at the start and has been corrected since, peers must not wait for
        // that time again.
        let now = now.as_second();
        let since = self.since.fetch_min(now, Ordering::Relaxed).min(now);
        match token.not_before.as_second() < since {
            true => Err(TokenError::BeforeStart),
            false => Ok(()),
        }
    }

    fn accept_once(
        &self,
        published: &Arc<Published>,
        token: &VerifiedToken,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&used.members, published) {
            used.tokens.keep_only(|cluster| published.peer(cluster).is_some());
            used.members = published.clone();
        }
        used.tokens.accept(token, now)
    }

    fn report(&self, refusal: Refusal) {
        let reason = refusal.word();
        self.metrics.refused_tokens.get_or_create(&TokenLabels { reason }).inc();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = logged.get(reason).is_some_and(|at| at.elapsed() < LOG_PAUSE);
        match lately {
            true => debug!(reason, "refused a request for the private document"),
            false => {
                info!(
                    reason,
                    "refused a request for the private document: {refusal}; more of the same is only counted for a minute"
                );
                logged.insert(reason, Instant::now());
            }
        }
    }
}

fn check<'p>(
    published: &'p Published,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(VerifiedToken, &'p PeerAccess), Refusal> {
    let token = bearer(headers).ok_or(Refusal::NoToken)?;
    let access = published.access.as_ref().ok_or(Refusal::NotReady)?;
    let is_member = Cell::new(false);
    let keys_of = |subject: &ClusterUuid| {
        let peer = access.peer(subject);
        is_member.set(peer.is_some());
        // For a stranger, our own keys stand in, so that the same work is done. The result is a
        // refusal anyway.
        Some(peer.map_or(access.own_keys, |peer| peer.keys))
    };
    match verify(token, &access.audience, keys_of, now, DEFAULT_LEEWAY) {
        Ok(token) => {
            access.peer(&token.subject).map(|peer| (token, peer)).ok_or(TokenError::UnknownSubject)
        }
        Err(TokenError::Signature) if !is_member.get() => Err(TokenError::UnknownSubject),
        Err(error) => Err(error),
    }
    .map_err(Refusal::Token)
}

/// The token from the `Authorization` header, of which there must be exactly one (RFC 6750 section
/// 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    bearer_in(value.as_bytes())
}
