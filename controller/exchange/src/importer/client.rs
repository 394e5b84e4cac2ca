//! The HTTPS client for one round with one peer.
//!
//! Each round makes a new client and drops it at the end. So the two fetches of a round share a
//! connection, no connection stays idle between rounds, and every round fully checks the endpoint's
//! certificate.

use super::endpoint::{EndpointVerifier, verifier_of};
use super::{FetchFailure, FetchLimits};
use crate::tls::WithSignatures;
use fedgate_federation::object::EndpointTls;
use reqwest::{Client, ClientBuilder, redirect::Policy, retry};
#[cfg(test)]
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, client::WebPkiServerVerifier, crypto::aws_lc_rs};
use std::sync::Arc;
use tracing::warn;

/// The most headers in an answer; no metadata server has a reason to send more.
const MAX_HEADERS: usize = 64;

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

/// Builds a client for one peer: HTTP/1.1, TLS 1.2 or 1.3, no redirects, no proxy, no compression,
/// no retries.
pub(super) fn client(
    tls: &EndpointTls,
    roots: &SystemRoots,
    limits: &FetchLimits,
) -> Result<Client, FetchFailure> {
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
        .timeout(limits.fetch);
    let builder = verified_by(builder, tls, roots)
        .map_err(|error| FetchFailure::Tls(super::failure::tls(&error)))?;
    builder.build().map_err(|error| FetchFailure::from(&error))
}

fn verified_by(
    builder: ClientBuilder,
    tls: &EndpointTls,
    roots: &SystemRoots,
) -> Result<ClientBuilder, rustls::Error> {
    let own = match tls {
        EndpointTls::System => [].as_slice(),
        EndpointTls::SystemAnd(own) => own.as_slice(),
        EndpointTls::Unverified => return Ok(builder.tls_danger_accept_invalid_certs(true)),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = EndpointVerifier::new(roots.0.clone(), own)?;
    let verifier = WithSignatures::new(verifier, &provider);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(config))
}
