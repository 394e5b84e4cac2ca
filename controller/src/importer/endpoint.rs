//! Whether a metadata endpoint is the one that the operator means.
//!
//! A certificate by a system root, or by one of `spec.metadata.ca`, as everywhere (RFC 5280). Besides, the endpoint may show exactly a
//! certificate that stands in `ca`: `openssl req -x509` makes certificates that sign themselves and are CA certificates as well, which
//! path validation refuses as a server's, and Go's TLS takes. Its name and its dates count all the same, and the handshake proves that
//! the endpoint has its key.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Verifies by roots, and takes certificates that are named one by one.
#[derive(Debug)]
pub(super) struct EndpointVerifier {
    /// `None` when there is no root at all.
    by_roots: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    exactly: Box<[Box<[u8]>]>,
}

impl EndpointVerifier {
    /// `exactly`: certificates of `spec.metadata.ca`, which are among `roots` too.
    pub(super) fn new(roots: Arc<RootCertStore>, exactly: &[Box<[u8]>]) -> Result<Self, Error> {
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let by_roots = match roots.is_empty() {
            true => None,
            false => {
                let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                Some(built.map_err(|error| Error::General(error.to_string()))?)
            }
        };
        Ok(Self { by_roots, algorithms, exactly: exactly.into() })
    }
}

impl ServerCertVerifier for EndpointVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.exactly.iter().any(|known| **known == **end_entity) {
            let by_roots = self.by_roots.as_ref().ok_or(CertificateError::UnknownIssuer)?;
            return by_roots.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        check_dates(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_dates(certificate: &CertificateDer<'_>, time: UnixTime) -> Result<(), Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let moment = |second: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(second.max(0).unsigned_abs()));
    let not_before = moment(certificate.validity().not_before.timestamp());
    let not_after = moment(certificate.validity().not_after.timestamp());
    match (time < not_before, time > not_after) {
        (true, _) => Err(CertificateError::NotValidYetContext { time, not_before }.into()),
        (_, true) => Err(CertificateError::ExpiredContext { time, not_after }.into()),
        _ => Ok(()),
    }
}
