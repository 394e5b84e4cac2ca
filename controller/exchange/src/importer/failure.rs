//! Why a fetch failed, in short messages that tell operators where to look and reveal no secrets.

use super::client_certificate::NoClientCertificate;
use crate::tls::{alert_name, moment};
use fedgate_federation::knowledge::ExchangeReason;
use fedgate_federation::shown;
use fedgate_process::words::causes;
use rustls::{CertificateError, Error as TlsError};
use std::{error::Error, fmt, io};

/// Why a document was not fetched. The message quotes neither the URL nor the token, and only
/// short, harmless text from the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// The name lookup failed, or nothing answered at the address.
    #[error("cannot connect to the endpoint: {0}")]
    Connect(String),
    /// This cluster's client certificate for the endpoint cannot be used.
    #[error(transparent)]
    ClientCertificate(#[from] NoClientCertificate),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The time limit was reached.
    #[error(
        "timed out {0}; check firewalls between the clusters, and whether the peer's controller runs"
    )]
    Timeout(&'static str),
    /// The connection was lost, or what arrived was not HTTP.
    #[error("{0}")]
    Broken(String),
    /// The server answered with a status other than 200.
    #[error("{0}")]
    Status(Refused),
    /// The body is larger than allowed.
    #[error(
        "the document: expected at most {limit} bytes, found more; check that spec.metadataEndpoint leads to the peer's controller"
    )]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body is compressed, although compression was not requested.
    #[error(
        "the document: expected no content encoding, which is what was asked for, found {:?}; switch compression off in the proxy in \
         front of the peer's controller",
        shown(.0)
    )]
    Encoded(String),
}

/// An answer without a document, with the reason it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// `Location`, if the answer is a redirect.
    pub location: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// The first line of the body.
    pub line: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected HTTP status 200, found {}", self.status)?;
        match &self.location {
            Some(location) => {
                write!(f, ", a redirect to {:?}, which is not followed", shown(location))?
            }
            None if (300..400).contains(&self.status) => {
                f.write_str(", a redirect without a Location")?
            }
            None => {}
        }
        if let Some(line) = &self.line {
            write!(f, " ({:?})", shown(line))?;
        }
        if let Some(time) = &self.retry_after {
            write!(f, "; the server says Retry-After: {}", shown(time))?;
        }
        write!(f, "; {}", self.what_to_do())
    }
}

impl Refused {
    fn what_to_do(&self) -> &'static str {
        match self.status {
            401 | 407 => {
                "let requests for the metadata pass what asks for a login in front of the peer's controller"
            }
            403 => {
                "let this cluster's controllers pass the firewall or proxy in front of the peer's controller"
            }
            200..=399 | 404 | 410 => {
                "set spec.metadataEndpoint to what stands before /public/public.json at the peer, where the documents are"
            }
            429 => {
                "it is asked again at the usual pace; ask the peer's operator to allow as many requests"
            }
            500.. => {
                "ask the peer's operator: the log of the controller, or of the proxy in front of it, says why"
            }
            _ => {
                "check that spec.metadataEndpoint leads to the peer's controller, and not to another server"
            }
        }
    }
}

impl FetchFailure {
    /// The reason word, as in DKP's conditions.
    pub fn reason(&self) -> ExchangeReason {
        match self {
            Self::Status(_) => ExchangeReason::NonOkResponse,
            _ => ExchangeReason::FetchFailed,
        }
    }

    /// Returns true if the server may have refused because it wants another client certificate. Some
    /// say so by an alert, some just close the connection, and some answer with a status.
    pub(super) fn may_want_certificate(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Broken(_) | Self::Connect(_) => true,
            Self::Status(refused) => matches!(refused.status, 400 | 401 | 403),
            _ => false,
        }
    }

    /// Returns true if the server speaks none of the TLS versions that it was offered.
    pub(super) fn lacks_tls_version(&self) -> bool {
        matches!(self, Self::Tls(text) if text.contains("protocol_version") || text == NO_COMMON_TLS)
    }

    /// Returns true if the server gave no answer at all, so another request has no better chance.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::ClientCertificate(_)
                | Self::Connect(_)
                | Self::Tls(_)
                | Self::Timeout(_)
                | Self::Broken(_)
        )
    }
}

impl From<reqwest::Error> for FetchFailure {
    fn from(error: reqwest::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&reqwest::Error> for FetchFailure {
    fn from(error: &reqwest::Error) -> Self {
        if let Some(error) = causes(error).skip(1).find_map(tls_error) {
            return Self::Tls(tls(error));
        }
        if error.is_timeout() {
            return Self::Timeout(if error.is_connect() {
                "while connecting"
            } else {
                "while fetching"
            });
        }
        // The outer errors only say that a request failed, and one of them shows the URL.
        let cause = causes(error)
            .skip(1)
            .last()
            .map_or_else(String::new, |cause| plain(&cause.to_string()));
        match error.is_connect() {
            true => Self::Connect(cause),
            false => Self::Broken(cause),
        }
    }
}

const NO_COMMON_TLS: &str = "the endpoint and fedgate have no TLS version, cipher or key exchange in common: expected TLS 1.2 or 1.3; its operator has to allow one of them";
const NO_ROUTE: &str =
    "there is no route to spec.metadataEndpoint; check the networks between the clusters";
const CUT_OFF: &str = "the connection ended in the middle of the document; it is tried again";

/// Rewrites a cause in terms of the network instead of the library that noticed it.
fn plain(cause: &str) -> String {
    let cause = cause.split(" (os error").next().unwrap_or(cause);
    let known = [
        (
            "lookup address",
            "the host of spec.metadataEndpoint has no address in DNS; correct it, or add the name",
        ),
        (
            "onnection refused",
            "connection refused: nothing listens at spec.metadataEndpoint; start the peer's controller, or correct host and port",
        ),
        (
            "proxy authorization required",
            "the proxy asks for a login; put it into the proxy's URL: http://USER:PASSWORD@HOST:PORT",
        ),
        (
            "tunnel error",
            "the proxy does not connect to spec.metadataEndpoint; allow that host and port there, or list the host in NO_PROXY",
        ),
        ("etwork is unreachable", NO_ROUTE),
        ("No route to host", NO_ROUTE),
        (
            "handshake eof",
            "the endpoint closed the connection in the TLS handshake; check that the port in spec.metadataEndpoint speaks HTTPS",
        ),
        (
            "close_notify",
            "the endpoint closed the connection without ending TLS, so the answer may be incomplete; it is tried again",
        ),
        (
            "connection closed before message completed",
            "the endpoint closed the connection before it had answered; it is tried again, and the endpoint's log says why",
        ),
        ("before message length reached", CUT_OFF),
        ("unexpected EOF during chunk", CUT_OFF),
        (
            "message head is too large",
            "the head of the answer is larger than any that is expected; check that spec.metadataEndpoint leads to the peer's controller",
        ),
        (
            "onnection reset",
            "the endpoint reset the connection; check firewalls and proxies between the clusters",
        ),
    ];
    match known.iter().find(|(theirs, _)| cause.contains(theirs)) {
        Some((_, plain)) => (*plain).to_owned(),
        None if ["invalid HTTP version", "invalid HTTP status", "invalid HTTP method"]
            .iter()
            .any(|word| cause.starts_with(word)) =>
        {
            "expected an HTTP answer, found something else; check the port in spec.metadataEndpoint"
                .to_owned()
        }
        None if cause.starts_with("invalid ")
            || cause.starts_with("unexpected transfer-encoding") =>
        {
            "the head of the answer is not valid HTTP; ask the peer's operator what answers there"
                .to_owned()
        }
        None => shown(cause).to_string(),
    }
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    // `source` of an I/O error skips the error it wraps, so that has to be read directly. It may be
    // wrapped twice.
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().and_then(|inner| tls_error(inner)),
        None => error.downcast_ref(),
    }
}

/// A TLS error, with what to do about it.
pub(super) fn tls(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(invalid) => certificate(invalid),
        TlsError::InvalidMessage(_) => {
            "expected TLS, found something else, such as plain HTTP; check that the port in spec.metadataEndpoint speaks HTTPS".into()
        }
        TlsError::AlertReceived(alert) => {
            format!("the endpoint ended the handshake with the TLS alert {}; see its log", alert_name(*alert))
        }
        TlsError::PeerIncompatible(_) => {
            NO_COMMON_TLS.into()
        }
        TlsError::PeerMisbehaved(_) | TlsError::InappropriateMessage { .. } | TlsError::InappropriateHandshakeMessage { .. } => {
            "the endpoint breaks the TLS protocol; check that it is a TLS server, and what stands between it and this cluster".into()
        }
        TlsError::NoCertificatesPresented => "expected the endpoint's certificate, found none; its operator has to set one".into(),
        _ => "the TLS handshake failed; `openssl s_client -connect HOST:PORT` shows how far it gets".into(),
    }
}

fn certificate(invalid: &CertificateError) -> String {
    use CertificateError::{
        BadEncoding, BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext,
        NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext, UnknownIssuer,
        UnsupportedSignatureAlgorithmContext,
    };
    match invalid {
        // A bad signature means a CA with the same name but another key.
        UnknownIssuer | BadSignature => {
            "the endpoint's certificate comes from no system root and not from spec.metadata.ca; put the CA that issued it there".into()
        }
        Expired => "the endpoint's certificate has expired; its operator has to renew it".into(),
        ExpiredContext { not_after, .. } => {
            format!("the endpoint's certificate expired at {}; its operator has to renew it", moment(not_after))
        }
        NotValidYet => "the endpoint's certificate is not valid yet; compare the clocks".into(),
        NotValidYetContext { not_before, time } => format!(
            "the endpoint's certificate is valid from {} on, and here it is {}; compare the clocks",
            moment(not_before),
            moment(time)
        ),
        NotValidForName => "the endpoint's certificate is for another host than spec.metadataEndpoint names; use a name that it has".into(),
        NotValidForNameContext { presented, .. } => format!(
            "the endpoint's certificate is for another host than spec.metadataEndpoint names: {}; use a name that it has, or have it issued \
             for this one",
            names(presented)
        ),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "the endpoint's certificate is not one for a server: expected the extended key usage serverAuth; its operator has to replace it".into()
        }
        BadEncoding => "the endpoint's certificate is damaged; its operator has to replace it".into(),
        UnsupportedSignatureAlgorithmContext { .. } => {
            "the endpoint's certificate is signed with an algorithm that is not taken; expected ECDSA, Ed25519, or RSA with \
             2048 bits or more and SHA-2; its operator has to replace it"
                .into()
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the endpoint shows a CA certificate as its own: expected one that the CA signed, or exactly the certificate in \
             spec.metadata.ca; put it there if it is the right one"
                .into()
        }
        _ => "the endpoint's certificate is refused; `openssl s_client -showcerts` shows it".into(),
    }
}

/// The names in a certificate, which the library writes as `DnsName("gw.example")`.
fn names(presented: &[String]) -> String {
    const MOST: usize = 5;
    let plain = |name: &String| {
        let inner =
            name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')'));
        shown(inner.trim_matches('"')).to_string()
    };
    let mut names: Vec<_> = presented.iter().take(MOST).map(plain).collect();
    if presented.len() > MOST {
        names.push(format!("and {} more", presented.len() - MOST));
    }
    match names.is_empty() {
        true => "it names none".into(),
        false => format!("it names {}", names.join(", ")),
    }
}
