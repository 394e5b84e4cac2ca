//! A certificate and its key, read from PEM.

use fedgate_federation::credentials::keys_match;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use sha2::{Digest, Sha256};

/// Why a certificate and key cannot be used. The message quotes neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPair {
    /// The chain is not PEM, or holds no certificate.
    #[error("the certificate chain: {0}")]
    Chain(String),
    /// The key is not PEM, or of an unknown type.
    #[error(
        "the private key: expected a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, {0}"
    )]
    Key(&'static str),
    /// The key belongs to another certificate.
    #[error(
        "the private key: expected that of the certificate, found that of another; were only one of the two files replaced?"
    )]
    Mismatch,
    /// The two cannot be used for another reason.
    #[error(
        "certificate and key cannot be used: expected X.509 version 3 and a key on P-256, P-384 or P-521, an Ed25519 key, or an RSA key of 2048 to 8192 bits"
    )]
    Unusable,
}

/// SHA-256 of the two PEM texts.
pub(crate) fn digest(chain: &[u8], key: &[u8]) -> [u8; 32] {
    // Hashed one by one, so that no byte can move from one text to the other.
    let both = [chain, key].map(Sha256::digest);
    Sha256::digest(both.concat()).into()
}

/// Parses a certificate chain, leaf first, and its key.
pub(crate) fn parse(
    chain: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), InvalidPair> {
    let matches = keys_match(chain, key);
    let certificates = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| unreadable(&matches))?;
    if certificates.is_empty() {
        return Err(unreadable(&matches));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| InvalidPair::Key(found(&error)))?;
    if matches == Ok(false) {
        return Err(InvalidPair::Mismatch);
    }
    Ok((certificates, key))
}

/// The error for a chain that cannot be read.
fn unreadable(checked: &Result<bool, String>) -> InvalidPair {
    let why = checked.as_ref().err().cloned();
    InvalidPair::Chain(why.unwrap_or_else(|| {
        "expected PEM blocks CERTIFICATE, the leaf first, found none".to_owned()
    }))
}

/// Does not use the library's own message: it quotes the faulty line, which can be the key itself
/// if its line breaks are lost.
fn found(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "found none",
        _ => "found one that is damaged",
    }
}
