//! Why a probe failed, in messages that tell operators where to look. They quote only short,
//! harmless text from strangers.

use super::verifier::WrongIdentity;
use crate::tls::{alert_name, moment};
use fedgate_core::ServiceName;
use fedgate_process::words;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::{
    io::{Error as IoError, ErrorKind},
    time::Duration,
};

/// Why a gateway is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProbeFailure {
    /// No TCP connection to the address.
    #[error("{0}")]
    Connect(String),
    /// The time limit was reached.
    #[error("no {what} within {time:?}; check firewalls between the clusters")]
    Late {
        /// What did not come in time.
        what: &'static str,
        /// The time limit.
        time: Duration,
    },
    /// The connection ended during the handshake.
    #[error("it hung up in the TLS handshake for {0}; see its log")]
    HungUp(ServiceName),
    /// The certificate belongs to someone else, or is not valid.
    #[error("{0}")]
    Certificate(String),
    /// The gateway does not accept our certificate, or closes the connection after it has seen it.
    #[error("it refuses this cluster's certificate for {service} ({how}); see its access log")]
    RefusesUs {
        /// The service that was asked for.
        service: ServiceName,
        /// How the gateway refused.
        how: String,
    },
    /// The health name answered with a status other than 200.
    #[error("{service} answers with status {status}, expected 200; ask the peer's operator")]
    Status {
        /// The health name.
        service: ServiceName,
        status: u16,
    },
    /// The health name's answer is not HTTP.
    #[error("what answers for {0} does not speak HTTP; ask the peer's operator")]
    NoHttp(ServiceName),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
}

impl ProbeFailure {
    pub(super) fn connect(error: &IoError) -> Self {
        Self::Connect(match error.kind() {
            ErrorKind::ConnectionRefused => {
                "connection refused; check that the peer's gateway runs, and its port".to_owned()
            }
            _ => format!(
                "cannot connect: {}; check the networks between the clusters",
                words::io(error)
            ),
        })
    }

    /// For a connection that ended after the handshake, when we had shown our certificate.
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
            // In TLS 1.2 the server checks the client's certificate before the handshake ends.
            Some(TlsError::AlertReceived(alert)) if is_about_certificate(*alert) => {
                Self::after_handshake(error, service)
            }
            Some(error) => Self::Tls(tls(error)),
            None => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    Self::HungUp(service.clone())
                }
                _ => Self::Tls(words::io(error)),
            },
        }
    }
}

/// Returns true if an alert is about the client's certificate.
fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, DecryptError, UnknownCA, UnsupportedCertificate,
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

/// A TLS error in words for operators.
fn tls(error: &TlsError) -> String {
    match error {
        TlsError::InvalidMessage(_) => "expected TLS, found something else, such as plain HTTP; check the gateway's port".to_owned(),
        TlsError::AlertReceived(alert) => format!("it ended the handshake with the alert {}; see its log", alert_name(*alert)),
        TlsError::PeerIncompatible(_) => {
            "it has no TLS version, cipher or key exchange in common with this cluster; see docs/reference.md, the gateway's port".to_owned()
        }
        TlsError::NoCertificatesPresented => "it shows no certificate; check that it is a gateway of the federation".to_owned(),
        _ => "it breaks the TLS protocol; check that it is a gateway, and what stands between it and this cluster".to_owned(),
    }
}

fn certificate(invalid: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidYet, NotValidYetContext, Other,
        UnknownIssuer,
    };
    match invalid {
        // A bad signature means a CA with the same name but another key.
        UnknownIssuer | BadSignature => {
            "its certificate is signed by no root of the peer; its operator has to publish the root, or replace the certificate".to_owned()
        }
        Expired => "its certificate has expired; its operator has to renew it".to_owned(),
        ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}; its operator has to renew it", moment(not_after))
        }
        NotValidYet => "its certificate is not valid yet; compare the clocks".to_owned(),
        NotValidYetContext { not_before, time } => format!(
            "its certificate is valid from {} on, and here it is {}; compare the clocks",
            moment(not_before),
            moment(time)
        ),
        Other(other) if other.0.is::<WrongIdentity>() => other.0.to_string(),
        _ => "its certificate is refused; `openssl s_client -showcerts` shows it".to_owned(),
    }
}
