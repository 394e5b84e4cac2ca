//! What a probe shows to a gateway: what this cluster's Envoys show, where the controller has it.

use arc_swap::ArcSwapOption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::fmt;
use std::sync::Arc;

/// The certificate and key that probes show; clones are one and the same.
///
/// Without any, as on Kubernetes, where they are the gateways' and the sidecars' alone, nothing is shown.
#[derive(Clone, Default)]
pub struct ProbeIdentity(Arc<ArcSwapOption<Pem>>);

#[derive(PartialEq, Eq)]
struct Pem {
    chain: String,
    key: String,
}

/// A certificate chain and its key.
pub(super) struct ClientKeys {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl ProbeIdentity {
    /// From now on this is shown: a certificate chain, the leaf first, and its key, both PEM.
    pub fn show(&self, chain: &str, key: &str) {
        self.0.store(Some(Arc::new(Pem { chain: chain.to_owned(), key: key.to_owned() })));
    }

    /// What is shown; `None`: nothing.
    ///
    /// # Errors
    /// What is wrong with it, for operators; nothing of what is in it.
    pub(super) fn keys(&self) -> Result<Option<ClientKeys>, String> {
        let Some(pem) = self.0.load_full() else { return Ok(None) };
        let chain = CertificateDer::pem_slice_iter(pem.chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| "identity.certificateChain: expected certificates in PEM".to_owned())?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes())
            .map_err(|_| "identity.privateKey: expected a private key in PEM without a passphrase".to_owned())?;
        Ok(Some(ClientKeys { chain, key }))
    }
}

/// Nothing of the key.
impl fmt::Debug for ProbeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeIdentity")
    }
}
