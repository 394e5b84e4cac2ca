//! Roots and trust bundles. A root belongs to one trust domain; which one follows from whose document it came in, never from
//! the certificate.

mod fingerprint;

pub use fingerprint::{Fingerprint, InvalidFingerprint};

use crate::finding::shown;
use crate::strict;
use base64::{Engine, prelude::BASE64_STANDARD};
use fedgate_core::TrustDomain;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521};
use x509_parser::prelude::{FromDer, X509Version};
use x509_parser::public_key::PublicKey as SubjectKey;

/// The kind of a root's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// RSA of 2048 to 8192 bits.
    Rsa,
    /// An elliptic curve: P-256, P-384 or P-521.
    Ec,
}

impl KeyType {
    /// The key type's name in a JSON Web Key (RFC 7518, section 6.1).
    pub fn kty(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
        }
    }
}

/// A CA certificate (RFC 5280), checked for its form: version 3, `CA:TRUE`, may sign certificates, a key that Envoy can use.
/// It is a trust anchor, so its own signature is not looked at.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Root {
    der: Arc<[u8]>,
    fingerprint: Fingerprint,
    not_before: Timestamp,
    not_after: Timestamp,
    key_type: KeyType,
    subject: Arc<str>,
}

/// Why a certificate is no root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The block is no PEM, or holds something else than a certificate.
    #[error("expected a PEM block CERTIFICATE")]
    Pem,
    /// It is too long.
    #[error("the certificate has {0} bytes, at most {1} are taken")]
    TooLong(usize, usize),
    /// It is no certificate, or has something behind it.
    #[error("expected an X.509 version 3 certificate in strict DER and nothing else")]
    Der,
    /// Its extensions contradict themselves, or stand twice.
    #[error("its extensions cannot be understood")]
    Extensions,
    /// It may sign no certificates.
    #[error("expected a CA certificate (basicConstraints CA:TRUE, keyUsage with keyCertSign)")]
    NotCa,
    /// Its dates are none.
    #[error("its validity is no range of dates")]
    Validity,
    /// Its key is of another kind.
    #[error("expected an RSA key of 2048 to 8192 bits or a key on P-256, P-384 or P-521")]
    Key,
}

impl Root {
    /// Checks a certificate.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RootError> {
        if !strict::is_certificate(der) {
            return Err(RootError::Der);
        }
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| RootError::Der)?;
        if !rest.is_empty() || certificate.version() != X509Version::V3 {
            return Err(RootError::Der);
        }
        check_ca(&certificate)?;
        let date = |seconds| Timestamp::from_second(seconds).map_err(|_| RootError::Validity);
        let not_before = date(certificate.validity().not_before.timestamp())?;
        let not_after = date(certificate.validity().not_after.timestamp())?;
        if not_after < not_before {
            return Err(RootError::Validity);
        }
        Ok(Self {
            key_type: key_type(&certificate)?,
            subject: shown(&certificate.subject().to_string()).into(),
            fingerprint: Fingerprint::of(der),
            der: der.into(),
            not_before,
            not_after,
        })
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate's SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When its validity begins.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last moment of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The kind of its key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Its subject, fit for being shown. It means nothing: whoever made the certificate chose it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether it has expired at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.not_after < now
    }

    /// A PEM block `CERTIFICATE`.
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("CERTIFICATE", self.der.to_vec()), config)
    }

    fn base64(&self) -> String {
        BASE64_STANDARD.encode(&self.der)
    }
}

fn check_ca(certificate: &X509Certificate<'_>) -> Result<(), RootError> {
    certificate.extensions_map().map_err(|_| RootError::Extensions)?;
    let constraints = certificate.basic_constraints().map_err(|_| RootError::Extensions)?;
    let usage = certificate.key_usage().map_err(|_| RootError::Extensions)?;
    match constraints.is_some_and(|c| c.value.ca) && usage.is_none_or(|u| u.value.key_cert_sign()) {
        true => Ok(()),
        false => Err(RootError::NotCa),
    }
}

fn key_type(certificate: &X509Certificate<'_>) -> Result<KeyType, RootError> {
    let key = certificate.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let curves = [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521];
    match key.parsed().map_err(|_| RootError::Key)? {
        SubjectKey::RSA(rsa) if (2048..=8192).contains(&rsa.key_size()) => Ok(KeyType::Rsa),
        SubjectKey::EC(_) if curve.is_some_and(|curve| curves.contains(&curve)) => Ok(KeyType::Ec),
        _ => Err(RootError::Key),
    }
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Root {}

impl PartialOrd for Root {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Root {
    fn cmp(&self, other: &Self) -> Ordering {
        self.fingerprint.cmp(&other.fingerprint)
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Root({}, {})", self.fingerprint, self.subject)
    }
}

impl TryFrom<String> for Root {
    type Error = RootError;

    fn try_from(text: String) -> Result<Self, RootError> {
        Self::from_der(&BASE64_STANDARD.decode(text).map_err(|_| RootError::Der)?)
    }
}

impl From<Root> for String {
    fn from(root: Root) -> String {
        root.base64()
    }
}

/// Reads the certificates of a PEM text, each for itself: a bad one spoils no other.
pub fn roots_from_pem(text: &str, certificate_bytes: usize) -> Vec<Result<Root, RootError>> {
    const BEGIN: &str = "-----BEGIN ";
    let starts: Vec<_> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    let blocks = starts.iter().copied().zip(ends).map(|(start, end)| text.get(start..end).unwrap_or_default());
    blocks.map(|block| root_from_block(block, certificate_bytes)).collect()
}

fn root_from_block(block: &str, certificate_bytes: usize) -> Result<Root, RootError> {
    let block = pem::parse(block).map_err(|_| RootError::Pem)?;
    if block.tag() != "CERTIFICATE" {
        return Err(RootError::Pem);
    }
    if block.contents().len() > certificate_bytes {
        return Err(RootError::TooLong(block.contents().len(), certificate_bytes));
    }
    Root::from_der(block.contents())
}

/// Writes certificates as PEM blocks, one after the other.
pub fn roots_to_pem(roots: &[Root]) -> String {
    roots.iter().map(Root::to_pem).collect()
}

/// The roots of one trust domain; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// Whose identities the roots may sign.
    pub trust_domain: TrustDomain,
    /// The roots, in order of fingerprint.
    pub roots: Vec<Root>,
}

impl TrustBundle {
    /// As PEM blocks.
    pub fn to_pem(&self) -> String {
        roots_to_pem(&self.roots)
    }
}

#[derive(Serialize)]
struct BundleMap<'a> {
    trust_domains: BTreeMap<&'a str, BundleEntry>,
}

#[derive(Serialize)]
struct BundleEntry {
    spiffe_sequence: u64,
    keys: Vec<BundleKey>,
}

#[derive(Serialize)]
struct BundleKey {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    x5c: [String; 1],
}

/// The SPIFFE bundle map that Envoy's SPIFFE validator reads (`SPIFFECertValidatorConfig.trust_bundles`). Envoy refuses the
/// whole map for a trust domain without keys or a key of another use, so neither is ever written. Envoy does not look at
/// `spiffe_sequence`. Nor does Envoy take a map without any trust domain: without bundles, the caller has to think of something.
pub fn bundle_map<'a>(bundles: impl IntoIterator<Item = &'a TrustBundle>) -> Vec<u8> {
    let key = |root: &Root| BundleKey { usage: "x509-svid", kty: root.key_type.kty(), x5c: [root.base64()] };
    let filled = bundles.into_iter().filter(|bundle| !bundle.roots.is_empty());
    let entry = |bundle: &'a TrustBundle| {
        (bundle.trust_domain.as_str(), BundleEntry { spiffe_sequence: 1, keys: bundle.roots.iter().map(key).collect() })
    };
    // Strings and numbers only: there is nothing in it that could fail.
    serde_json::to_vec(&BundleMap { trust_domains: filled.map(entry).collect() }).unwrap_or_default()
}
