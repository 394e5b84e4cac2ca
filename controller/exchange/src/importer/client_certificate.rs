//! The certificates that this cluster shows to peers' metadata endpoints, if they ask for one.
//!
//! They are in a folder: `tls.crt` and `tls.key` for all peers, and `PEER/tls.crt` and
//! `PEER/tls.key` for one peer. The files are read before each request, so a renewed certificate
//! needs no restart. A pair that cannot be used, perhaps because only one of its files is replaced
//! so far, leaves the previous one in use.

use crate::tls::pair::{self, InvalidPair};
use crate::tls::provider;
use fedgate_core::PeerName;
use fedgate_process::regular_file;
use fedgate_process::words;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Much more than any chain needs.
const MOST_BYTES: u64 = 1 << 20;

/// The folder of client certificates. Clones share what was read.
#[derive(Clone, Default)]
pub(crate) struct ClientCertificates {
    folder: Option<PathBuf>,
    /// What was read last from each folder.
    read: Arc<Mutex<BTreeMap<PathBuf, Read>>>,
}

/// The last usable pair of a folder, and what has been wrong with its files since.
struct Read {
    certificate: Arc<ClientCertificate>,
    fault: Option<NoClientCertificate>,
}

/// A certificate with its key.
pub(crate) struct ClientCertificate {
    key: Arc<CertifiedKey>,
    digest: [u8; 32],
    folder: PathBuf,
}

/// Why there is no usable client certificate. The message does not quote the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate in {}: {why}", .folder.display())]
pub struct NoClientCertificate {
    folder: PathBuf,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error(
        "cannot read {file}: {fault}; put tls.crt and tls.key there, or correct peers.clientTLS"
    )]
    Unreadable { file: &'static str, fault: String },
    #[error(transparent)]
    Unusable(#[from] InvalidPair),
}

impl ClientCertificates {
    /// The certificates in this folder; none at all without one.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, ..Self::default() }
    }

    /// The certificate for a peer: its own, or else that for all peers; `None` if there is neither.
    pub(crate) fn of(
        &self,
        peer: &PeerName,
    ) -> Result<Option<Arc<ClientCertificate>>, NoClientCertificate> {
        let Some(all) = &self.folder else { return Ok(None) };
        let own = all.join(peer.as_str());
        if own.is_dir() {
            return self.read(&own).map(Some);
        }
        let has_none = [CERTIFICATE, KEY].iter().all(|file| !all.join(file).exists());
        match has_none && all.is_dir() {
            true => Ok(None),
            false => self.read(all).map(Some),
        }
    }

    fn read(&self, folder: &Path) -> Result<Arc<ClientCertificate>, NoClientCertificate> {
        let mut all = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = all.get_mut(folder) else {
            let certificate = read_pair(folder, None)?;
            all.insert(folder.to_owned(), Read { certificate: certificate.clone(), fault: None });
            return Ok(certificate);
        };
        let fault = match read_pair(folder, Some(&last.certificate)) {
            Ok(certificate) => {
                if !Arc::ptr_eq(&certificate, &last.certificate) {
                    tracing::info!(folder = %folder.display(), "a client certificate was read again");
                }
                last.certificate = certificate;
                None
            }
            Err(error) => Some(error),
        };
        // Each request reads the files, so a fault that stays is logged once.
        if let Some(error) = fault.as_ref().filter(|fault| last.fault.as_ref() != Some(fault)) {
            tracing::error!("{error}; the previous certificate stays in use");
        }
        last.fault = fault;
        Ok(last.certificate.clone())
    }
}

/// Reads a folder's pair. Returns `known` if that is what the files contain.
fn read_pair(
    folder: &Path,
    known: Option<&Arc<ClientCertificate>>,
) -> Result<Arc<ClientCertificate>, NoClientCertificate> {
    let failed = |why: Why| NoClientCertificate { folder: folder.to_owned(), why };
    let read = |file: &'static str| {
        let fault = |error| failed(Why::Unreadable { file, fault: words::io(&error) });
        regular_file::read(&folder.join(file), MOST_BYTES).map_err(fault)
    };
    let (chain, key) = (read(CERTIFICATE)?, read(KEY)?);
    let digest = pair::digest(&chain, &key);
    if let Some(known) = known.filter(|known| known.digest == digest) {
        return Ok(known.clone());
    }
    let key = certified(&chain, &key).map_err(|error| failed(error.into()))?;
    Ok(Arc::new(ClientCertificate { key: Arc::new(key), digest, folder: folder.to_owned() }))
}

fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, InvalidPair> {
    let (chain, key) = pair::parse(chain, key)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|_| InvalidPair::Unusable)
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate").field(&self.folder).finish()
    }
}

/// What one peer's endpoint gets to see when it asks for a client certificate.
#[derive(Debug, Default)]
pub(super) struct Shown {
    certificate: Option<Arc<ClientCertificate>>,
    asked: AtomicBool,
}

impl Shown {
    pub(super) fn new(certificate: Option<Arc<ClientCertificate>>) -> Self {
        Self { certificate, asked: AtomicBool::new(false) }
    }

    pub(super) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.certificate.as_ref()
    }

    /// Returns true if `current` is what is shown.
    pub(super) fn is(&self, current: Option<&Arc<ClientCertificate>>) -> bool {
        self.certificate.as_ref().map(|shown| shown.digest) == current.map(|new| new.digest)
    }

    /// What an operator can do if the endpoint refuses this cluster. `None` if it has not asked for
    /// a certificate.
    pub(super) fn what_to_do(&self) -> Option<String> {
        let asked = self.asked.load(Relaxed);
        asked.then(|| match &self.certificate {
            None => "it asks for a client certificate, and this cluster has none for it: put one that the peer's operator accepts into the folder of peers.clientTLS"
                .to_owned(),
            Some(shown) => format!(
                "it was shown the client certificate in {}: check with the peer's operator that its issuer is accepted there, and that it is valid now",
                shown.folder.display()
            ),
        })
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Relaxed);
        self.certificate.as_ref().map(|shown| shown.key.clone())
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}
