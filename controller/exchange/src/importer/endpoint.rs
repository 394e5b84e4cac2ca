//! Verifies that a metadata endpoint is the one the operator means.
//!
//! As usual (RFC 5280), the certificate must come from a system root or from one in
//! `spec.metadata.ca`. It may also be identical to a certificate in `ca`. `openssl req -x509` makes
//! self-signed certificates that are CA certificates too; path validation refuses these for a
//! server, but Go's TLS accepts them. Name and dates are checked in this case as well, and the
//! handshake proves that the endpoint holds the key.

use crate::tls::VerifyCertificate;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Verifies by roots, and also accepts certificates listed one by one.
#[derive(Debug)]
pub(super) struct EndpointVerifier {
    /// `None` if there are no roots at all.
    by_roots: Option<Arc<WebPkiServerVerifier>>,
    exactly: Box<[Box<[u8]>]>,
}

impl EndpointVerifier {
    /// `exactly` lists the certificates of `spec.metadata.ca`, which are also among `roots`.
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        exactly: &[Box<[u8]>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let by_roots = match roots.is_empty() {
            true => None,
            false => {
                let built =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
                        .build();
                Some(built.map_err(|error| Error::General(error.to_string()))?)
            }
        };
        Ok(Self { by_roots, exactly: exactly.into() })
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
            let by_roots = self.by_roots.as_ref().ok_or(CertificateError::UnknownIssuer)?;
            return by_roots
                .verify_server_cert(end_entity, intermediates, name, &[], now)
                .map(drop);
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
