//! What the importer, the probe and the exporter share of TLS.

pub(crate) mod pair;
mod signatures;
mod words;

pub use pair::InvalidPair;
pub(crate) use signatures::{VerifyCertificate, WithSignatures};
pub(crate) use words::{alert_name, moment};

use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::sync::{Arc, LazyLock};

/// The cryptography of TLS clients. As in Envoy, AES-128-GCM with SHA-256 comes first: processors
/// have instructions for SHA-256, but not for SHA-384, and a handshake hashes a lot.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}
