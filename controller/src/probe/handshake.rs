//! The TLS handshake of a probe, as far as the server's proof.

use super::{failure::ProbeFailure, verifier::GatewayVerifier};
use fedgate_core::ServiceName;
use fedgate_federation::{federate::ProbeTarget, shown};
use rustls::{ClientConfig, client::Resumption, crypto::aws_lc_rs, pki_types::ServerName, version::TLS13};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What an `AUTO_PASSTHROUGH` gateway matches by, besides the server name.
const ALPN: &[u8] = b"istio";

/// How a peer's gateways are asked.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
    service: ServiceName,
}

impl Handshake {
    /// Asks for `service`, and expects who `target` says.
    ///
    /// # Errors
    /// Why nobody can be asked so.
    pub(super) fn new(target: &ProbeTarget, service: &ServiceName) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = GatewayVerifier::new(target, &provider)?;
        // Only in TLS 1.3 does a server show its certificate, and prove that it is its own, whatever it thinks of its client.
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let verified = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = verified.with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let sni = service.sni();
        let name = ServerName::try_from(sni.clone()).map_err(|_| format!("{:?} is no server name", shown(&sni)))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, service: service.clone() })
    }

    /// Shakes hands, and hangs up.
    pub(super) async fn shake(&self, stream: TcpStream) -> Result<(), ProbeFailure> {
        let done = self.connector.connect(self.name.clone(), stream).await;
        done.map(drop).map_err(|error| ProbeFailure::handshake(&error, &self.service))
    }
}
