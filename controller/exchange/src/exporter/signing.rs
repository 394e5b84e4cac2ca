//! Signs documents when they are asked for. A signature serves all requests for some minutes, so a
//! change costs one signature for each peer that asks, when it asks.

use axum::http::HeaderValue;
use fedgate_federation::{
    key::SigningKey,
    signature::{LIFETIME, Statement, sign},
};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The key that signs this cluster's documents. It may be set after the exporter has started;
/// before that, nothing is published. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Signer(Arc<OnceLock<SigningKey>>);

impl Signer {
    /// A signer with its key.
    pub fn new(key: SigningKey) -> Self {
        let signer = Self::default();
        signer.use_key(key);
        signer
    }

    /// Sets the key. It cannot be changed afterwards.
    pub fn use_key(&self, key: SigningKey) {
        let _ = self.0.set(key);
    }
}

/// What is said of a document, and the newest signature of that.
#[derive(Debug)]
pub(super) struct Signed {
    statement: Statement,
    newest: Mutex<Option<(Timestamp, HeaderValue)>>,
}

impl Signed {
    pub(super) fn new(statement: Statement) -> Self {
        Self { statement, newest: Mutex::default() }
    }

    /// The signature, made at most half of its lifetime ago. `None` if there is no key.
    pub(super) fn signature(&self, signer: &Signer, now: Timestamp) -> Option<HeaderValue> {
        let key = signer.0.get()?;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_young = |made: Timestamp| {
            let age = now.duration_since(made);
            !age.is_negative() && age < LIFETIME / 2
        };
        if let Some((_, signature)) = newest.as_ref().filter(|(made, _)| is_young(*made)) {
            return Some(signature.clone());
        }
        let signed = sign(key, &self.statement, now).ok()?;
        let signature = HeaderValue::try_from(signed).ok()?;
        *newest = Some((now, signature.clone()));
        Some(signature)
    }
}

impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        self.statement == other.statement
    }
}

impl Eq for Signed {}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::{bundle::Fingerprint, document::ClusterUuid, knowledge::DocumentKind};
    use jiff::SignedDuration;

    #[test]
    fn a_signature_is_made_when_it_is_asked_for_and_serves_for_half_of_its_life() {
        let signed = Signed::new(Statement {
            kind: DocumentKind::Public,
            issuer: ClusterUuid::parse("11111111-aaaa-4aaa-8aaa-111111111111").unwrap(),
            audience: None,
            sequence: 1,
            digest: Fingerprint::of(b"{}"),
        });
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        assert_eq!(signed.signature(&Signer::default(), now), None);
        let signer = Signer::new(SigningKey::from_seed(&[1; 32]).unwrap());
        let first = signed.signature(&signer, now).unwrap();
        let second = SignedDuration::from_secs(1);
        assert_eq!(signed.signature(&signer, now + LIFETIME / 2 - second).unwrap(), first);
        assert_ne!(signed.signature(&signer, now + LIFETIME / 2).unwrap(), first);
        // A clock that was ahead has made a signature that is not valid yet.
        let back = signed.signature(&signer, now - second).unwrap();
        assert_ne!(back, first);
    }
}
