//! The metadata endpoint's certificate, read from its two files.

use super::ServerTls;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The metadata endpoint's certificate, and the files it comes from.
pub struct MetadataTls {
    certificate: PathBuf,
    key: PathBuf,
    /// The certificate that the exporter uses.
    pub tls: Arc<ServerTls>,
}

impl MetadataTls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// Which file cannot be read, or what is wrong with the two.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let (chain, secret) = (read("certificate", &certificate)?, read("key", &key)?);
        let tls =
            ServerTls::from_pem(&chain, &secret).with_context(|| named(&certificate, &key))?;
        Ok(Self { tls: Arc::new(tls), certificate, key })
    }

    /// Reads both files again.
    ///
    /// # Errors
    /// As [`Self::read`]. The previous certificate then stays in use.
    pub fn replace(&self) -> Result<()> {
        let (chain, secret) = (read("certificate", &self.certificate)?, read("key", &self.key)?);
        self.tls.replace(&chain, &secret).with_context(|| named(&self.certificate, &self.key))
    }
}

fn read(field: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .with_context(|| format!("cannot read metadata.tls.{field} {}", path.display()))
}

fn named(certificate: &Path, key: &Path) -> String {
    format!("metadata.tls ({}, {})", certificate.display(), key.display())
}
