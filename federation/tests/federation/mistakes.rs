//! What may come instead of a peer's documents and roots. Each message must say what it is, and
//! what to do.

use crate::advice::problems_of_finding;
use crate::credentials::ShortRsa;
use crate::readable::assert_readable;
use crate::rig::{Rig, at, ca_parameters, public, root};
use fedgate_federation::document::Limits;
use fedgate_federation::knowledge::{ExchangeReason, PeerKnowledge};
use fedgate_federation::object::Peer;
use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Returns what is reported of a body: the condition's message, which is also the finding's.
fn reported_for(body: &[u8]) -> (ExchangeReason, String) {
    let peer = Peer::parse(Rig::new().object("beta")).unwrap().0;
    let mut known = PeerKnowledge::new(&peer);
    let findings = known
        .absorb_public(&peer, body, Default::default(), &Limits::default(), at(1))
        .into_findings();
    let exchange = known.public_exchange.unwrap();
    if exchange.reason != ExchangeReason::Succeeded {
        assert!(
            findings.iter().any(|finding| finding.message.ends_with(&exchange.message)),
            "{findings:#?}"
        );
    }
    let dropped: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let message = if exchange.message.is_empty() { dropped.join("\n") } else { exchange.message };
    (exchange.reason, message)
}

fn document() -> Value {
    serde_json::from_slice(&public('2', 9, "beta.example", vec![root()]).to_json()).unwrap()
}

fn with_roots(roots: &str) -> Vec<u8> {
    let mut body = document();
    body["rootCA"] = json!(roots);
    body.to_string().into_bytes()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], &content].concat()
}

/// Returns the same certificate without version and extensions, which makes it one of version 1.
fn version_1(der: &[u8]) -> Vec<u8> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let tbs = certificate.tbs_certificate.as_ref();
    let key = certificate.tbs_certificate.subject_pki.raw;
    let end = key.as_ptr() as usize + key.len() - tbs.as_ptr() as usize;
    let rest = &der[4 + tbs.len()..];
    sequence(&[&sequence(&[&tbs[4 + 5..end]]), rest])
}

fn pem_of(label: &str, contents: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, contents))
}

/// What people provide instead of roots, each with the words that the message must contain.
fn instead_of_roots() -> Vec<(&'static str, String, &'static str)> {
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(ca_parameters(2100), &key);
    let root = ca_parameters(2100).self_signed(&key).unwrap();
    let (pem, der) = (root.pem(), root.der().to_vec());
    let leaf = CertificateParams::new(vec!["x.example".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let short = ca_parameters(2100).signed_by(&ShortRsa::new(), &issuer).unwrap();
    let mut no_signing = ca_parameters(2100);
    no_signing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let no_signing = no_signing.self_signed(&key).unwrap();
    let ed25519 = ca_parameters(2100)
        .self_signed(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap())
        .unwrap();
    let request =
        CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    let naked: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let cut: String = pem.lines().take(4).map(|line| format!("{line}\n")).collect();
    let twice = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &pem);
    vec![
        ("version 1", pem_of("CERTIFICATE", &version_1(&der)), "X.509 version 1"),
        ("RSA 1024", short.pem(), "an RSA key of 1024 bits"),
        ("a leaf", leaf.pem(), "not a CA's"),
        ("one that may not sign", no_signing.pem(), "may not sign certificates"),
        ("Ed25519", ed25519.pem(), "an Ed25519 key"),
        ("something behind it", pem_of("CERTIFICATE", &[&der[..], &[0]].concat()), "strict DER"),
        (
            "DER as text",
            String::from_utf8_lossy(&der).into_owned(),
            "expected at least one CA certificate in PEM",
        ),
        ("PKCS #7", pem_of("PKCS7", &der), "PKCS #7"),
        ("PKCS #7 of OpenSSL's cms", pem_of("CMS", &der), "PKCS #7"),
        ("a private key", key.serialize_pem(), "a private key, which must never be published"),
        (
            "an RSA key",
            pem_of("RSA PRIVATE KEY", &der),
            "a private key, which must never be published",
        ),
        ("a locked key", pem_of("ENCRYPTED PRIVATE KEY", &der), "with a passphrase"),
        ("a public key", key.public_key_pem(), "a public key without a certificate"),
        ("a request", request, "certificate signing request"),
        ("a revocation list", pem_of("X509 CRL", &der), "revocation list"),
        ("parameters", pem_of("EC PARAMETERS", &der), "parameters of a key"),
        ("bare base64", naked, "base64 without the lines -----BEGIN CERTIFICATE-----"),
        ("base64 of PEM", twice, "base64 once more"),
        ("the end is missing", cut, "cut off"),
        (
            "the beginning is missing",
            pem.split_once('\n').unwrap().1.to_owned(),
            "BEGIN …----- is missing",
        ),
        ("a typing error", pem.replacen('M', "!", 1), "not its base64"),
        ("dashes are missing", pem.replace("-----", "----"), "text without a PEM block"),
        ("a path", "/etc/istio/root.pem".to_owned(), "a file's name"),
        ("a URL", "https://pki.example/root.pem".to_owned(), "a URL"),
        ("a page", "<html>login</html>".to_owned(), "HTML"),
        ("an SSH key", "ssh-ed25519 AAAA x@y".to_owned(), "OpenSSH"),
        ("nothing", String::new(), "found nothing"),
        ("blanks", " \n ".to_owned(), "found nothing"),
    ]
}

/// A leaf, and a CA with an RSA key of 1024 bits.
pub(crate) fn leaf_and_short_rsa() -> (String, String) {
    let all = instead_of_roots();
    let the = |what| all.iter().find(|(name, ..)| *name == what).unwrap().1.clone();
    (the("a leaf"), the("RSA 1024"))
}

/// So many roots.
pub(crate) fn pem_of_roots(count: usize) -> String {
    (0..count).map(|_| crate::rig::root().to_pem()).collect()
}

#[test]
fn anything_provided_instead_of_roots_is_described() {
    let mut messages = Vec::new();
    for (what, roots, words) in instead_of_roots() {
        let (reason, message) = reported_for(&with_roots(&roots));
        assert_eq!(reason, ExchangeReason::InvalidPublicMetadata, "{what}: {message}");
        assert!(message.starts_with("rootCA: ") && message.contains(words), "{what}: {message}");
        messages.push(message);
    }
    assert_readable(&messages, problems_of_finding);
}

/// Next to a good root, each bad one is dropped by itself, and the good one is accepted.
#[test]
fn a_bad_root_after_a_good_one_is_dropped_and_reported_with_its_position() {
    for (what, other, _) in
        instead_of_roots().into_iter().filter(|(_, other, _)| other.contains("-----BEGIN"))
    {
        let (reason, message) = reported_for(&with_roots(&format!("{}{other}", root().to_pem())));
        assert_eq!(reason, ExchangeReason::Succeeded, "{what}: {message}");
        assert!(message.contains("block 2 of the peer's roots was dropped"), "{what}: {message}");
        assert_readable(&[message], problems_of_finding);
    }
}

#[test]
fn other_spellings_of_pem_are_accepted() {
    let (one, two) = (root().to_pem(), root().to_pem());
    for (what, text) in [
        ("line ends of Windows", one.replace('\n', "\r\n")),
        ("glued together", format!("{}{}", one.trim_end(), two.trim_end())),
        ("a byte order mark", format!("\u{feff}{one}")),
        ("a text of openssl in front", format!("subject=CN = x\nissuer=CN = x\n{one}")),
        ("blank lines", format!("\n\n{one}\n\n\n{two}\n")),
        ("trusted by another name", one.replace("CERTIFICATE", "X509 CERTIFICATE")),
    ] {
        assert_eq!(
            reported_for(&with_roots(&text)),
            (ExchangeReason::Succeeded, String::new()),
            "{what}"
        );
    }
}

#[test]
fn anything_received_instead_of_a_document_is_described() {
    let good = document().to_string();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = good.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let nul = good.replacen("2222", "22\0\0", 1);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "the body is empty"),
        ("blanks", b" \r\n".to_vec(), "the body is empty"),
        (
            "a page",
            b"<!doctype html><title>Sign in</title>".to_vec(),
            "an HTML page with the title \"Sign in\"",
        ),
        ("XML", b"<?xml version='1.0'?><Error/>".to_vec(), "HTML and XML"),
        ("UTF-16", utf16, "UTF-16"),
        ("UTF-16, the other way round", big, "UTF-16"),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes(), "byte order mark"),
        ("gzip", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], "compressed with gzip"),
        ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 4, 0], "compressed with zstd"),
        ("a list", format!("[{good}]").into_bytes(), "a JSON list"),
        ("a string", json!(good).to_string().into_bytes(), "a JSON string"),
        ("a number", b"42".to_vec(), "a number"),
        ("null", b"null".to_vec(), "found null"),
        ("true", b"true".to_vec(), "true or false"),
        ("text", b"no healthy upstream".to_vec(), "text that begins with \"no healthy upstream\""),
        ("YAML", b"clusterUUID: x\n".to_vec(), "text that begins with"),
        ("PEM", root().to_pem().into_bytes(), "found PEM"),
        ("cut off", good.as_bytes()[..good.len() / 2].to_vec(), "ends in the middle"),
        ("NUL in a text", nul.into_bytes(), "control character"),
        ("NULs", vec![0; 100], "NUL"),
        ("a pit where nobody looks", deep.into_bytes(), "clusterUUID"),
        ("two of them", format!("{good}{good}").into_bytes(), "something after the object"),
        (
            "a comma too many",
            good.replacen("}", ",}", 1).into_bytes(),
            "a field's name in double quotes",
        ),
        ("single quotes", good.replace('"', "'").into_bytes(), "double quotes"),
        ("no field", b"{}".to_vec(), "clusterUUID"),
        ("a number for a text", br#"{"clusterUUID": 7}"#.to_vec(), "expected a string, found 7"),
        ("too large", format!("{}{good}", " ".repeat(20 << 20)).into_bytes(), "expected at most"),
        ("bytes", vec![0xc3, 0x28, 0xff], "not UTF-8"),
        ("bytes in a text", [br#"{"clusterUUID": ""#, &[0xff][..], b"\"}"].concat(), "UTF-8"),
    ];
    let mut messages = Vec::new();
    for (what, body, words) in cases {
        let (reason, message) = reported_for(&body);
        assert_ne!(reason, ExchangeReason::Succeeded, "{what}");
        assert!(message.contains(words), "{what}: {message}");
        // Columns are allowed here: a document written by a program may be a single line.
        messages.push(message.replace(", column ", " at "));
    }
    assert_readable(&messages, problems_of_finding);
}
