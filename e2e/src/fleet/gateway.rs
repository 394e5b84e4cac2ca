//! The gateways of a fleet: one server that shows each peer's own certificate.

use crate::authority::Identity;
use anyhow::Result;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How long a client may take, from its first packet to its last.
const LONGEST: Duration = Duration::from_secs(10);

/// The running server. Stops when dropped.
pub(super) struct Gateways {
    task: JoinHandle<()>,
}

/// Certificates by trust domain, which is the end of the server name.
#[derive(Debug, Default)]
struct ByTrustDomain(HashMap<String, Arc<CertifiedKey>>);

impl ResolvesServerCert for ByTrustDomain {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (_, trust_domain) = hello.server_name()?.split_once(".svc.")?;
        self.0.get(trust_domain).cloned()
    }
}

impl Gateways {
    /// Serves gateways with these identities, each with its trust domain.
    pub(super) fn start(
        listener: TcpListener,
        identities: Vec<(String, Identity)>,
    ) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut certificates = ByTrustDomain::default();
        for (trust_domain, identity) in identities {
            let key = CertifiedKey::from_der(identity.chain(), identity.key(), &provider)?;
            certificates.0.insert(trust_domain, Arc::new(key));
        }
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"istio".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(tokio::time::timeout(LONGEST, async move {
                    let mut stream = acceptor.accept(stream).await?;
                    while stream.read(&mut [0; 512]).await? > 0 {}
                    std::io::Result::Ok(())
                }));
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        self.task.abort();
    }
}
