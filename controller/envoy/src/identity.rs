//! The certificate and key that the cluster's Envoys show.
//!
//! Envoy gets their bytes, not their paths. It watches only renames, so it would keep a certificate
//! that was overwritten in place until that expires.

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use std::fmt;

/// A certificate chain, leaf first, and the leaf's key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    chain: String,
    key: String,
}

/// Why a certificate chain and key cannot be used. The message quotes neither.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// The chain is not PEM, is truncated, or holds no certificate.
    #[error(
        "identity.certificateChain: expected PEM blocks CERTIFICATE, the leaf first, found {0}"
    )]
    Chain(&'static str),
    /// The key is not PEM, is truncated, or of an unknown type.
    #[error(
        "identity.privateKey: expected a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, found {0}"
    )]
    Key(&'static str),
    /// The key does not belong to the certificate.
    #[error(
        "identity.privateKey: expected the key of the first certificate in identity.certificateChain, found another one; \
         write the certificate and the key that were made together"
    )]
    Mismatch,
}

impl Identity {
    /// Reads both from PEM: the certificates in `chain`, and the first key in `key`.
    ///
    /// # Errors
    /// [`IdentityError`] if one of them cannot be read, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| IdentityError::Chain(found(&error)))?;
        if chain.is_empty() {
            return Err(IdentityError::Chain("none"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| IdentityError::Key(found(&error)))?;
        let text = key_pem(&key)?;
        let certificates =
            chain.iter().map(|certificate| block("CERTIFICATE", certificate)).collect();
        match belongs(chain, key)? {
            true => Ok(Self { chain: certificates, key: text }),
            false => Err(IdentityError::Mismatch),
        }
    }

    /// Reads what [`trust::identity_secret`](super::trust) wrote.
    pub(super) fn from_secret(json: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(json).ok()?;
        let certificate = value.pointer("/resources/0/tls_certificate")?;
        let inline = |field| {
            BASE64_STANDARD.decode(certificate.get(field)?.get("inline_bytes")?.as_str()?).ok()
        };
        Self::from_pem(&inline("certificate_chain")?, &inline("private_key")?).ok()
    }

    /// The certificate chain in PEM, leaf first.
    pub fn chain_pem(&self) -> &str {
        &self.chain
    }

    /// The private key in PEM.
    pub fn key_pem(&self) -> &str {
        &self.key
    }
}

/// Does not print the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

fn belongs(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<bool, IdentityError> {
    let unknown =
        |_| IdentityError::Key("one of a kind that TLS does not use, or with a passphrase");
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(unknown)?;
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => Ok(true),
        Err(rustls::Error::InconsistentKeys(_)) => Ok(false),
        Err(_) => Err(IdentityError::Chain("a block that is not an X.509 certificate")),
    }
}

fn key_pem(key: &PrivateKeyDer<'_>) -> Result<String, IdentityError> {
    let label = match key {
        PrivateKeyDer::Pkcs8(_) => "PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        _ => return Err(IdentityError::Key("one of another form")),
    };
    Ok(block(label, key.secret_der()))
}

/// A PEM block (RFC 7468).
fn block(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines += &String::from_utf8_lossy(line);
        lines.push('\n');
    }
    lines + &format!("-----END {label}-----\n")
}

/// Does not use the library's own message: it quotes the faulty line, which can be the key itself
/// if its line breaks are lost.
fn found(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "none",
        _ => "a damaged or half-written one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn read(chain: &str, key: &str) -> Result<Identity, IdentityError> {
        Identity::from_pem(chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn a_certificate_chain_and_key_are_extracted_and_nothing_else() {
        let ((chain, key), (other, _)) = (pair(), pair());
        let lines = |text: &str| text.replace("\r\n", "\n");
        let identity =
            read(&format!("a note\n{key}{chain}{other}"), &format!("{other}{key}")).unwrap();
        assert_eq!(identity.chain_pem(), lines(&(chain + &other)));
        assert_eq!(identity.key_pem(), lines(&key));
        assert!(
            !identity.chain_pem().contains("PRIVATE")
                && !format!("{identity:?}").contains("PRIVATE")
        );
    }

    #[test]
    fn the_identity_file_of_envoy_can_be_read_back() {
        let (chain, key) = pair();
        let identity = read(&chain, &key).unwrap();
        let secret = crate::trust::identity_secret(&identity).to_string();
        assert_eq!(Identity::from_secret(secret.as_bytes()), Some(identity));
        let (other, _) = pair();
        let torn = crate::trust::identity_secret(&Identity { chain: other, key }).to_string();
        assert_eq!(Identity::from_secret(torn.as_bytes()), None);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((chain, key), (other, other_key)) = (pair(), pair());
        assert_eq!(read(&chain, &other_key), Err(IdentityError::Mismatch));
        assert_eq!(
            read(&(other + &chain), &key),
            Err(IdentityError::Mismatch),
            "the leaf comes first"
        );
    }

    /// A file that is still being written, as a reader may see it: cut at every length.
    #[test]
    fn a_truncated_file_is_refused() {
        let (chain, key) = pair();
        let (chain, key) = (chain.trim_end(), key.trim_end());
        for length in 0..chain.len() {
            assert!(
                matches!(read(&chain[..length], key), Err(IdentityError::Chain(_))),
                "{length} bytes of the chain"
            );
        }
        for length in 0..key.len() {
            assert!(
                matches!(read(chain, &key[..length]), Err(IdentityError::Key(_))),
                "{length} bytes of the key"
            );
        }
        assert!(read(chain, key).is_ok());
    }

    #[test]
    fn messages_name_the_field_and_never_quote_a_key() {
        let (chain, key) = pair();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let secret = key.lines().nth(1).unwrap();
        for damaged in [
            key.replace('\n', ""),
            key.replace("-----END", "----END"),
            key.replacen(secret, "!", 1),
            encrypted,
        ] {
            let message = read(&chain, &damaged).unwrap_err().to_string();
            assert!(
                !message.contains(secret) && message.contains("identity.privateKey"),
                "{message}"
            );
        }
        assert!(read(&key, &key).unwrap_err().to_string().contains("identity.certificateChain"));
    }
}
