//! What a probe shows to a gateway: the certificate that this cluster's Envoys show, if the
//! controller has it.

use crate::tls::provider;
use arc_swap::ArcSwapOption;
use rustls::Error as TlsError;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::fmt;
use std::sync::Arc;

/// The certificate and key that probes show. Clones share them.
///
/// Probes show nothing while there is none. On Kubernetes this is always so, because only the
/// gateways and sidecars have it.
#[derive(Clone, Default)]
pub struct ProbeIdentity(Arc<ArcSwapOption<Keys>>);

/// A certificate chain and its key, or what is wrong with them.
type Keys = Result<Arc<SingleCertAndKey>, String>;

impl ProbeIdentity {
    /// Sets what probes show from now on: a certificate chain, leaf first, and its key, both in
    /// PEM.
    pub fn show(&self, chain: &str, key: &str) {
        self.0.store(Some(Arc::new(read(chain, key))));
    }

    /// What probes show, `None` for nothing.
    ///
    /// # Errors
    /// What is wrong with it, in words for operators, without any of its contents.
    pub(super) fn keys(&self) -> Result<Option<Arc<SingleCertAndKey>>, String> {
        self.0.load().as_deref().cloned().transpose()
    }
}

fn read(chain: &str, key: &str) -> Keys {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain =
        chain.map_err(|_| "identity.certificateChain: expected certificates in PEM".to_owned())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        "identity.privateKey: expected a private key in PEM without a passphrase".to_owned()
    })?;
    let certified = CertifiedKey::from_der(chain, key, &provider());
    Ok(Arc::new(certified.map_err(|error| unusable(&error))?.into()))
}

fn unusable(error: &TlsError) -> String {
    match error {
        TlsError::InconsistentKeys(_) => {
            "identity.privateKey is not the key of the certificate in identity.certificateChain"
                .to_owned()
        }
        _ => "the certificate in identity.certificateChain and its key cannot be used for TLS"
            .to_owned(),
    }
}

/// Prints nothing of the key.
impl fmt::Debug for ProbeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeIdentity")
    }
}
