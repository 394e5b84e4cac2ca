//! A second URI SAN is refused where it can be seen.

mod support;

use fedgate_filter::host::Property;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, KeyPair, SanType};
use support::*;

fn certificate(uris: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI(Ia5String::try_from(*uri).unwrap())).collect();
    let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let encode = |c: char| match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '-' => c.to_string(),
        c => format!("%{:02X}", c as u32),
    };
    pem.replace("\r\n", "\n").chars().map(encode).collect()
}

fn reason_for(uri_san: &str, certificate: &[u8]) -> String {
    let mut gateway = Gateway::with(&usual());
    let client = gateway.connect(WEB);
    gateway.handshake(client, uri_san);
    gateway.set(client, Property::Certificate, certificate);
    assert_eq!(gateway.downstream_data(client), gateway.reason(client) == "granted");
    gateway.reason(client)
}

#[test]
fn one_name_is_judged_and_two_are_refused() {
    assert_eq!(reason_for(ALPHA, certificate(&[ALPHA]).as_bytes()), "granted");
    assert_eq!(reason_for(GAMMA, certificate(&[GAMMA]).as_bytes()), "not_granted");
    assert_eq!(reason_for(ALPHA, certificate(&[ALPHA, GAMMA]).as_bytes()), "bad_identity");
    assert_eq!(reason_for(GAMMA, certificate(&[GAMMA, ALPHA]).as_bytes()), "bad_identity");
}

#[test]
fn a_certificate_that_cannot_be_walked_is_refused() {
    assert_eq!(reason_for(ALPHA, b"-----BEGIN%20CERTIFICATE-----%0AMIIB"), "bad_identity");
    assert_eq!(reason_for(ALPHA, &[0xff; 40]), "bad_identity");
}

#[test]
fn without_the_certificate_the_first_name_is_all_there_is() {
    assert_eq!(reason_for(ALPHA, b""), "granted");
}
