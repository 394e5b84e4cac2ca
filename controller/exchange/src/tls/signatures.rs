//! Handshake signatures: they prove that the server holds its certificate's key.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::fmt::Debug;

/// Decides whether a certificate belongs to the intended server. [`WithSignatures`] adds the check
/// of signatures.
pub(crate) trait VerifyCertificate: Debug + Send + Sync {
    /// Verifies a chain at a given time, as [`ServerCertVerifier::verify_server_cert`] does.
    ///
    /// # Errors
    /// Why the certificate is refused.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// Adds the check of handshake signatures, with a provider's algorithms, to a check of
/// certificates.
#[derive(Debug)]
pub(crate) struct WithSignatures<V> {
    certificate: V,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<V> WithSignatures<V> {
    pub(crate) fn new(certificate: V, provider: &CryptoProvider) -> Self {
        Self { certificate, algorithms: provider.signature_verification_algorithms }
    }
}

impl<V: VerifyCertificate> ServerCertVerifier for WithSignatures<V> {
    /// Ignores stapled OCSP answers, because webpki does not use them.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.certificate
            .verify(end_entity, intermediates, name, now)
            .map(|()| ServerCertVerified::assertion())
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
