//! Parameters of CAs and of the certificates that gateways show. Tests break them one by one.
//! Shared by the tests of both crates.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyUsagePurpose, SanType,
};

/// The parameters of a CA.
pub(crate) fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

/// The parameters of a certificate that peers accept as the identity `id`.
pub(crate) fn leaf_params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![uri(id)];
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Name constraints that permit only URIs of one host.
pub(crate) fn only_uris_of(host: &str) -> CustomExtension {
    let element =
        |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
    let subtrees = element(0xa0, &element(0x30, &element(0x86, host.as_bytes())));
    CustomExtension::from_oid_content(&[2, 5, 29, 30], element(0x30, &subtrees))
}
