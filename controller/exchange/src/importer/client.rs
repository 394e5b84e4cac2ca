//! The HTTPS client for one round with one peer.
//!
//! Each round makes a new client and drops it at the end. So the two fetches of a round share a
//! connection, and none stays idle between rounds: a peer with thousands of peers of its own could
//! not hold that many. Only while the peer lets us wait for a change, the client is kept.
//!
//! What rounds share is a [`Connector`], which keeps TLS sessions. Resuming one costs much less than
//! a full handshake, and proves that the endpoint is the one whose certificate was verified. So that
//! an expired or replaced certificate is noticed, a connector is used for a limited time, and no
//! longer than until a round fails.

use super::client_certificate::{ClientCertificate, Shown};
use super::endpoint::{EndpointVerifier, verifier_of};
use super::{FetchFailure, FetchLimits};
use crate::proxy::Proxy;
use crate::tls::{WithSignatures, provider};
use fedgate_federation::object::EndpointTls;
use reqwest::{Client, redirect::Policy, retry};
#[cfg(test)]
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, Tls12Resumption, WebPkiServerVerifier},
    version::{TLS12, TLS13},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::warn;

/// The most headers in an answer; no metadata server has a reason to send more.
const MAX_HEADERS: usize = 64;

/// How long sessions are resumed before the endpoint's certificate is verified again.
pub(super) const VERIFIED_FOR: Duration = Duration::from_secs(10 * 60);

/// How many TLS 1.3 tickets are kept; each resumes one connection, and a round needs one.
const TICKETS: usize = 8;

/// How soon TCP asks whether the peer is still there, and how often. A peer that vanishes while a
/// request waits at it is noticed after 40 seconds.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// The system's root certificates, loaded once and shared by all peers. `None` if there are none.
#[derive(Clone)]
pub(crate) struct SystemRoots(Option<Arc<WebPkiServerVerifier>>);

impl SystemRoots {
    /// Loads the system's roots, honouring `SSL_CERT_FILE` and `SSL_CERT_DIR`. A root that cannot
    /// be read is logged and skipped. Without any root, only peers with their own `ca` can be
    /// verified.
    pub(crate) fn load() -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            warn!(%error, "a system root cannot be loaded and is left out; peers without spec.metadata.ca may need it");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Self(verifier_of(roots).unwrap_or_else(|error| {
            warn!(%error, "the system's roots cannot be used; peers need spec.metadata.ca");
            None
        }))
    }

    /// Uses exactly these roots.
    #[cfg(test)]
    pub(crate) fn only(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        certificates.into_iter().try_for_each(|certificate| roots.add(certificate))?;
        Ok(Self(verifier_of(roots)?))
    }
}

/// How to connect to one peer's endpoint: what verifies it, and the sessions that can be resumed.
pub(super) struct Connector {
    /// `None` if the endpoint is not verified.
    tls: Option<ClientConfig>,
    /// The proxy that leads to the endpoint.
    pub(super) proxy: Option<Proxy>,
    /// What the endpoint gets to see of this cluster's client certificates.
    pub(super) shown: Arc<Shown>,
    made: Instant,
}

impl Connector {
    /// A connector without sessions. The first handshake verifies the endpoint's certificate. An
    /// endpoint that is not verified sees no client certificate.
    pub(super) fn new(
        tls: &EndpointTls,
        roots: &SystemRoots,
        proxy: Option<Proxy>,
        certificate: Option<Arc<ClientCertificate>>,
    ) -> Result<Self, FetchFailure> {
        let shown = Arc::new(Shown::new(certificate));
        let own = match tls {
            EndpointTls::System => Some([].as_slice()),
            EndpointTls::SystemAnd(own) => Some(own.as_slice()),
            EndpointTls::Unverified => None,
        };
        let verified = own.map(|own| verified_by(roots, own, &shown)).transpose();
        let tls = verified.map_err(|error| FetchFailure::Tls(super::failure::tls(&error)))?;
        Ok(Self { tls, proxy, shown, made: Instant::now() })
    }

    /// Returns true if the endpoint's certificate has to be verified again.
    pub(super) fn is_old(&self) -> bool {
        self.made.elapsed() >= VERIFIED_FOR
    }

    /// What an operator can do about a failure, if a client certificate may be its cause.
    pub(super) fn what_to_do(&self, failure: &FetchFailure) -> Option<String> {
        if !failure.may_want_certificate() {
            return None;
        }
        match (&self.tls, self.shown.certificate()) {
            (None, Some(_)) => Some(
                "an endpoint that is not verified is shown no client certificate: put its CA into spec.metadata.ca"
                    .to_owned(),
            ),
            (Some(_), Some(_)) if failure.lacks_tls_version() => Some(
                "this cluster shows it a client certificate, and TLS 1.2 would send that in clear: its operator has to allow TLS 1.3"
                    .to_owned(),
            ),
            _ => self.shown.what_to_do(),
        }
    }

    /// Returns true if the connector can be used again, with `certificate` as this cluster's.
    pub(super) fn fits(&self, certificate: Option<&Arc<ClientCertificate>>) -> bool {
        !self.is_old() && self.shown.is(certificate)
    }

    /// Builds a client for one round: HTTP/1.1, TLS 1.2 or 1.3, no redirects, no compression, no
    /// retries.
    pub(super) fn client(&self, limits: &FetchLimits) -> Result<Client, FetchFailure> {
        let builder = Client::builder()
            .user_agent(concat!("fedgate/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .http1_only()
            .http1_max_headers(MAX_HEADERS)
            .redirect(Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(limits.connect)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(KEEPALIVE_PROBES)
            .timeout(limits.fetch);
        let builder = match &self.tls {
            Some(tls) => builder.tls_backend_preconfigured(tls.clone()),
            None => builder.tls_danger_accept_invalid_certs(true),
        };
        let builder = match &self.proxy {
            Some(proxy) => builder.proxy(proxy.for_client().map_err(|e| FetchFailure::from(&e))?),
            None => builder,
        };
        builder.build().map_err(|error| FetchFailure::from(&error))
    }
}

fn verified_by(
    roots: &SystemRoots,
    own: &[Box<[u8]>],
    shown: &Arc<Shown>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    // TLS 1.2 sends a client's certificate in clear.
    let versions: &[_] = if shown.certificate().is_some() { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let verifier = EndpointVerifier::new(roots.0.clone(), own)?;
    let verifier = WithSignatures::new(verifier, &provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(shown.clone());
    // A ticket of TLS 1.2 holds the session's keys, so a server's old ticket key would reveal
    // tokens. In TLS 1.3 each connection has fresh keys.
    config.resumption =
        Resumption::in_memory_sessions(TICKETS).tls12_resumption(Tls12Resumption::Disabled);
    Ok(config)
}
