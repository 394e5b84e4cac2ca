//! A certificate chain, and checks of its leaf.

use super::issuer::Issuer;
use crate::document::WorkloadIdentity;
use crate::finding::shown;
use crate::pem_text::{Kind, blocks, without_blocks};
use fedgate_core::TrustDomain;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// More certificates than any real chain has.
const MOST: usize = 16;

/// The certificates of a chain in DER, leaf first.
pub(super) struct Chain {
    certificates: Vec<Vec<u8>>,
    /// Whether the text also contains a private key.
    pub(super) has_key: bool,
}

impl Chain {
    /// Reads a PEM text as Envoy does: skips blocks of other kinds, and fails if any certificate is
    /// damaged.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let expected =
            |found| format!("expected certificates in PEM, the leaf first, found {found}");
        let text = String::from_utf8_lossy(bytes);
        let found: Vec<_> = blocks(&text).collect();
        if text.starts_with('\u{feff}') {
            return Err(expected(
                "a byte order mark at the beginning; save the file as UTF-8 without one",
            ));
        }
        if let Some(damaged) = found.iter().find_map(|block| block.as_ref().err()) {
            return Err(expected(damaged));
        }
        let of = |kind| found.iter().flatten().filter(move |block| block.kind == kind);
        let certificates: Vec<_> =
            of(Kind::Certificate).map(|block| block.contents.clone()).collect();
        match (certificates.is_empty(), found.first()) {
            (true, Some(Ok(other))) => Err(expected(other.kind.words())),
            (true, _) => Err(expected(without_blocks(bytes))),
            (false, _) if certificates.len() > MOST => Err(too_many(certificates.len())),
            (false, _) => Ok(Self { certificates, has_key: of(Kind::PrivateKey).next().is_some() }),
        }
    }

    /// Takes certificates as they arrived in a handshake.
    pub(super) fn of_der(certificates: &[Vec<u8>]) -> Result<Self, String> {
        match certificates.len() {
            0 => Err("expected a certificate, found none".to_owned()),
            many if many > MOST => Err(too_many(many)),
            _ => Ok(Self { certificates: certificates.to_vec(), has_key: false }),
        }
    }

    /// Parses the certificates. Never empty.
    pub(super) fn parse(&self) -> Result<Vec<X509Certificate<'_>>, String> {
        let numbered = self.certificates.iter().enumerate();
        numbered.map(|(index, der)| parse_one(der).ok_or_else(|| damaged(index))).collect()
    }

    pub(super) fn leaf(&self) -> Result<X509Certificate<'_>, String> {
        self.certificates.first().and_then(|der| parse_one(der)).ok_or_else(|| damaged(0))
    }
}

fn too_many(found: usize) -> String {
    format!("expected at most {MOST} certificates, found {found}")
}

/// Returns the SPIFFE IDs of workloads in the first certificate of a PEM text.
///
/// # Errors
/// What was found instead of certificates, or which one is damaged.
pub fn leaf_identities(chain: &[u8]) -> Result<Vec<WorkloadIdentity>, String> {
    let chain = Chain::read(chain)?;
    let leaf = chain.leaf()?;
    Ok(uris(&leaf).into_iter().filter_map(|uri| WorkloadIdentity::parse(uri).ok()).collect())
}

/// The last second of the first certificate of a chain in DER; `None` if it is damaged.
pub fn leaf_expiry(chain: &[Vec<u8>]) -> Option<Timestamp> {
    let leaf = parse_one(chain.first()?)?;
    Timestamp::from_second(leaf.validity().not_after.timestamp()).ok()
}

fn parse_one(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .ok()
        .filter(|(rest, _)| rest.is_empty())
        .map(|(_, certificate)| certificate)
}

fn damaged(index: usize) -> String {
    format!(
        "certificate {} is damaged: expected an X.509 certificate in DER and nothing behind it",
        index + 1
    )
}

/// Checks what Envoy and its SPIFFE validator require of a leaf (X.509-SVID, sections 2 and 4), and
/// what our filter requires of its identity.
pub(super) fn faults(
    leaf: &X509Certificate<'_>,
    ours: &TrustDomain,
    issuer: Issuer,
) -> Vec<String> {
    if leaf.is_ca() {
        return vec![
            "it is a CA certificate (CA:TRUE), and peers refuse one as an identity: expected a leaf, the gateway's own"
                .to_owned(),
        ];
    }
    [key(leaf), usage(leaf), identity(leaf, ours, issuer)].into_iter().flatten().collect()
}

/// Envoy's clients offer only ECDSA on P-256 and P-384 and RSA-PSS. Envoy loads no RSA key below
/// 2048 bits.
fn key(leaf: &X509Certificate<'_>) -> Option<String> {
    let key = leaf.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let found = match key.parsed() {
        Ok(PublicKey::EC(_)) if curve == Some(OID_EC_P256) || curve == Some(OID_NIST_EC_P384) => {
            return None;
        }
        Ok(PublicKey::EC(_)) if curve == Some(OID_NIST_EC_P521) => "a key on P-521".to_owned(),
        Ok(PublicKey::EC(_)) => "a key on another elliptic curve".to_owned(),
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() >= 2048 => return None,
        Ok(PublicKey::RSA(rsa)) => format!("an RSA key of {} bits", rsa.key_size()),
        _ if key.algorithm.algorithm == OID_SIG_ED25519 => "an Ed25519 key".to_owned(),
        _ => "a key of another kind".to_owned(),
    };
    Some(format!(
        "Envoy does not support its key: expected one on P-256 or P-384, or an RSA key of at least 2048 bits, found {found}"
    ))
}

fn usage(leaf: &X509Certificate<'_>) -> Option<String> {
    let usage = leaf.key_usage().ok().flatten().map(|extension| extension.value);
    let found = match usage {
        None => "none",
        Some(usage) if usage.key_cert_sign() || usage.crl_sign() => {
            "that of a CA (keyCertSign or cRLSign)"
        }
        Some(usage) if !usage.digital_signature() => "another one",
        Some(_) => return None,
    };
    Some(format!(
        "its key usage is not that of a workload, so peers refuse it: expected keyUsage=digitalSignature, found {found}"
    ))
}

fn identity(leaf: &X509Certificate<'_>, ours: &TrustDomain, issuer: Issuer) -> Option<String> {
    let expected = |found: &str| {
        Some(format!("expected one SPIFFE ID as URI SAN, spiffe://{ours}/…, found {found}"))
    };
    match uris(leaf).as_slice() {
        [] => expected("no URI SAN, so peers would not know whom to expect"),
        [uri] => match WorkloadIdentity::parse(uri) {
            Ok(identity) if identity.trust_domain() == ours.as_str() => None,
            Ok(identity) => expected(&format!(
                "one of the trust domain {}, which peers refuse as this cluster's; {}",
                shown(identity.trust_domain()),
                issuer.correct_trust_domain()
            )),
            Err(_) => expected(&format!("{:?}", shown(uri))),
        },
        [first, others @ ..] => expected(&format!(
            "{:?} and {} more; peers refuse an identity that is not one",
            shown(first),
            others.len()
        )),
    }
}

pub(super) fn uris<'a>(leaf: &'a X509Certificate<'_>) -> Vec<&'a str> {
    let names = leaf
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| &extension.value.general_names);
    let uri = |name: &'a GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    };
    names.into_iter().flatten().filter_map(uri).collect()
}

/// Checks what only some peers refuse: stock Envoys and our own probes look at the extended key
/// usage.
pub(super) fn warnings(leaf: &X509Certificate<'_>) -> Option<String> {
    let usage = leaf.extended_key_usage().ok().flatten()?.value;
    let missing = match (usage.any || usage.client_auth, usage.any || usage.server_auth) {
        (true, true) => return None,
        (false, true) => "clientAuth",
        (true, false) => "serverAuth",
        (false, false) => "clientAuth and serverAuth",
    };
    Some(format!(
        "its extended key usage lacks {missing}, so peers that look at it refuse it: gateway and egress need both clientAuth and serverAuth; have it issued with both"
    ))
}
