//! The endpoint where a peer serves its metadata, and how it is verified.

use super::{IstioFederationSpec, Named};
use crate::finding::{Finding, FindingReason, shown};
use crate::pem_text::{self, Kind};

/// A metadata endpoint: an `https` URL with a host, without user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataEndpoint(url::Url);

/// How a metadata endpoint's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointTls {
    /// With the system's roots.
    System,
    /// With the system's roots and these certificates (DER).
    SystemAnd(Vec<Box<[u8]>>),
    /// Not at all. Whoever answers counts as the peer.
    Unverified,
}

impl MetadataEndpoint {
    /// Reads an endpoint as in `spec.metadataEndpoint`.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('#') {
            return Err("a URL without '#'");
        }
        let url = url::Url::parse(text).map_err(|_| "a URL such as https://host/metadata")?;
        if url.scheme() != "https" {
            return Err("a URL with the scheme https");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("a URL with a host");
        }
        if url.port() == Some(0) {
            return Err("a URL with a port from 1 to 65535");
        }
        if url.query().is_some() {
            return Err("a URL without a query ('?')");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL without user name and password");
        }
        Ok(Self(url))
    }

    /// Returns the URL of a document, given its suffix (for example `/public/public.json`).
    pub fn document(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.as_str())
    }

    /// Returns the endpoint without its trailing slash. If there are several, only the last is
    /// removed.
    pub fn as_str(&self) -> &str {
        self.0.as_str().strip_suffix('/').unwrap_or(self.0.as_str())
    }

    /// Returns the host as in the URL.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns the port; 443 unless the URL has another.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }
}

impl std::fmt::Display for MetadataEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads `spec.metadataEndpoint`.
pub(super) fn parse_endpoint(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<MetadataEndpoint> {
    let text = &named.spec.metadata_endpoint;
    let refused = |expected| {
        let found = without_secrets(text);
        let message = format!("expected {expected}, found {:?}; correct it", shown(&found));
        Finding::error(
            FindingReason::InvalidEndpoint,
            named.object(),
            "spec.metadataEndpoint",
            message,
        )
    };
    MetadataEndpoint::parse(text).map_err(|expected| findings.push(refused(expected))).ok()
}

/// An endpoint as messages may show it: without a login, and without what is behind '?' or '#'.
fn without_secrets(text: &str) -> String {
    let (scheme, rest) = match text.rsplit_once('@') {
        // A password may have any of the other characters.
        Some((login, rest)) => {
            let scheme = login.split_once("://").map_or("", |(scheme, _)| scheme);
            (format!("{scheme}://…@"), rest)
        }
        None => (String::new(), text),
    };
    let plain = rest.split(['?', '#']).next().unwrap_or_default();
    let cut = rest.strip_prefix(plain).and_then(|cut| cut.chars().next());
    let cut = cut.map(|mark| format!("{mark}…")).unwrap_or_default();
    format!("{scheme}{plain}{cut}")
}

/// Reads `spec.metadata`.
pub(super) fn parse_tls(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<EndpointTls> {
    let Some(ca) = &named.spec.metadata.ca else {
        return Some(unverified_or_system(named, findings));
    };
    match certificates(ca) {
        Ok(certificates) => Some(EndpointTls::SystemAnd(certificates)),
        Err(found) => {
            let message = format!(
                "expected one or more PEM blocks CERTIFICATE and nothing else, {found}; give the certificate of the CA that issues \
                 the endpoint's certificate"
            );
            findings.push(Finding::error(
                FindingReason::InvalidCa,
                named.object(),
                "spec.metadata.ca",
                message,
            ));
            None
        }
    }
}

/// Returns all certificates of a PEM text, in DER. A damaged one is an error: otherwise its absence
/// would show only when the endpoint uses a certificate that it signed.
fn certificates(text: &str) -> Result<Vec<Box<[u8]>>, String> {
    let is_certificate = |der: &[u8]| {
        x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty())
    };
    let numbered = pem_text::blocks(text).enumerate();
    let certificates = numbered.map(|(index, block)| match block {
        Ok(block) if block.kind != Kind::Certificate => {
            Err(format!("found in block {}: {}", index + 1, block.kind.words()))
        }
        Ok(block) if is_certificate(&block.contents) => Ok(block.contents.into_boxed_slice()),
        Ok(_) => {
            Err(format!("found something that is not an X.509 certificate in block {}", index + 1))
        }
        Err(damaged) => Err(format!("found {damaged} (block {})", index + 1)),
    });
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    match certificates.is_empty() {
        true => Err(format!("found {}", pem_text::without_blocks(text.as_bytes()))),
        false => Ok(certificates),
    }
}

fn unverified_or_system(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> EndpointTls {
    if !named.spec.metadata.insecure_skip_verify {
        return EndpointTls::System;
    }
    let message = "the endpoint's certificate is not verified, so whoever answers there can name the peer's roots and keys; \
                   set spec.metadata.ca";
    let field = "spec.metadata.insecureSkipVerify";
    findings.push(Finding::warning(
        FindingReason::InsecureEndpoint,
        named.object(),
        field,
        message,
    ));
    EndpointTls::Unverified
}
