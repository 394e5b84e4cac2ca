//! Counting the URI names of real certificates, and of bytes that are none.

use fedgate_filter::leaf::{LeafError, MAX_BYTES, uri_names, uri_names_of_der};
use proptest::prelude::*;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa};
use rcgen::{KeyPair, KeyUsagePurpose, SanType};

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(text).unwrap())
}

fn certificate(names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

fn leaf(names: Vec<SanType>) -> Certificate {
    certificate(names, |params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
}

/// As Envoy's `urlEncodedPemEncodedPeerCertificate` does it.
fn url_encoded(pem: &str) -> String {
    let encoded = |c: char| match c {
        '\n' => "%0A".to_owned(),
        ' ' => "%20".to_owned(),
        '+' => "%2B".to_owned(),
        '/' => "%2F".to_owned(),
        '=' => "%3D".to_owned(),
        c => c.to_string(),
    };
    pem.replace("\r\n", "\n").chars().map(encoded).collect()
}

const ALPHA: &str = "spiffe://alpha.example/ns/shop/sa/web";
const GAMMA: &str = "spiffe://gamma.example/ns/shop/sa/web";

#[test]
fn counts_uris_and_nothing_else() {
    let long = (0..300).map(|n| dns(&format!("name-{n}.example"))).chain([uri(ALPHA)]).collect();
    for (names, expected) in [
        (vec![uri(ALPHA)], 1),
        (vec![uri(GAMMA), uri(ALPHA)], 2),
        (vec![dns("a.example"), uri(GAMMA), dns("b.example"), uri(ALPHA), uri(ALPHA)], 3),
        (vec![dns("a.example")], 0),
        (vec![], 0),
        (long, 1),
    ] {
        let certificate = leaf(names);
        assert_eq!(uri_names_of_der(certificate.der()), Ok(expected));
        assert_eq!(uri_names(url_encoded(&certificate.pem()).as_bytes()), Ok(expected));
    }
}

#[test]
fn other_extensions_and_keys_are_walked_over() {
    let authority = certificate(vec![uri("spiffe://alpha.example")], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
    });
    assert_eq!(uri_names_of_der(authority.der()), Ok(1));
    let large = certificate(vec![uri(ALPHA)], |params| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999], vec![0; 20_000])];
    });
    assert_eq!(uri_names_of_der(large.der()), Ok(1));
}

/// Which of two SAN extensions counts is nowhere defined.
#[test]
fn a_second_san_extension_is_refused() {
    let names = [&[0x30, 39, 0x86, 37][..], ALPHA.as_bytes()].concat();
    let twice = certificate(vec![uri(ALPHA)], |params| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], names)];
    });
    assert_eq!(uri_names_of_der(twice.der()), Err(LeafError::Der));
}

#[test]
fn what_is_cut_or_changed_is_refused() {
    let certificate = leaf(vec![uri(ALPHA)]);
    let der = certificate.der();
    for end in 0..der.len() {
        assert_eq!(uri_names_of_der(&der[..end]), Err(LeafError::Der), "{end}");
    }
    assert_eq!(uri_names_of_der(&[der, &[0][..]].concat()), Err(LeafError::Der));
}

#[test]
fn text_that_is_no_certificate_is_refused() {
    let pem = url_encoded(&leaf(vec![uri(ALPHA)]).pem());
    assert_eq!(uri_names(&vec![b'A'; MAX_BYTES + 1]), Err(LeafError::TooLong));
    for (bad, expected) in [
        (String::new(), LeafError::Pem),
        ("-----BEGIN%20CERTIFICATE-----".to_owned(), LeafError::Pem),
        ("-----BEGIN%20CERTIFICATE-----%0A-----END%20CERTIFICATE-----".to_owned(), LeafError::Der),
        (pem.replacen("BEGIN", "begin", 1), LeafError::Pem),
        (pem.replacen("%0A", "%0", 1), LeafError::Pem),
        (pem.replacen("%0A", "%", 1), LeafError::Pem),
        (pem.replacen("%0A", "*", 1), LeafError::Pem),
        (pem[..pem.len() / 2].to_owned(), LeafError::Pem),
        (pem.replacen("M", "N", 1), LeafError::Der),
    ] {
        assert_eq!(uri_names(bad.as_bytes()), Err(expected), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = uri_names(&bytes);
        let _ = uri_names_of_der(&bytes);
        let framed = [b"-----BEGIN%20CERTIFICATE-----%0A", &bytes[..]].concat();
        let _ = uri_names(&framed);
    }

    /// One byte of a certificate is changed: it is refused, or still has a plausible count; nothing else.
    #[test]
    fn no_changed_byte_panics(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        thread_local!(static DER: Vec<u8> = leaf(vec![uri(GAMMA), uri(ALPHA)]).der().to_vec());
        let mut der = DER.with(Clone::clone);
        let place = place.index(der.len());
        der[place] = byte;
        prop_assert!(uri_names_of_der(&der).is_ok_and(|count| count <= 2) || uri_names_of_der(&der).is_err());
    }
}
