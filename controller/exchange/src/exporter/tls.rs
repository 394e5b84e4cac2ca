//! The exporter's certificate, which can be replaced while it serves.

use crate::tls::pair::{self, InvalidPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
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

impl ServerTls {
    /// Parses a certificate chain and its key, both in PEM.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, InvalidPair> {
        Ok(Self(watch::Sender::new(read(chain, key)?)))
    }

    /// Uses another certificate and key from the next connection on. Does nothing if they are the
    /// same.
    ///
    /// # Errors
    /// What is wrong with them. The previous ones then stay in use.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), InvalidPair> {
        if self.0.borrow().digest != pair::digest(chain, key) {
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

fn read(chain: &[u8], key: &[u8]) -> Result<Served, InvalidPair> {
    let digest = pair::digest(chain, key);
    let (certificates, key) = pair::parse(chain, key)?;
    let unusable = |_| InvalidPair::Unusable;
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
            Err(InvalidPair::Mismatch)
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
