//! Why a fetch failed, said so that an operator knows where to look: short, and without anything secret.

use crate::words::causes;
use fedgate_federation::{knowledge::ExchangeReason, shown};
use jiff::Timestamp;
use rustls::{CertificateError, Error as TlsError, pki_types::UnixTime};
use std::{error::Error, fmt, io};

/// Why a document was not fetched. It quotes neither the URL nor the token, and of what a peer said only short, harmless text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// The name could not be looked up, or nobody answered at the address.
    #[error("cannot connect to the endpoint: {0}")]
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
    #[error("{0}")]
    Status(Refused),
    /// The body is larger than allowed.
    #[error("the document: expected at most {limit} bytes, found more")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body is compressed though nobody asked for that.
    #[error("the document: expected no content encoding, which is what was asked for, found {:?}", shown(.0))]
    Encoded(String),
}

/// An answer that is no document, with what it says of the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// `Location`, of a redirect.
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
                write!(f, ", a redirect to {:?}, which is not followed; set spec.metadataEndpoint", shown(location))?;
                f.write_str(" to where the documents are")?;
            }
            None if (300..400).contains(&self.status) => f.write_str(", a redirect without a Location")?,
            None => {}
        }
        if let Some(line) = &self.line {
            write!(f, " ({:?})", shown(line))?;
        }
        match &self.retry_after {
            Some(time) => write!(f, "; the server says Retry-After: {}", shown(time)),
            None => Ok(()),
        }
    }
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
        if let Some(error) = causes(error).skip(1).find_map(tls_error) {
            return Self::Tls(tls(error));
        }
        if error.is_timeout() {
            return Self::Timeout(if error.is_connect() { "while connecting" } else { "while fetching" });
        }
        // The outer errors say only that a request failed, and one of them shows the URL.
        let cause = causes(error).skip(1).last().map_or_else(String::new, |cause| plain(&cause.to_string()));
        match error.is_connect() {
            true => Self::Connect(cause),
            false => Self::Broken(cause),
        }
    }
}

/// A cause in words of the network, not of the libraries that have noticed it.
fn plain(cause: &str) -> String {
    let cause = cause.split(" (os error").next().unwrap_or(cause);
    let known = [
        ("lookup address", "the host of spec.metadataEndpoint has no address in DNS"),
        ("onnection refused", "connection refused: nothing listens at spec.metadataEndpoint"),
        ("etwork is unreachable", "there is no route to spec.metadataEndpoint"),
        ("No route to host", "there is no route to spec.metadataEndpoint"),
        ("handshake eof", "the endpoint closed the connection in the TLS handshake"),
        ("close_notify", "the endpoint closed the connection without ending TLS; the answer may be incomplete"),
        ("connection closed before message completed", "the endpoint closed the connection before it had answered"),
        ("before message length reached", "the connection ended in the middle of the document"),
        ("unexpected EOF during chunk", "the connection ended in the middle of the document"),
        ("message head is too large", "the head of the answer is larger than any that is expected"),
        ("onnection reset", "the endpoint reset the connection"),
    ];
    match known.iter().find(|(theirs, _)| cause.contains(theirs)) {
        Some((_, plain)) => (*plain).to_owned(),
        None if cause.starts_with("invalid HTTP") => {
            format!("expected an HTTP answer, found something else ({})", shown(cause))
        }
        None => shown(cause),
    }
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
    match error {
        TlsError::InvalidCertificate(invalid) => certificate(invalid),
        TlsError::InvalidMessage(_) => {
            "expected TLS, found something else, such as plain HTTP; does the port in spec.metadataEndpoint speak HTTPS?".into()
        }
        TlsError::AlertReceived(alert) => {
            format!("the endpoint ended the handshake with the TLS alert {alert:?}; its log says why")
        }
        TlsError::PeerIncompatible(_) => {
            "the endpoint and fedgate have no TLS version, cipher or key exchange in common; expected TLS 1.2 or 1.3".into()
        }
        TlsError::PeerMisbehaved(_) | TlsError::InappropriateMessage { .. } | TlsError::InappropriateHandshakeMessage { .. } => {
            "the endpoint breaks the TLS protocol; is it a TLS server, and is nothing between it and fedgate?".into()
        }
        TlsError::NoCertificatesPresented => "expected the endpoint's certificate, found none".into(),
        other => shown(&other.to_string()),
    }
}

fn certificate(invalid: &CertificateError) -> String {
    use CertificateError::{
        BadEncoding, BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidForName,
        NotValidForNameContext, NotValidYet, NotValidYetContext, UnknownIssuer, UnsupportedSignatureAlgorithmContext,
    };
    match invalid {
        // A bad signature: a CA of the same name, but with another key.
        UnknownIssuer | BadSignature => {
            "the endpoint's certificate comes from no system root and not from spec.metadata.ca".into()
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
        NotValidForName => "the endpoint's certificate is for another host than spec.metadataEndpoint names".into(),
        NotValidForNameContext { presented, .. } => format!(
            "the endpoint's certificate is for another host than spec.metadataEndpoint names: {}",
            names(presented)
        ),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "the endpoint's certificate is not one for a server: expected the extended key usage serverAuth".into()
        }
        BadEncoding => "the endpoint's certificate is damaged".into(),
        UnsupportedSignatureAlgorithmContext { .. } => {
            "the endpoint's certificate is signed with an algorithm that is not taken; expected ECDSA, Ed25519, or RSA with \
             2048 bits or more and SHA-2"
                .into()
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the endpoint shows a CA certificate as its own: expected one that the CA signed, or exactly the certificate in \
             spec.metadata.ca"
                .into()
        }
        _ => "the endpoint's certificate is refused; `openssl s_client -showcerts` shows it".into(),
    }
}

fn moment(time: &UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a time beyond all dates".into(), |time| time.to_string())
}

/// The names of a certificate, as the library has them: `DnsName("gw.example")`.
fn names(presented: &[String]) -> String {
    const MOST: usize = 5;
    let plain = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')'));
        shown(inner.trim_matches('"'))
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
