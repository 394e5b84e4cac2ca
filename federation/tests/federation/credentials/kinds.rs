//! Each kind of bad certificate, key and root, with the finding that it causes.

use super::{Ca, DAY, Presented, ShortRsa, lasts};
use crate::authority::{only_uris_of, uri};
use crate::rig::the;
use fedgate_federation::{FindingReason as Reason, Severity};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
};

pub(super) type Kind = (&'static str, Presented, Reason, &'static str, &'static str);

/// All kinds, each with the finding's reason, its field and a part of its message.
pub(super) fn kinds() -> Vec<Kind> {
    use Reason::{
        CertificateExpired, CertificateNotYetValid, IntermediateRoot, InvalidCertificate,
        InvalidKey, KeyMismatch, UntrustedCertificate,
    };
    let (chain, key, roots) =
        ("identity.certificateChain", "identity.privateKey", "identity.roots");
    let ca = Ca::root("alpha");
    let good = || ca.leaf(|_| {});
    let with = |change: fn(&mut CertificateParams)| ca.leaf(change);
    let inner = ca.intermediate("inner", |_| {});
    let under = |ca: &Ca| ca.leaf(|_| {});
    let bytes = |chain: &[u8]| Presented { chain: chain.to_vec(), ..good() };
    let other_key = KeyPair::generate().unwrap();
    let ended = ca.intermediate("ended", |params| {
        lasts(params, -9 * DAY, -DAY);
    });
    let no_ca = ca.intermediate("no ca", |params| params.is_ca = IsCa::ExplicitNoCa);
    let short = ca
        .intermediate("short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = short.intermediate("below", |_| {});
    let elsewhere = ca.intermediate("elsewhere", |params| {
        params.custom_extensions = vec![only_uris_of("b.example")]
    });
    let expired_root = Ca::of(
        "old",
        |params| {
            lasts(params, -9 * DAY, -DAY);
        },
        &PKCS_ECDSA_P256_SHA256,
    );
    let future_root =
        Ca::of("new", |params| lasts(params, DAY, 999 * DAY), &PKCS_ECDSA_P256_SHA256);
    let cut: Vec<u8> = [&good().chain[..], &good().chain[..200]].concat();
    let short_rsa =
        Presented { chain: ca.sign(&ShortRsa::new(), |_| {}).pem().into_bytes(), ..good() };
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    vec![
        (
            "expired",
            with(|params| lasts(params, -9 * DAY, -DAY)),
            CertificateExpired,
            chain,
            "expired at 2025-12-31",
        ),
        (
            "not yet valid",
            with(|params| lasts(params, DAY, 999 * DAY)),
            CertificateNotYetValid,
            chain,
            "not valid before 2026-01-02",
        ),
        (
            "another root",
            good().under(&[&Ca::root("other")]),
            UntrustedCertificate,
            chain,
            "put the root into identity.roots",
        ),
        (
            "a root of the same name",
            good().under(&[&Ca::root("alpha")]),
            UntrustedCertificate,
            chain,
            "another key",
        ),
        (
            "signed by itself",
            Ca::root("x").leaf(|_| {}).under(&[&ca]),
            UntrustedCertificate,
            chain,
            "issued by CN=x",
        ),
        (
            "no intermediate",
            under(&inner).under(&[&ca]),
            UntrustedCertificate,
            chain,
            "intermediate CA",
        ),
        (
            "an expired intermediate",
            under(&ended).then(&ended).under(&[&ca]),
            CertificateExpired,
            chain,
            "intermediate CA",
        ),
        (
            "an intermediate that is no CA",
            under(&no_ca).then(&no_ca).under(&[&ca]),
            InvalidCertificate,
            chain,
            "is not a CA",
        ),
        (
            "a chain that is too long",
            under(&below).then(&below).then(&short).under(&[&ca]),
            InvalidCertificate,
            chain,
            "pathlen",
        ),
        (
            "name constraints",
            under(&elsewhere).then(&elsewhere).under(&[&ca]),
            InvalidCertificate,
            chain,
            "name constraints",
        ),
        (
            "an unknown critical extension",
            with(|params| {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions = vec![extension];
            }),
            InvalidCertificate,
            chain,
            "1.2.3.4",
        ),
        (
            "the intermediate first",
            Presented { chain: [inner.pem().into_bytes(), under(&inner).chain].concat(), ..good() },
            InvalidCertificate,
            chain,
            "CA certificate",
        ),
        (
            "a CA's",
            with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            InvalidCertificate,
            chain,
            "CA:TRUE",
        ),
        (
            "no usage",
            with(|params| params.key_usages.clear()),
            InvalidCertificate,
            chain,
            "keyUsage=digitalSignature",
        ),
        (
            "another usage",
            with(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            InvalidCertificate,
            chain,
            "keyUsage=digitalSignature",
        ),
        (
            "a CA's usage",
            with(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            InvalidCertificate,
            chain,
            "keyCertSign",
        ),
        ("Ed25519", ca.leaf_with(&PKCS_ED25519, |_| {}), InvalidCertificate, chain, "Ed25519"),
        (
            "P-521",
            ca.leaf_with(&PKCS_ECDSA_P521_SHA512, |_| {}),
            InvalidCertificate,
            chain,
            "P-521",
        ),
        ("RSA 1024", short_rsa, InvalidCertificate, chain, "1024 bits"),
        (
            "another trust domain",
            with(|params| params.subject_alt_names = vec![uri("spiffe://beta.example/ns/x/sa/y")]),
            InvalidCertificate,
            chain,
            "trust domain beta.example",
        ),
        (
            "two names",
            with(|params| params.subject_alt_names.push(uri("spiffe://alpha.example/x"))),
            InvalidCertificate,
            chain,
            "1 more",
        ),
        (
            "no name",
            with(|params| params.subject_alt_names.clear()),
            InvalidCertificate,
            chain,
            "no URI SAN",
        ),
        (
            "no SPIFFE ID",
            with(|params| params.subject_alt_names = vec![uri("https://alpha.example/")]),
            InvalidCertificate,
            chain,
            "https://alpha.example/",
        ),
        (
            "a key in its place",
            bytes(other_key.serialize_pem().as_bytes()),
            InvalidCertificate,
            chain,
            "found a private key",
        ),
        ("DER", bytes(ca.sign(&other_key, |_| {}).der()), InvalidCertificate, chain, "in DER"),
        ("nothing", bytes(b""), InvalidCertificate, chain, "found nothing"),
        (
            "a byte order mark",
            bytes(&[&[0xef, 0xbb, 0xbf], &good().chain[..]].concat()),
            InvalidCertificate,
            chain,
            "byte order mark",
        ),
        ("a second certificate that is cut off", bytes(&cut), InvalidCertificate, chain, "cut off"),
        (
            "another key",
            good().with_key(other_key.serialize_pem()),
            KeyMismatch,
            key,
            "that of another",
        ),
        ("a key with a passphrase", good().with_key(locked), InvalidKey, key, "passphrase"),
        (
            "no key",
            Presented {
                key: Err("expected a file in PEM, found none; put it there".to_owned()),
                ..good()
            },
            InvalidKey,
            key,
            "found none",
        ),
        ("a certificate as key", good().with_key(good().chain), InvalidKey, key, "swapped"),
        (
            "a damaged key",
            good().with_key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            InvalidKey,
            key,
            "damaged",
        ),
        ("an expired root", under(&expired_root), CertificateExpired, roots, "root sha256:"),
        (
            "a root that is not valid yet",
            under(&future_root),
            CertificateNotYetValid,
            roots,
            "root sha256:",
        ),
        (
            "an intermediate as root",
            under(&inner),
            IntermediateRoot,
            roots,
            "publish the root of that issuer",
        ),
    ]
}

#[test]
fn each_kind_of_bad_certificate_is_an_error_that_says_what_to_do() {
    for (what, presented, reason, field, part) in kinds() {
        let findings = presented.findings();
        let finding = the(&findings, reason);
        assert_eq!(finding.severity, Severity::Error, "{what}");
        assert_eq!(finding.field.as_deref(), Some(field), "{what}: {findings:#?}");
        assert!(finding.message.contains(part), "{what}: {findings:#?}");
        let secret = presented
            .key
            .as_ref()
            .ok()
            .and_then(|key| String::from_utf8_lossy(key).lines().nth(1).map(str::to_owned));
        let quoted = |secret: &String| {
            secret.len() > 8 && findings.iter().any(|finding| finding.message.contains(secret))
        };
        assert!(!secret.as_ref().is_some_and(quoted), "{what} is quoted");
    }
}
