//! Roots and trust bundles. A root belongs to one trust domain. Which one follows from the document
//! that it came in, never from the certificate.

mod fingerprint;
mod names;

pub use fingerprint::{Fingerprint, InvalidFingerprint};
pub(crate) use names::Names;

use crate::finding::shown;
use crate::pem_text::{self, Block, Kind};
use crate::strict;
use base64::{Engine, prelude::BASE64_STANDARD};
use fedgate_core::TrustDomain;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519};
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
    /// Returns the key type's name in a JSON Web Key (RFC 7518, section 6.1).
    pub fn kty(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
        }
    }
}

/// A CA certificate (RFC 5280). Its form has been checked: version 3, `CA:TRUE`, may sign
/// certificates, a key that Envoy can use. It is a trust anchor, so its own signature is not
/// checked.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Root {
    der: Arc<[u8]>,
    fingerprint: Fingerprint,
    not_before: Timestamp,
    not_after: Timestamp,
    key_type: KeyType,
    subject: Arc<str>,
    names: Names,
}

/// Why something is not a usable root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Something other than a certificate was found; the text says what.
    #[error("found {0}")]
    NotCertificate(&'static str),
    /// It is too long.
    #[error("the certificate has {0} bytes, at most {1} are accepted")]
    TooLong(usize, usize),
    /// It is not a certificate, or has trailing bytes.
    #[error("found something that is not an X.509 certificate in strict DER")]
    Der,
    /// Its X.509 version does not support CA certificates.
    #[error(
        "found a certificate of X.509 version {0}, which cannot say that it is a CA's: expected version 3"
    )]
    Version(u32),
    /// Its extensions are malformed or duplicate.
    #[error("its extensions cannot be understood")]
    Extensions,
    /// It is not a CA's certificate.
    #[error(
        "found a certificate that is not a CA's (basicConstraints is not CA:TRUE): expected the CA that signed it"
    )]
    NotCa,
    /// It may not sign certificates.
    #[error(
        "found a CA certificate that may not sign certificates: expected keyUsage with keyCertSign"
    )]
    NotSigning,
    /// Its validity is not a range of dates.
    #[error("its validity is not a range of dates")]
    Validity,
    /// Its RSA key is too short, or too long.
    #[error("found an RSA key of {0} bits: expected one of 2048 to 8192 bits")]
    RsaBits(usize),
    /// Its key is of an unsupported kind.
    #[error("found {0}: expected an RSA key, or a key on P-256, P-384 or P-521")]
    Key(&'static str),
}

impl Root {
    /// Checks a certificate.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RootError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| RootError::Der)?;
        if certificate.version() != X509Version::V3 && rest.is_empty() {
            return Err(RootError::Version(certificate.version().0.saturating_add(1)));
        }
        if !rest.is_empty() || !strict::is_certificate(der) {
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
            subject: shown(&certificate.subject().to_string()).to_string().into(),
            names: Names::of(&certificate),
            fingerprint: Fingerprint::of(der),
            der: der.into(),
            not_before,
            not_after,
        })
    }

    /// Returns the certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the certificate's SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the first moment of its validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Returns the last moment of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Returns the kind of its key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Returns its subject, escaped for display. Do not rely on it: whoever made the certificate
    /// chose it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns its issuer, escaped for display. In a true root it equals the subject.
    pub fn issuer(&self) -> &str {
        self.names.issuer()
    }

    /// Returns true if it has expired at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.not_after < now
    }

    /// Returns a PEM block `CERTIFICATE`.
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("CERTIFICATE", self.der.to_vec()), config)
    }

    fn base64(&self) -> String {
        BASE64_STANDARD.encode(&self.der)
    }
}

/// Returns the roots that do not chain to a self-signed one among `roots`. Envoy's SPIFFE validator
/// loads such an intermediate and then refuses every certificate that it signed (`unable to get
/// issuer certificate`). Only names and key identifiers are compared, as BoringSSL does when it
/// looks for an issuer.
pub(crate) fn dangling(roots: &[Root]) -> Vec<&Root> {
    let mut anchored: Vec<bool> = roots.iter().map(|root| root.names.is_self_issued()).collect();
    // Each round gets one step further down, so there are at most as many rounds as roots.
    for _ in roots {
        for (index, root) in roots.iter().enumerate() {
            let issuers = roots.iter().zip(anchored.clone());
            let reaches = issuers
                .into_iter()
                .any(|(issuer, reached)| reached && root.names.may_be_issued_by(&issuer.names));
            if let Some(here) = anchored.get_mut(index) {
                *here |= reaches;
            }
        }
    }
    roots.iter().zip(anchored).filter(|(_, anchored)| !anchored).map(|(root, _)| root).collect()
}

fn check_ca(certificate: &X509Certificate<'_>) -> Result<(), RootError> {
    certificate.extensions_map().map_err(|_| RootError::Extensions)?;
    let constraints = certificate.basic_constraints().map_err(|_| RootError::Extensions)?;
    let usage = certificate.key_usage().map_err(|_| RootError::Extensions)?;
    match (constraints.is_some_and(|c| c.value.ca), usage.is_none_or(|u| u.value.key_cert_sign())) {
        (true, true) => Ok(()),
        (false, _) => Err(RootError::NotCa),
        (true, false) => Err(RootError::NotSigning),
    }
}

fn key_type(certificate: &X509Certificate<'_>) -> Result<KeyType, RootError> {
    let key = certificate.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let curves = [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521];
    match key.parsed().map_err(|_| RootError::Key("a key that cannot be understood"))? {
        SubjectKey::RSA(rsa) if (2048..=8192).contains(&rsa.key_size()) => Ok(KeyType::Rsa),
        SubjectKey::RSA(rsa) => Err(RootError::RsaBits(rsa.key_size())),
        SubjectKey::EC(_) if curve.is_some_and(|curve| curves.contains(&curve)) => Ok(KeyType::Ec),
        SubjectKey::EC(_) => Err(RootError::Key("a key on another elliptic curve")),
        SubjectKey::DSA(_) => Err(RootError::Key("a DSA key")),
        _ if key.algorithm.algorithm == OID_SIG_ED25519 => Err(RootError::Key("an Ed25519 key")),
        _ => Err(RootError::Key("a key of another kind")),
    }
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Root {}

impl std::hash::Hash for Root {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

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

/// Reads the certificates of a PEM text one by one, so that a bad one does not affect the others. A
/// text without any PEM block gives one error.
pub fn roots_from_pem(text: &str, certificate_bytes: usize) -> Vec<Result<Root, RootError>> {
    let roots: Vec<_> =
        pem_text::blocks(text).map(|block| root_from_block(block, certificate_bytes)).collect();
    match roots.is_empty() {
        true => vec![Err(RootError::NotCertificate(pem_text::without_blocks(text.as_bytes())))],
        false => roots,
    }
}

fn root_from_block(
    block: Result<Block, &'static str>,
    certificate_bytes: usize,
) -> Result<Root, RootError> {
    let block = block.map_err(RootError::NotCertificate)?;
    if block.kind != Kind::Certificate {
        return Err(RootError::NotCertificate(block.kind.words()));
    }
    if block.contents.len() > certificate_bytes {
        return Err(RootError::TooLong(block.contents.len(), certificate_bytes));
    }
    Root::from_der(&block.contents)
}

/// Writes certificates as consecutive PEM blocks.
pub fn roots_to_pem(roots: &[Root]) -> String {
    roots.iter().map(Root::to_pem).collect()
}

/// The roots of one trust domain. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustBundle {
    /// The trust domain whose identities the roots may sign.
    pub trust_domain: TrustDomain,
    /// The roots, in order of fingerprint.
    pub roots: Vec<Root>,
}

impl TrustBundle {
    /// Returns the roots as PEM blocks.
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

/// Returns the SPIFFE bundle map that Envoy's SPIFFE validator reads
/// (`SPIFFECertValidatorConfig.trust_bundles`).
///
/// Envoy refuses the whole map if a trust domain has no keys or a key has another use, so neither
/// is ever written. Envoy ignores `spiffe_sequence`. Envoy also refuses a map without any trust
/// domain; the caller has to handle that case.
pub fn bundle_map<'a>(bundles: impl IntoIterator<Item = &'a TrustBundle>) -> Vec<u8> {
    let key = |root: &Root| BundleKey {
        usage: "x509-svid",
        kty: root.key_type.kty(),
        x5c: [root.base64()],
    };
    let filled = bundles.into_iter().filter(|bundle| !bundle.roots.is_empty());
    let entry = |bundle: &'a TrustBundle| {
        (
            bundle.trust_domain.as_str(),
            BundleEntry { spiffe_sequence: 1, keys: bundle.roots.iter().map(key).collect() },
        )
    };
    // Strings and numbers only, so this cannot fail.
    serde_json::to_vec(&BundleMap { trust_domains: filled.map(entry).collect() })
        .unwrap_or_default()
}
