//! The public document and its roots.

use super::{public_value, read_public};
use crate::rig::{ca_parameters, found, public, root, uuid};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::bundle::{KeyType, Root, RootError, roots_from_pem};
use fedgate_federation::document::{DocumentError, Limits, PublicDocument};
use serde_json::json;

#[test]
fn a_public_document_round_trips() {
    let document = public('2', 2, "beta.example", {
        let mut roots = vec![root(), root()];
        roots.sort();
        roots
    });
    let parsed =
        PublicDocument::parse(&document.to_json(), &crate::rig::beta(), &Limits::default())
            .unwrap();
    assert_eq!(parsed.document, document);
    assert_eq!(parsed.findings, []);
}

#[test]
fn a_public_document_has_dkps_keys() {
    let value = public_value();
    assert_eq!(value["clusterUUID"], uuid('2').as_str());
    assert!(
        value["authnKeyPub"].as_str().unwrap().starts_with("-----BEGIN ED25519 PUBLIC KEY-----\n")
    );
    assert!(value["rootCA"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(value["fedgate"], json!({"trustDomain": "beta.example"}));
}

#[test]
fn a_public_document_of_dkp_is_accepted() {
    let mut value = public_value();
    value.as_object_mut().unwrap().remove("fedgate");
    value["something"] = json!({"else": [1, 2]});
    assert_eq!(read_public(&value).unwrap().document.extension, None);
}

#[test]
fn a_public_document_with_a_missing_field_is_refused() {
    for key in ["clusterUUID", "authnKeyPub", "rootCA"] {
        let mut empty = public_value();
        empty[key] = json!("");
        assert!(
            matches!(read_public(&empty), Err(DocumentError::Invalid { field, .. }) if field == key),
            "{key}"
        );
        let mut missing = public_value();
        missing.as_object_mut().unwrap().remove(key);
        assert!(
            matches!(read_public(&missing), Err(DocumentError::Invalid { field, .. }) if field == key),
            "{key}"
        );
        let mut number = public_value();
        number[key] = json!(5);
        assert!(matches!(read_public(&number), Err(DocumentError::Json(_))), "{key}");
    }
    assert!(matches!(read_public(&json!([])), Err(DocumentError::Json(_))));
}

#[test]
fn a_bad_root_is_dropped_and_the_others_are_kept() {
    let good = root();
    let mut value = public_value();
    value["rootCA"] = json!(format!(
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n{}-----BEGIN X",
        good.to_pem()
    ));
    let parsed = read_public(&value).unwrap();
    assert_eq!(parsed.document.roots, [good]);
    assert_eq!(found(&parsed.findings, Reason::InvalidRoot).len(), 2);
}

#[test]
fn a_root_is_a_ca_certificate_with_a_usable_key() {
    let signed = |parameters: rcgen::CertificateParams, algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        Root::from_der(parameters.self_signed(&key).unwrap().der())
    };
    let ec = &rcgen::PKCS_ECDSA_P256_SHA256;
    assert_eq!(signed(ca_parameters(2100), ec).unwrap().key_type(), KeyType::Ec);
    assert_eq!(
        signed(ca_parameters(2100), &rcgen::PKCS_ECDSA_P384_SHA384).unwrap().key_type(),
        KeyType::Ec
    );
    assert_eq!(
        signed(ca_parameters(2100), &rcgen::PKCS_ED25519).unwrap_err(),
        RootError::Key("an Ed25519 key")
    );

    let mut leaf = ca_parameters(2100);
    leaf.is_ca = rcgen::IsCa::ExplicitNoCa;
    assert_eq!(signed(leaf, ec).unwrap_err(), RootError::NotCa);
    let mut silent = ca_parameters(2100);
    silent.is_ca = rcgen::IsCa::NoCa;
    assert_eq!(signed(silent, ec).unwrap_err(), RootError::NotCa);
    let mut signs_nothing = ca_parameters(2100);
    signs_nothing.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    assert_eq!(signed(signs_nothing, ec).unwrap_err(), RootError::NotSigning);

    let mut longer = root().der().to_vec();
    longer.push(0);
    assert_eq!(Root::from_der(&longer).unwrap_err(), RootError::Der);
    assert_eq!(Root::from_der(&[]).unwrap_err(), RootError::Der);
}

/// The error says what was found in place of the roots and never quotes it.
#[test]
fn without_a_usable_root_the_error_says_what_was_found() {
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf =
        rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = ca_parameters(2100).self_signed(&ed25519).unwrap().pem();
    let good = root().to_pem();
    let block = |tag: &str| format!("-----BEGIN {tag}-----\nAAAA\n-----END {tag}-----\n");
    let naked: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    for (text, expected) in [
        (String::new(), "found nothing"),
        (key.serialize_pem(), "found a private key"),
        (block("ENCRYPTED PRIVATE KEY"), "with a passphrase"),
        (leaf.pem(), "not a CA's"),
        (ed25519, "an Ed25519 key"),
        (version_1(), "version 1"),
        (block("PKCS7"), "PKCS #7"),
        (block("CERTIFICATE REQUEST"), "signing request"),
        (block("PUBLIC KEY"), "a public key"),
        (block("X509 CRL"), "revocation list"),
        (block("CERTIFICATE"), "not an X.509 certificate"),
        (good.replace("-----END", ""), "cut off"),
        (naked, "base64 without"),
        ("https://pki.example/".to_owned(), "a URL"),
        ("<html>".to_owned(), "HTML"),
    ] {
        let mut value = public_value();
        value["rootCA"] = json!(text);
        let message = read_public(&value).unwrap_err().to_string();
        assert!(
            message.starts_with("rootCA: expected at least one CA certificate in PEM"),
            "{message}"
        );
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!text.lines().any(|line| line.len() > 40 && message.contains(line)), "{message}");
    }
}

/// `openssl x509 -req` makes such a certificate without an extensions file. Its key may be of any
/// kind, because it is refused for its version.
fn version_1() -> String {
    let der = root().der().to_vec();
    let header = |der: &[u8]| 2 + usize::from(der[1].saturating_sub(0x80));
    let element = |value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82][..], &length, value].concat()
    };
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let signed: &[u8] = certificate.tbs_certificate.as_ref();
    let key_ends =
        certificate.public_key().raw.as_ptr_range().end as usize - signed.as_ptr() as usize;
    // A certificate without its first part, the version (five bytes), and without extensions after
    // the key is of version 1.
    let body = element(&signed[header(signed) + 5..key_ends]);
    let rest = &der[header(&der) + signed.len()..];
    pem::encode(&pem::Pem::new("CERTIFICATE", element(&[&body[..], rest].concat())))
}

#[test]
fn the_size_of_a_certificate_is_limited() {
    let pem = root().to_pem();
    assert!(roots_from_pem(&pem, 2000)[0].is_ok());
    assert!(matches!(roots_from_pem(&pem, 100)[0], Err(RootError::TooLong(_, 100))));
}
