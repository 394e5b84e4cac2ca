//! Why a gateway is not as it should be, said so that an operator knows where to look. Of what a stranger said only short,
//! harmless text.

use super::verifier::WrongIdentity;
use fedgate_core::ServiceName;
use fedgate_federation::shown;
use rustls::{CertificateError, Error as TlsError};
use std::{
    io::{Error as IoError, ErrorKind},
    time::Duration,
};

/// Why a gateway is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProbeFailure {
    /// DNS gave nothing.
    #[error("its name cannot be looked up: {0}")]
    Lookup(String),
    /// DNS gave addresses that no peer may announce.
    #[error("its name leads to no address of a host")]
    NoAddress,
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
    /// TLS did not come about.
    #[error("TLS: {0}")]
    Tls(String),
}

impl ProbeFailure {
    pub(super) fn lookup(error: &IoError) -> Self {
        Self::Lookup(shown(&error.to_string()))
    }

    pub(super) fn connect(error: &IoError) -> Self {
        Self::Connect(match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => format!("cannot connect: {}", shown(&error.to_string())),
        })
    }

    pub(super) fn handshake(error: &IoError, service: &ServiceName) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(TlsError::InvalidCertificate(invalid)) => Self::Certificate(certificate(invalid)),
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
