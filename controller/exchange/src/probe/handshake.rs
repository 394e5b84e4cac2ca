//! A probe's connection: the TLS handshake, and what follows it.

use super::{
    call::{ask_health, wait_for_refusal},
    failure::ProbeFailure,
    verifier::GatewayVerifier,
};
use crate::tls::{VerifyCertificate, WithSignatures, provider};
use fedgate_core::ServiceName;
use fedgate_federation::{federate::ProbeTarget, shown};
use rustls::{
    ClientConfig, ConfigBuilder, SupportedProtocolVersion,
    client::{Resumption, WantsClientCert},
    pki_types::ServerName,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use std::sync::Arc;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

/// What an `AUTO_PASSTHROUGH` gateway matches on, besides the server name.
const ALPN: &[u8] = b"istio";

/// How a peer's gateways are probed.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
    service: ServiceName,
    follow: Follow,
}

/// What follows the handshake.
enum Follow {
    /// Nothing. We showed no certificate, so anything the server says next is about that.
    Nothing,
    /// Wait to see whether the gateway refuses our certificate.
    Refusal,
    /// Call the health name.
    Health,
}

impl Handshake {
    /// Asks for `service`, shows `keys` if there are any, and expects the identity in `target`.
    ///
    /// # Errors
    /// Why no gateway can be probed, in words for operators.
    pub(super) fn new(
        target: &ProbeTarget,
        service: &ServiceName,
        keys: Option<Arc<SingleCertAndKey>>,
    ) -> Result<Self, String> {
        let verifier = GatewayVerifier::new(target, &provider())?;
        // Without a certificate of ours, only TLS 1.3 works: there the server proves its identity
        // before it checks the client.
        let versions: &[_] = if keys.is_some() { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let verified = verified_by(verifier, versions)?;
        let follow = match (&keys, target.health) {
            (None, _) => Follow::Nothing,
            (Some(_), false) => Follow::Refusal,
            (Some(_), true) => Follow::Health,
        };
        let config = match keys {
            None => verified.with_no_client_auth(),
            Some(keys) => verified.with_client_cert_resolver(keys),
        };
        Ok(Self {
            connector: connector(config),
            name: server_name(service)?,
            service: service.clone(),
            follow,
        })
    }

    /// Does the handshake and what follows it, then closes the connection.
    pub(super) async fn shake(&self, stream: TcpStream) -> Result<(), ProbeFailure> {
        let began = Instant::now();
        let connected = self.connector.connect(self.name.clone(), stream).await;
        let mut stream =
            connected.map_err(|error| ProbeFailure::handshake(&error, &self.service))?;
        let outcome = match self.follow {
            Follow::Nothing => Ok(()),
            Follow::Refusal => wait_for_refusal(&mut stream, began.elapsed(), &self.service).await,
            Follow::Health => ask_health(&mut stream, &self.service).await,
        };
        // A clean close. Its outcome does not matter.
        let _ = stream.shutdown().await;
        outcome
    }

    /// Returns true if our own certificate is shown.
    pub(super) fn shows_certificate(&self) -> bool {
        !matches!(self.follow, Follow::Nothing)
    }
}

/// The first half of a client's configuration: what it expects of a gateway.
pub(super) fn verified_by(
    certificate: impl VerifyCertificate + 'static,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = provider();
    let verifier = Arc::new(WithSignatures::new(certificate, &provider));
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// Connects as a peer's client does. No session is resumed, so each handshake is a whole one.
pub(super) fn connector(mut config: ClientConfig) -> TlsConnector {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN.to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// The server name that asks for `service`.
pub(super) fn server_name(service: &ServiceName) -> Result<ServerName<'static>, String> {
    let sni = service.sni();
    ServerName::try_from(sni.clone()).map_err(|_| format!("{:?} is no server name", shown(&sni)))
}
