//! Why a fetch failed, said so that an operator knows where to look: short, and without anything secret.

use fedgate_federation::{knowledge::ExchangeReason, shown};
use rustls::{CertificateError, Error as TlsError};
use std::{error::Error, io};

/// Why a document was not fetched. It quotes neither the URL nor the token, and of what a peer said only short, harmless text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// The name could not be looked up, or nobody answered at the address.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// TLS did not come about.
    #[error("TLS: {0}")]
    Tls(String),
    /// The time was over.
    #[error("timed out {0}")]
    Timeout(&'static str),
    /// The connection was lost, or what came over it was not HTTP.
    #[error("{0}")]
    Broken(String),
    /// The server answered with another status than 200.
    #[error("expected HTTP status 200, found {0}")]
    Status(u16),
    /// The body is larger than allowed.
    #[error("the document is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body is compressed though nobody asked for that.
    #[error("the document has the content encoding {:?}, which was not asked for", shown(.0))]
    Encoded(String),
}

impl FetchFailure {
    /// The word of DKP's conditions.
    pub fn reason(&self) -> ExchangeReason {
        match self {
            Self::Status(_) => ExchangeReason::NonOkResponse,
            _ => ExchangeReason::FetchFailed,
        }
    }

    /// Whether the server did not get as far as an answer, so that another question has no better chance.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Tls(_) | Self::Timeout(_) | Self::Broken(_))
    }
}

impl From<reqwest::Error> for FetchFailure {
    fn from(error: reqwest::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&reqwest::Error> for FetchFailure {
    fn from(error: &reqwest::Error) -> Self {
        if let Some(error) = chain(error).find_map(tls_error) {
            return Self::Tls(tls(error));
        }
        if error.is_timeout() {
            return Self::Timeout(if error.is_connect() { "while connecting" } else { "while fetching" });
        }
        // The outer errors say only that a request failed, and one of them shows the URL.
        let cause = chain(error).last().map_or_else(String::new, |cause| shown(&cause.to_string()));
        match error.is_connect() {
            true => Self::Connect(cause),
            false => Self::Broken(cause),
        }
    }
}

/// What lies below `error`.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |error| Error::source(*error))
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    // An I/O error's source is its content's source, so the content itself has to be asked for, and it may be wrapped twice.
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().and_then(|inner| tls_error(inner)),
        None => error.downcast_ref(),
    }
}

/// A TLS error with what to do about it.
pub(super) fn tls(error: &TlsError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    let TlsError::InvalidCertificate(invalid) = error else { return shown(&error.to_string()) };
    match invalid {
        // A bad signature: a CA of the same name, but with another key.
        UnknownIssuer | BadSignature => {
            "the endpoint's certificate comes from no system root and not from spec.metadata.ca".into()
        }
        Expired | ExpiredContext { .. } => "the endpoint's certificate has expired".into(),
        NotValidYet | NotValidYetContext { .. } => {
            "the endpoint's certificate is not valid yet; compare the clocks".into()
        }
        NotValidForName | NotValidForNameContext { .. } => {
            "the endpoint's certificate is for another host than spec.metadataEndpoint names".into()
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the endpoint shows a CA certificate as its own; it has to show one that the CA signed".into()
        }
        other => shown(&format!("the endpoint's certificate is refused: {other}")),
    }
}
