use fedgate_core::TrustDomain;
use fedgate_federation::ObjectRef;
use fedgate_federation::bundle::Fingerprint;
use fedgate_federation::bundle::Root;
use fedgate_federation::document::{
    ClusterUuid, Limits, PrivateDocument, PublicDocument, SpiffeBundle,
};
use fedgate_federation::key::SigningKey;
use fedgate_federation::knowledge::DocumentKind;
use fedgate_federation::signature::{Expected, Signatures, Statement};
use fedgate_federation::token::{Leeway, verify};
use jiff::Timestamp;
use std::time::Duration;

pub(crate) const BETA: &str = "beta.example";
pub(crate) const ALPHA_UUID: &str = "11111111-aaaa-4aaa-8aaa-111111111111";
pub(crate) const BETA_UUID: &str = "22222222-bbbb-4bbb-8bbb-222222222222";

pub(crate) fn uuid(text: &str) -> ClusterUuid {
    ClusterUuid::parse(text).expect("a UUID")
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).expect("a seed")
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("a time")
}

fn object() -> ObjectRef {
    ObjectRef::federation("beta")
}

/// A public document: an accepted one is written so that it is accepted again, unchanged and
/// without findings.
pub fn public_document(data: &[u8]) {
    let limits = Limits::default();
    let Ok(parsed) = PublicDocument::parse(data, &object(), &limits) else { return };
    assert!(!parsed.document.roots.is_empty() && parsed.findings.len() <= limits.findings + 1);
    let again = PublicDocument::parse(&parsed.document.to_json(), &object(), &limits)
        .expect("what was written");
    assert_eq!((again.document, again.findings), (parsed.document, Vec::new()));
}

/// A private document: the same, and all of its names belong to the peer.
pub fn private_document(data: &[u8]) {
    let (beta, limits) = (TrustDomain::parse(BETA).expect("a trust domain"), Limits::default());
    let Ok(parsed) = PrivateDocument::parse(data, &beta, &object(), &limits) else { return };
    assert!(parsed.findings.len() <= limits.findings + 1);
    let mut document = parsed.document;
    assert!(
        document
            .services
            .iter()
            .all(|service| beta.owns(&service.hostname) && !service.ports.is_empty())
    );
    if let Some(extension) = &mut document.extension {
        assert!(
            extension.gateway_identities.iter().all(|identity| identity.trust_domain() == BETA)
        );
        // The original count includes the rows that were dropped.
        extension.service_count = document.services.len() as u64;
    }
    let again = PrivateDocument::parse(&document.to_json(), &beta, &object(), &limits)
        .expect("what was written");
    assert_eq!((again.document, again.findings), (document, Vec::new()));
}

/// A SPIFFE bundle: an accepted one is written so that it is accepted again, unchanged.
pub fn spiffe_bundle(data: &[u8]) {
    let Ok(bundle) = SpiffeBundle::parse(data, &Limits::default()) else { return };
    assert_eq!(
        SpiffeBundle::parse(&bundle.to_json(), &Limits::default()).expect("what was written"),
        bundle
    );
}

/// A root certificate in DER: an accepted one has a valid period, a short subject, and exactly the
/// given bytes.
pub fn certificate(data: &[u8]) {
    let Ok(root) = Root::from_der(data) else { return };
    assert!(root.not_before() <= root.not_after() && root.der() == data);
    assert!(
        root.subject().chars().count() <= 1000 && !root.subject().chars().any(char::is_control)
    );
}

/// A token: only the holder of the key can make one, so an accepted token must be the one signed
/// here.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key_of = |_: &ClusterUuid| Some(key().public());
    let strict = Leeway { early: Duration::ZERO, late: Duration::ZERO };
    if let Ok(token) = verify(text, &uuid(BETA_UUID), key_of, now(), strict) {
        assert_eq!(token.subject, uuid(ALPHA_UUID));
        assert!(crate::seeds("token").contains(&data.to_vec()), "{text}");
    }
}

/// The body that the statement of [`statement`] is about.
const BODY: &[u8] = b"{}";

pub(crate) fn statement() -> Statement {
    Statement {
        kind: DocumentKind::Private,
        issuer: uuid(BETA_UUID),
        audience: Some(uuid(ALPHA_UUID)),
        sequence: 7,
        digest: Fingerprint::of(BODY),
    }
}

/// The header with a document's signatures: only the holder of the key can make one, so an accepted
/// one has the signature that was made here.
pub fn signature(data: &[u8]) {
    let Ok(signatures) = Signatures::parse(data) else { return };
    let Statement { kind, issuer, audience, sequence, digest } = statement();
    let expected = Expected { kind, issuer: &issuer, audience: audience.as_ref(), digest };
    if let Ok(verified) = signatures.verify(&key().public(), &expected, now()) {
        assert_eq!(verified, sequence);
        let made = crate::seeds("signature").swap_remove(0);
        let text = String::from_utf8_lossy(data);
        assert!(text.split(',').any(|part| part.trim().as_bytes() == made), "{text}");
    }
}
