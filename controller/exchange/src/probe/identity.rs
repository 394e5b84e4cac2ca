//! What a probe shows to a gateway: the certificate that this cluster's Envoys show, if the
//! controller has it.

use arc_swap::ArcSwapOption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::fmt;
use std::sync::Arc;

/// The certificate and key that probes show. Clones share them.
///
/// Probes show nothing while there is none. On Kubernetes this is always so, because only the
/// gateways and sidecars have it.
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
    /// Sets what probes show from now on: a certificate chain, leaf first, and its key, both in
    /// PEM.
    pub fn show(&self, chain: &str, key: &str) {
        self.0.store(Some(Arc::new(Pem { chain: chain.to_owned(), key: key.to_owned() })));
    }

    /// What probes show, `None` for nothing.
    ///
    /// # Errors
    /// What is wrong with it, in words for operators, without any of its contents.
    pub(super) fn keys(&self) -> Result<Option<ClientKeys>, String> {
        let Some(pem) = self.0.load_full() else { return Ok(None) };
        let chain =
            CertificateDer::pem_slice_iter(pem.chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain
            .map_err(|_| "identity.certificateChain: expected certificates in PEM".to_owned())?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|_| {
            "identity.privateKey: expected a private key in PEM without a passphrase".to_owned()
        })?;
        Ok(Some(ClientKeys { chain, key }))
    }
}

/// Prints nothing of the key.
impl fmt::Debug for ProbeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeIdentity")
    }
}
