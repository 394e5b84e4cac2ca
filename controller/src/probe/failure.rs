//! Why a gateway is not as it should be, said so that an operator knows where to look. Of what a stranger said only short,
//! harmless text.

use super::verifier::WrongIdentity;
use fedgate_core::ServiceName;
use fedgate_federation::shown;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::{
    io::{Error as IoError, ErrorKind},
    time::Duration,
};

/// Why a gateway is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProbeFailure {
    /// The address cannot be connected to.
    #[error("{0}")]
    Connect(String),
    /// The time was over.
    #[error("no {what} within {time:?}")]
    Late {
        /// What did not come.
        what: &'static str,
        /// The time that there was.
        time: Duration,
    },
    /// The connection ended in the handshake.
    #[error("it hung up in the TLS handshake for {0}; its log tells why")]
    HungUp(ServiceName),
    /// It is another one, or what it shows is no good.
    #[error("{0}")]
    Certificate(String),
    /// It does not take our certificate, or closes the connection once it has seen it.
    #[error("it refuses this cluster's certificate for {service} ({how}); its access log tells why")]
    RefusesUs {
        /// What was asked for.
        service: ServiceName,
        /// How it says so.
        how: String,
    },
    /// The health name answers with another status.
    #[error("{service} answers with status {status}, expected 200")]
    Status {
        /// The health name.
        service: ServiceName,
        /// The status.
        status: u16,
    },
    /// The health name's answer is not HTTP.
    #[error("what answers for {0} does not speak HTTP")]
    NoHttp(ServiceName),
    /// TLS did not come about.
    #[error("TLS: {0}")]
    Tls(String),
}

impl ProbeFailure {
    pub(super) fn connect(error: &IoError) -> Self {
        Self::Connect(match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => format!("cannot connect: {}", shown(&error.to_string())),
        })
    }

    /// The connection ended after the handshake, when we had shown our certificate.
    pub(super) fn after_handshake(error: &IoError, service: &ServiceName) -> Self {
        let how = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(TlsError::AlertReceived(alert)) => format!("TLS alert {}", alert_name(*alert)),
            _ => "it closed the connection".to_owned(),
        };
        Self::RefusesUs { service: service.clone(), how }
    }

    pub(super) fn handshake(error: &IoError, service: &ServiceName) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(TlsError::InvalidCertificate(invalid)) => Self::Certificate(certificate(invalid)),
            // In TLS 1.2 a server looks at its client before the end of the handshake.
            Some(TlsError::AlertReceived(alert)) if is_about_certificate(*alert) => {
                Self::after_handshake(error, service)
            }
            Some(error) => Self::Tls(shown(&error.to_string())),
            None => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    Self::HungUp(service.clone())
                }
                _ => Self::Tls(shown(&error.to_string())),
            },
        }
    }
}

/// Whether an alert is about the client's certificate.
fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        DecryptError, UnknownCA, UnsupportedCertificate,
    };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | UnknownCA
            | UnsupportedCertificate
    )
}

/// The name of an alert as RFC 8446 has it (section 6.2): `unknown_ca`.
fn alert_name(alert: AlertDescription) -> String {
    let (mut name, mut after_lower) = (String::new(), false);
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && after_lower {
            name.push('_');
        }
        after_lower = c.is_ascii_lowercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}

fn certificate(invalid: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidYet, NotValidYetContext, Other, UnknownIssuer,
    };
    match invalid {
        // A bad signature: a CA of the same name, but with another key.
        UnknownIssuer | BadSignature => "its certificate is signed by no root of the peer".to_owned(),
        Expired | ExpiredContext { .. } => "its certificate has expired".to_owned(),
        NotValidYet | NotValidYetContext { .. } => "its certificate is not valid yet; compare the clocks".to_owned(),
        Other(other) if other.0.is::<WrongIdentity>() => other.0.to_string(),
        other => shown(&format!("its certificate is refused: {other}")),
    }
}
