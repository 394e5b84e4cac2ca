//! The certificate of the metadata endpoint.

use super::{Ca, DAY, Presented, ShortRsa, lasts};
use crate::rig::{at, the};
use fedgate_federation::credentials::{CertificateRole, Credentials, Source};
use fedgate_federation::{FindingReason as Reason, ObjectRef, Severity};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_ED25519, SanType};

fn endpoint(chain: &[u8], key: &[u8]) -> Credentials {
    let source = |field, bytes| Source {
        object: ObjectRef::cluster("alpha.example"),
        field,
        bytes: Ok(bytes),
    };
    Credentials::of_endpoint(
        &source("metadata.tls.certificate", chain),
        &source("metadata.tls.key", key),
    )
}

#[test]
fn the_endpoints_certificate_is_checked_too() {
    let ca = Ca::root("alpha");
    let host = |change: fn(&mut CertificateParams)| {
        ca.leaf(|params| {
            params.subject_alt_names =
                vec![SanType::DnsName("meta.alpha.example".try_into().unwrap())];
            change(params);
        })
    };
    let findings = |presented: &Presented| {
        endpoint(&presented.chain, presented.key.as_ref().unwrap()).findings(at(0))
    };
    let good = host(|_| {});
    assert_eq!(findings(&good), []);
    assert_eq!(
        findings(&ca.leaf_with(&PKCS_ED25519, |params| {
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        })),
        []
    );
    let roles: Vec<_> = endpoint(&good.chain, good.key.as_ref().unwrap())
        .validities
        .iter()
        .map(|validity| validity.role)
        .collect();
    assert_eq!(roles, [CertificateRole::Endpoint]);
    for (reason, part, presented) in [
        (Reason::CertificateExpired, "cannot fetch", host(|params| lasts(params, -9 * DAY, -DAY))),
        (
            Reason::CertificateNotYetValid,
            "compare the clocks",
            host(|params| lasts(params, DAY, 999 * DAY)),
        ),
        (Reason::InvalidCertificate, "names no host", ca.leaf(|_| {})),
        (
            Reason::InvalidCertificate,
            "serverAuth",
            host(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ),
        (
            Reason::InvalidCertificate,
            "1024",
            Presented {
                chain: ca
                    .sign(&ShortRsa::new(), |params| {
                        params.subject_alt_names =
                            vec![SanType::DnsName("meta.alpha.example".try_into().unwrap())];
                    })
                    .pem()
                    .into_bytes(),
                ..host(|_| {})
            },
        ),
        (Reason::InvalidCertificate, "JSON", Presented { chain: b"{}".to_vec(), ..host(|_| {}) }),
        (
            Reason::KeyMismatch,
            "another",
            host(|_| {}).with_key(KeyPair::generate().unwrap().serialize_pem()),
        ),
    ] {
        let findings = findings(&presented);
        let finding = the(&findings, reason);
        assert!(
            finding.severity == Severity::Error && finding.message.contains(part),
            "{findings:?}"
        );
    }
    let soon = host(|params| lasts(params, -9 * DAY, DAY / 2));
    assert_eq!(the(&findings(&soon), Reason::CertificateEndsSoon).severity, Severity::Warning);
}
