//! Verifies that a metadata endpoint is the one the operator means.
//!
//! As usual (RFC 5280), the certificate must come from a system root or from one in
//! `spec.metadata.ca`. It may also be identical to a certificate in `ca`. `openssl req -x509` makes
//! self-signed certificates that are CA certificates too; path validation refuses these for a
//! server, but Go's TLS accepts them. Name and dates are checked in this case as well, and the
//! handshake proves that the endpoint holds the key.

use crate::tls::{VerifyCertificate, provider};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Verifies by roots, and also accepts certificates listed one by one.
#[derive(Debug)]
pub(super) struct EndpointVerifier {
    /// By the system's roots, which are many: all peers share this one.
    by_system: Option<Arc<WebPkiServerVerifier>>,
    /// By the roots in `spec.metadata.ca`.
    by_own: Option<Arc<WebPkiServerVerifier>>,
    exactly: Box<[Box<[u8]>]>,
}

/// A verifier by these roots; `None` if there are none.
pub(super) fn verifier_of(
    roots: RootCertStore,
) -> Result<Option<Arc<WebPkiServerVerifier>>, Error> {
    if roots.is_empty() {
        return Ok(None);
    }
    let built = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
    built.map(Some).map_err(|error| Error::General(error.to_string()))
}

impl EndpointVerifier {
    /// `own` lists the certificates of `spec.metadata.ca`.
    pub(super) fn new(
        by_system: Option<Arc<WebPkiServerVerifier>>,
        own: &[Box<[u8]>],
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        own.iter().try_for_each(|root| roots.add(CertificateDer::from_slice(root)))?;
        Ok(Self { by_system, by_own: verifier_of(roots)?, exactly: own.into() })
    }

    fn by_roots(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut refused = Error::from(CertificateError::UnknownIssuer);
        for roots in [&self.by_own, &self.by_system].into_iter().flatten() {
            match roots.verify_server_cert(end_entity, intermediates, name, &[], now) {
                Ok(_) => return Ok(()),
                // The first reason that says more than that the issuer is unknown.
                Err(error) if refused == CertificateError::UnknownIssuer.into() => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

impl VerifyCertificate for EndpointVerifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if !self.exactly.iter().any(|known| **known == **end_entity) {
            return self.by_roots(end_entity, intermediates, name, now);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        check_dates(end_entity, now)
    }
}

fn check_dates(certificate: &CertificateDer<'_>, time: UnixTime) -> Result<(), Error> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let moment = |second: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(second.max(0).unsigned_abs()))
    };
    let not_before = moment(certificate.validity().not_before.timestamp());
    let not_after = moment(certificate.validity().not_after.timestamp());
    match (time < not_before, time > not_after) {
        (true, _) => Err(CertificateError::NotValidYetContext { time, not_before }.into()),
        (_, true) => Err(CertificateError::ExpiredContext { time, not_after }.into()),
        _ => Ok(()),
    }
}
