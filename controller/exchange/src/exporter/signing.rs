//! Signs documents when they are asked for. A signature serves all requests for some minutes, so a
//! change costs one signature for each peer that asks, when it asks. While there are two keys, both
//! sign, so that a reader who knows either of them believes the document.

use crate::keyring::Keyring;
use axum::http::HeaderValue;
use fedgate_federation::{
    key::{PublicKeys, SigningKeys},
    signature::{LIFETIME, Statement, sign},
};
use jiff::Timestamp;
use std::sync::{Mutex, PoisonError};

/// What is said of a document, and the newest signature of that.
#[derive(Debug)]
pub(super) struct Signed {
    statement: Statement,
    newest: Mutex<Option<Newest>>,
}

/// The value of the header, and what it was made from.
#[derive(Clone, Debug)]
struct Newest {
    made: Timestamp,
    keys: PublicKeys,
    header: HeaderValue,
}

impl Signed {
    pub(super) fn new(statement: Statement) -> Self {
        Self { statement, newest: Mutex::default() }
    }

    /// The signatures, made at most half of their lifetime ago. `None` if there is no key.
    pub(super) fn signature(&self, keyring: &Keyring, now: Timestamp) -> Option<HeaderValue> {
        let keys = keyring.keys()?;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |newest: &&Newest| {
            let age = now.duration_since(newest.made);
            !age.is_negative() && age < LIFETIME / 2 && newest.keys == keys.public()
        };
        if let Some(newest) = newest.as_ref().filter(is_good) {
            return Some(newest.header.clone());
        }
        let header = self.sign(&keys, now)?;
        *newest = Some(Newest { made: now, keys: keys.public(), header: header.clone() });
        Some(header)
    }

    fn sign(&self, keys: &SigningKeys, now: Timestamp) -> Option<HeaderValue> {
        let signed = keys.iter().map(|key| sign(key, &self.statement, now));
        let signed: Vec<_> = signed.collect::<Result<_, _>>().ok()?;
        HeaderValue::try_from(signed.join(", ")).ok()
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
    use fedgate_federation::{
        bundle::Fingerprint, document::ClusterUuid, key::SigningKey, knowledge::DocumentKind,
    };
    use jiff::SignedDuration;

    fn signed() -> Signed {
        Signed::new(Statement {
            kind: DocumentKind::Public,
            issuer: ClusterUuid::parse("11111111-aaaa-4aaa-8aaa-111111111111").unwrap(),
            audience: None,
            sequence: 1,
            digest: Fingerprint::of(b"{}"),
        })
    }

    #[test]
    fn a_signature_is_made_when_it_is_asked_for_and_serves_for_half_of_its_life() {
        let signed = signed();
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        assert_eq!(signed.signature(&Keyring::default(), now), None);
        let keyring = Keyring::new(SigningKey::from_seed(&[1; 32]).unwrap());
        let first = signed.signature(&keyring, now).unwrap();
        let second = SignedDuration::from_secs(1);
        assert_eq!(signed.signature(&keyring, now + LIFETIME / 2 - second).unwrap(), first);
        assert_ne!(signed.signature(&keyring, now + LIFETIME / 2).unwrap(), first);
        // A clock that was ahead has made a signature that is not valid yet.
        let back = signed.signature(&keyring, now - second).unwrap();
        assert_ne!(back, first);
    }

    #[test]
    fn both_keys_sign_and_other_keys_sign_at_once() {
        let signed = signed();
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        let key = |seed| SigningKey::from_seed(&[seed; 32]).unwrap();
        let keyring = Keyring::new(key(1));
        let count = |header: HeaderValue| header.to_str().unwrap().split(", ").count();
        let one = signed.signature(&keyring, now).unwrap();
        assert_eq!(count(one.clone()), 1);
        keyring.use_keys(SigningKeys::new(key(1), Some(key(2))));
        let both = signed.signature(&keyring, now).unwrap();
        assert!(both.to_str().unwrap().starts_with(one.to_str().unwrap()));
        assert_eq!(count(both), 2);
        keyring.use_keys(key(1));
        assert_eq!(signed.signature(&keyring, now).unwrap(), one);
    }
}
