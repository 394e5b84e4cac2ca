//! The certificate of gateway and egress, and the published roots.

use super::{Ca, DAY, Presented, lasts, of_roots};
use crate::authority::only_uris_of;
use crate::rig::{Rig, at, domain, found, the};
use fedgate_federation::credentials::{RootSource, keys_match};
use fedgate_federation::{FindingReason as Reason, ObjectRef, Severity};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, SanType,
};

#[test]
fn good_certificates_cause_no_findings() {
    let ca = Ca::root("alpha");
    let (inner, rsa) = (ca.intermediate("inner", |_| {}), Ca::of("rsa", |_| {}, &PKCS_RSA_SHA256));
    let lower = inner.intermediate("lower", |_| {});
    let twin = ca.leaf(|_| {});
    for (what, presented) in [
        ("P-256", ca.leaf(|_| {})),
        ("P-384", ca.leaf_with(&PKCS_ECDSA_P384_SHA384, |_| {})),
        ("RSA", rsa.leaf_with(&PKCS_RSA_SHA256, |_| {})),
        (
            "both usages",
            ca.leaf(|params| {
                params.extended_key_usages =
                    vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        (
            "a DNS name beside",
            ca.leaf(|params| {
                params.subject_alt_names.push(SanType::DnsName("x.example".try_into().unwrap()))
            }),
        ),
        ("an intermediate", inner.leaf(|_| {}).then(&inner).under(&[&ca])),
        (
            "two in a wrong order, and the root",
            lower.leaf(|_| {}).then(&inner).then(&ca).then(&lower).under(&[&ca]),
        ),
        ("the leaf twice", Presented { chain: twin.chain.repeat(2), ..twin }),
        ("an old and a new root", ca.leaf(|_| {}).under(&[&Ca::root("old"), &ca])),
        ("an intermediate beside its root", inner.leaf(|_| {}).under(&[&inner, &ca])),
        ("constraints that fit", {
            let fits = ca.intermediate("fits", |params| {
                params.custom_extensions = vec![only_uris_of("alpha.example")]
            });
            fits.leaf(|_| {}).then(&fits).under(&[&ca])
        }),
    ] {
        assert_eq!(presented.findings(), [], "{what}");
    }
}

#[test]
fn what_only_some_programs_refuse_is_a_warning() {
    let ca = Ca::root("alpha");
    let rsa = Ca::of("rsa", |_| {}, &PKCS_RSA_SHA256);
    let client =
        ca.leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let finding = client.findings().pop().unwrap();
    assert_eq!((finding.reason, finding.severity), (Reason::WeakCertificate, Severity::Warning));
    assert!(finding.message.contains("serverAuth"));

    // Turns sha256WithRSAEncryption into sha1WithRSAEncryption.
    let strong = pem::parse(rsa.leaf(|_| {}).chain).unwrap().into_contents();
    let (sha256, sha1) = ([0x86, 0xf7, 0x0d, 1, 1, 11], [0x86, 0xf7, 0x0d, 1, 1, 5]);
    let mut weak = strong.clone();
    for at in 0..strong.len() - sha256.len() {
        if strong[at..at + 6] == sha256 {
            weak[at..at + 6].copy_from_slice(&sha1);
        }
    }
    let key = KeyPair::generate().unwrap();
    let presented = Presented {
        chain: pem::encode(&pem::Pem::new("CERTIFICATE", weak)).into_bytes(),
        ..rsa.leaf(|_| {})
    };
    let findings = presented.with_key(key.serialize_pem()).findings();
    assert!(the(&findings, Reason::WeakCertificate).message.contains("SHA-1"), "{findings:?}");

    let both = Presented {
        chain: [ca.leaf(|_| {}).chain, key.serialize_pem().into_bytes()].concat(),
        ..ca.leaf(|_| {})
    };
    the(&both.findings(), Reason::ExposedKey);
}

/// The life of a certificate valid for a hundred days, as `federate` reports it.
#[test]
fn findings_begin_and_end_at_the_announced_times() {
    let ca = Ca::root("alpha");
    let presented = ca.leaf(|params| lasts(params, DAY, 101 * DAY));
    let mut rig = Rig::new();
    rig.objects.federations.clear();
    rig.local.credentials = presented.credentials();
    let mut at_time = |now: Timestamp| {
        rig.now = now;
        let federation = rig.federate();
        let of_leaf = federation
            .findings
            .into_iter()
            .find(|finding| finding.object == ObjectRef::cluster("alpha.example"));
        (of_leaf.map(|finding| (finding.reason, finding.severity)), federation.next_change)
    };
    let soon = at(91 * DAY);
    let ended = at(101 * DAY) + SignedDuration::from_secs(1);
    let error = |reason| Some((reason, Severity::Error));
    assert_eq!(at_time(at(0)), (error(Reason::CertificateNotYetValid), Some(at(DAY))));
    assert_eq!(at_time(at(DAY)), (None, Some(soon)));
    assert_eq!(
        at_time(soon),
        (Some((Reason::CertificateEndsSoon, Severity::Warning)), Some(ended))
    );
    assert_eq!(at_time(at(101 * DAY)).0, Some((Reason::CertificateEndsSoon, Severity::Warning)));
    assert_eq!(at_time(ended).0, error(Reason::CertificateExpired));
}

#[test]
fn an_expired_root_with_a_replacement_is_a_warning() {
    let old = Ca::of("old", |params| lasts(params, -9 * DAY, -DAY), &PKCS_ECDSA_P256_SHA256);
    let new = Ca::root("new");
    let presented = new.leaf(|_| {}).under(&[&old, &new]);
    let findings = presented.findings();
    assert_eq!(the(&findings, Reason::CertificateExpired).severity, Severity::Warning);
    // The root that signed the leaf is not replaced by another valid one.
    let findings = old.leaf(|_| {}).under(&[&old, &new]).findings();
    assert_eq!(the(&findings, Reason::CertificateExpired).severity, Severity::Error);
    // If the leaf is not known, any valid root will do.
    let roots = [old.trusted(), new.trusted()];
    let source =
        |roots| RootSource { roots, object: ObjectRef::cluster("alpha.example"), field: "data" };
    let severity =
        |roots| the(&of_roots(&source(roots)).findings(at(0)), Reason::CertificateExpired).severity;
    assert_eq!((severity(&roots), severity(&roots[..1])), (Severity::Warning, Severity::Error));
}

#[test]
fn more_roots_than_peers_accept_are_an_error() {
    let roots: Vec<_> = (0..17).map(|n| Ca::root(&format!("{n}")).trusted()).collect();
    let source = |roots| RootSource {
        roots,
        object: ObjectRef::cluster("alpha.example"),
        field: "identity.roots",
    };
    assert!(
        the(&of_roots(&source(&roots)).findings(at(0)), Reason::TooManyRoots)
            .message
            .contains("17 roots")
    );
    assert_eq!(of_roots(&source(&roots[..16])).findings(at(0)), []);
}

#[test]
fn a_key_is_matched_with_its_certificate() {
    let ca = Ca::root("alpha");
    let (one, two) = (ca.leaf(|_| {}), ca.leaf_with(&PKCS_RSA_SHA256, |_| {}));
    let (one_key, two_key) = (one.key.unwrap(), two.key.unwrap());
    assert_eq!(keys_match(&one.chain, &one_key), Ok(true));
    assert_eq!(keys_match(&two.chain, &two_key), Ok(true));
    assert_eq!(keys_match(&one.chain, &two_key), Ok(false));
    assert!(keys_match(b"", &one_key).unwrap_err().contains("found nothing"));
}

/// DKP publishes an intermediate if its `istio.ca.root` is left out.
#[test]
fn a_peers_root_that_is_an_intermediate_is_reported_and_not_used() {
    let (ca, other) = (Ca::root("beta"), Ca::root("other"));
    let inner = ca.intermediate("inner", |_| {});
    let mut rig = Rig::new();
    let mut with = |roots: &[&Ca]| {
        rig.known("beta").public.as_mut().unwrap().document.roots =
            roots.iter().map(|ca| ca.trusted()).collect();
        rig.federate()
    };
    let federation = with(&[&inner]);
    let finding = the(&federation.findings, Reason::IntermediateRoot);
    assert!(
        finding.message.contains("CN=inner") && finding.message.contains("CN=beta"),
        "{finding}"
    );
    assert!(!federation.bundles.contains_key(&domain("beta.example")));
    assert!(federation.bundles.contains_key(&domain("gamma.example")));
    // Together with its own root it can be used.
    let federation = with(&[&inner, &ca]);
    assert_eq!(federation.bundles[&domain("beta.example")].roots.len(), 2);
    assert!(found(&federation.findings, Reason::IntermediateRoot).is_empty());
    // Another root does not help it and is not affected by it.
    let federation = with(&[&inner, &other]);
    assert_eq!(federation.bundles[&domain("beta.example")].roots, [other.trusted()]);
    the(&federation.findings, Reason::IntermediateRoot);
}
