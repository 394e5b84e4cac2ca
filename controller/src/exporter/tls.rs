//! The exporter's certificate, replaced while it serves.

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use std::sync::Arc;

/// The certificate and key of the HTTPS server. Connections that are open keep the one that they began with.
pub struct ServerTls(ArcSwap<ServerConfig>);

/// Why a certificate and key cannot be served. It quotes neither of them.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// The chain is no PEM, or holds no certificate.
    #[error("the TLS certificate chain: expected one or more PEM blocks CERTIFICATE, the server's own first; {0}")]
    Chain(String),
    /// The key is no PEM, or none that is known.
    #[error("the TLS key: expected a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY; {0}")]
    Key(&'static str),
    /// The two don't go together, or one of them cannot be used.
    #[error("the TLS certificate and key cannot be used together: {0}")]
    Pair(rustls::Error),
}

impl ServerTls {
    /// Reads a certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, ServerTlsError> {
        Ok(Self(ArcSwap::new(read(chain, key)?)))
    }

    /// Serves another certificate and key from the next connection on.
    ///
    /// # Errors
    /// What is wrong with them; the ones before stay.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), ServerTlsError> {
        self.0.store(read(chain, key)?);
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.0.load_full().into()
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls")
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ServerTlsError::Chain(format!("found: {error}")))?;
    if chain.is_empty() {
        return Err(ServerTlsError::Chain("found none".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| ServerTlsError::Key(found(&error)))?;
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(ServerTlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(ServerTlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The library's own message quotes the line at fault, which is the key itself when its line breaks are lost.
fn found(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "found none",
        _ => "found one that is damaged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_taken_and_another_in_its_place() {
        let ((chain, key), (chain2, key2)) = (pair(), pair());
        let tls = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        tls.replace(chain2.as_bytes(), key2.as_bytes()).unwrap();
        assert!(matches!(tls.replace(chain.as_bytes(), key2.as_bytes()), Err(ServerTlsError::Pair(_))));
    }

    #[test]
    fn a_refusal_says_which_file_and_never_quotes_a_key() {
        let (chain, key) = pair();
        let says =
            |chain: &str, key: &str| ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
        assert!(says("", &key).contains("chain") && says("", &key).contains("found none"));
        assert!(says(&chain, "").contains("the TLS key") && says(&chain, "").contains("found none"));
        let secret = key.lines().nth(1).unwrap();
        for damaged in [key.replace('\n', ""), key.replace("-----END", "----END"), key.replacen(secret, "!", 1)] {
            let message = says(&chain, &damaged);
            assert!(!message.contains(secret) && message.contains("the TLS key"), "{message}");
        }
    }
}
