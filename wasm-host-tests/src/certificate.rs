//! What a client shows in its handshake.

use anyhow::Result;
use std::rc::Rc;

/// A leaf certificate as Envoy offers it to a filter. Whether its signature is good was the handshake's business; a filter
/// never sees the key, the chain or the issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Rc<Content>);

#[derive(Debug, PartialEq, Eq)]
struct Content {
    uri_sans: Vec<String>,
    url_encoded_pem: String,
}

impl Certificate {
    /// Issues a certificate with these URI SANs, with a key of its own that is thrown away.
    ///
    /// # Errors
    /// When a URI is not ASCII, so that no certificate can have it.
    pub fn issue(uri_sans: &[&str]) -> Result<Self> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for uri in uri_sans {
            params.subject_alt_names.push(rcgen::SanType::URI((*uri).try_into()?));
        }
        let certificate = params.self_signed(&rcgen::KeyPair::generate()?)?;
        Ok(Self::from_pem(&certificate.pem(), uri_sans))
    }

    /// A certificate that was issued elsewhere; `uri_sans` are those that it contains.
    pub fn from_pem(pem: &str, uri_sans: &[&str]) -> Self {
        let uri_sans = uri_sans.iter().map(|uri| (*uri).to_owned()).collect();
        Self(Rc::new(Content { uri_sans, url_encoded_pem: url_encode(&pem.replace('\r', "")) }))
    }

    /// Property `connection.uri_san_peer_certificate`: the first one only, however many there are.
    pub(crate) fn first_uri_san(&self) -> Option<&str> {
        self.0.uri_sans.first().map(String::as_str)
    }

    /// Property `connection.peer_certificate`.
    pub(crate) fn url_encoded_pem(&self) -> &str {
        &self.0.url_encoded_pem
    }
}

/// The five characters that Envoy encodes (`ConnectionInfoImplBase::urlEncodedPemEncodedPeerCertificate`).
fn url_encode(pem: &str) -> String {
    let mut out = String::with_capacity(pem.len() + 128);
    for character in pem.chars() {
        match character {
            '\n' => out.push_str("%0A"),
            ' ' => out.push_str("%20"),
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_handed_over_as_envoy_does() {
        let certificate = Certificate::issue(&["spiffe://a/b", "spiffe://c/d"]).unwrap();
        assert_eq!(certificate.first_uri_san(), Some("spiffe://a/b"));
        let pem = certificate.url_encoded_pem();
        assert!(pem.starts_with("-----BEGIN%20CERTIFICATE-----%0A"), "{pem}");
        assert!(pem.ends_with("%0A-----END%20CERTIFICATE-----%0A"), "{pem}");
        assert!(!pem.contains(['\n', ' ', '+', '/', '=']));
    }
}
