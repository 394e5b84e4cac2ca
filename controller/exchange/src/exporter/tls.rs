//! The exporter's certificate, which can be replaced while it serves.

use fedgate_federation::credentials::keys_match;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use sha2::{Digest, Sha256};
use std::{future::pending, sync::Arc};
use tokio::sync::watch;

/// The HTTPS server's certificate and key. An open connection keeps the ones it started with, and
/// ends with its next answer after they were replaced.
pub struct ServerTls(watch::Sender<Served>);

/// What is served.
#[derive(Clone)]
struct Served {
    config: Arc<ServerConfig>,
    /// SHA-256 of the two PEM texts.
    digest: [u8; 32],
}

/// The certificate that a connection started with. The default is that of a connection without one.
#[derive(Clone, Default)]
pub(super) struct Started(Option<watch::Receiver<Served>>);

impl Started {
    /// Waits until the certificate is replaced.
    pub(super) async fn replaced(mut self) {
        if let Some(served) = &mut self.0
            && served.changed().await.is_ok()
        {
            return;
        }
        pending().await
    }

    /// Returns true if the certificate has been replaced.
    pub(super) fn is_replaced(&self) -> bool {
        self.0.as_ref().is_some_and(|served| served.has_changed().unwrap_or_default())
    }
}

/// Why a certificate and key cannot be used. The message quotes neither.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
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

impl ServerTls {
    /// Parses a certificate chain and its key, both in PEM.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, ServerTlsError> {
        Ok(Self(watch::Sender::new(read(chain, key)?)))
    }

    /// Uses another certificate and key from the next connection on. Does nothing if they are the
    /// same.
    ///
    /// # Errors
    /// What is wrong with them. The previous ones then stay in use.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), ServerTlsError> {
        if self.0.borrow().digest != digest(chain, key) {
            self.0.send_replace(read(chain, key)?);
        }
        Ok(())
    }

    /// What accepts the next connection, and notices when it is no longer current.
    pub(super) fn start(&self) -> (tokio_rustls::TlsAcceptor, Started) {
        let mut served = self.0.subscribe();
        let config = served.borrow_and_update().config.clone();
        (config.into(), Started(Some(served)))
    }

    #[cfg(any(test, feature = "test-support"))]
    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.start().0
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls")
    }
}

fn digest(chain: &[u8], key: &[u8]) -> [u8; 32] {
    // Hashed one by one, so that no byte can move from one text to the other.
    let both = [chain, key].map(Sha256::digest);
    Sha256::digest(both.concat()).into()
}

fn read(chain: &[u8], key: &[u8]) -> Result<Served, ServerTlsError> {
    let digest = digest(chain, key);
    let matches = keys_match(chain, key);
    let certificates = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| unreadable(&matches))?;
    if certificates.is_empty() {
        return Err(unreadable(&matches));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| ServerTlsError::Key(found(&error)))?;
    if matches == Ok(false) {
        return Err(ServerTlsError::Mismatch);
    }
    let unusable = |_| ServerTlsError::Unusable;
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Peers that come back resume their session, which costs less than a handshake. Tickets need no
    // memory here, however many peers there are. A new certificate comes with a new key for
    // tickets, so it is verified by every peer's next connection.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = 1;
    Ok(Served { config: Arc::new(config), digest })
}

/// The error for a chain that cannot be read.
fn unreadable(checked: &Result<bool, String>) -> ServerTlsError {
    let why = checked.as_ref().err().cloned();
    ServerTlsError::Chain(why.unwrap_or_else(|| {
        "expected PEM blocks CERTIFICATE, the server's own first, found none".to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_and_key_can_be_replaced() {
        let ((chain, key), (chain2, key2)) = (pair(), pair());
        let tls = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let (_, started) = tls.start();
        // The same pair again changes nothing, so that sessions and connections go on.
        tls.replace(chain.as_bytes(), key.as_bytes()).unwrap();
        assert!(!started.is_replaced() && started.clone().replaced().now_or_never().is_none());
        tls.replace(chain2.as_bytes(), key2.as_bytes()).unwrap();
        assert!(started.is_replaced() && started.replaced().now_or_never().is_some());
        assert!(!tls.start().1.is_replaced());
        assert!(matches!(
            tls.replace(chain.as_bytes(), key2.as_bytes()),
            Err(ServerTlsError::Mismatch)
        ));
    }

    #[test]
    fn errors_name_the_wrong_file_and_never_quote_a_key() {
        let (chain, key) = pair();
        let refusal = |chain: &str, key: &str| {
            ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string()
        };
        assert!(refusal("", &key).contains("chain") && refusal("", &key).contains("found nothing"));
        assert!(
            refusal(&chain, "").contains("the private key")
                && refusal(&chain, "").contains("found none")
        );
        let secret = key.lines().nth(1).unwrap();
        for damaged in [
            key.replace('\n', ""),
            key.replace("-----END", "----END"),
            key.replacen(secret, "!", 1),
        ] {
            let message = refusal(&chain, &damaged);
            assert!(!message.contains(secret) && message.contains("the private key"), "{message}");
        }
    }
}
