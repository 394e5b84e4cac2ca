//! Verifies a gateway: a certificate from the peer's roots, with an identity that imports expect.
//!
//! webpki checks chain, dates and signatures. The SPIFFE ID replaces the host name.

use crate::tls::VerifyCertificate;
use fedgate_core::SpiffeId;
use fedgate_federation::federate::{ProbeTarget, ServerIdentity};
use rustls::{
    CertificateError, Error, OtherError, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Verifies a peer's gateways.
#[derive(Debug)]
pub(super) struct GatewayVerifier {
    roots: RootCertStore,
    expected: Arc<ServerIdentity>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The certificate is valid, but belongs to another identity.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its identity is {found}, expected {expected}; ask the peer's operator which identity its gateway has"
)]
pub(super) struct WrongIdentity {
    found: String,
    expected: String,
}

impl GatewayVerifier {
    /// # Errors
    /// If none of the peer's roots can be used.
    pub(super) fn new(target: &ProbeTarget, provider: &CryptoProvider) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(
            target.bundle.roots.iter().map(|root| CertificateDer::from_slice(root.der())),
        );
        if usable == 0 {
            return Err("none of the peer's roots can be used to verify its gateways".to_owned());
        }
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { roots, expected: Arc::clone(&target.server), algorithms })
    }

    fn check_identity(&self, certificate: &CertificateDer<'_>) -> Result<(), WrongIdentity> {
        let found = first_uri(certificate);
        let is_expected = |uri: &str| match self.expected.as_ref() {
            ServerIdentity::AnyOf(trust_domain) => {
                SpiffeId::parse(uri).is_ok_and(|id| id.trust_domain() == trust_domain.as_str())
            }
            ServerIdentity::Exactly(identities) => {
                identities.iter().any(|identity| identity.as_str() == uri)
            }
        };
        match found.as_deref().is_some_and(is_expected) {
            true => Ok(()),
            false => Err(WrongIdentity {
                found: found.map_or_else(
                    || "none (no URI SAN)".to_owned(),
                    |uri| fedgate_federation::shown(&uri).to_string(),
                ),
                expected: expected(&self.expected),
            }),
        }
    }
}

fn expected(identity: &ServerIdentity) -> String {
    match identity {
        ServerIdentity::AnyOf(trust_domain) => format!("any of spiffe://{trust_domain}/"),
        ServerIdentity::Exactly(identities) => match identities.as_slice() {
            [one] => fedgate_federation::shown(one.as_str()).to_string(),
            [first, others @ ..] => {
                format!(
                    "{} or one of {} others",
                    fedgate_federation::shown(first.as_str()),
                    others.len()
                )
            }
            [] => "nobody".to_owned(),
        },
    }
}

/// The first URI SAN, which identifies a workload.
fn first_uri(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}

impl VerifyCertificate for GatewayVerifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let (roots, algorithms) = (&self.roots, self.algorithms.all);
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )?;
        let other =
            |error| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))));
        self.check_identity(end_entity).map_err(other)
    }
}
