//! The metadata endpoint's certificate, read from its two files.

use super::ServerTls;
use crate::settings::MetadataTransport;
use anyhow::{Context, Result};
use fedgate_process::regular_file::{self, MOST_PEM};
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
    /// Reads the certificate and key of this transport; `None` for HTTP.
    ///
    /// # Errors
    /// Which file cannot be read, or what is wrong with the two.
    pub fn read(transport: &MetadataTransport) -> Result<Option<Self>> {
        match transport {
            MetadataTransport::Plain => Ok(None),
            MetadataTransport::Tls { certificate, key } => {
                Self::from_files(certificate.clone(), key.clone()).map(Some)
            }
        }
    }

    fn from_files(certificate: PathBuf, key: PathBuf) -> Result<Self> {
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
    regular_file::read(path, MOST_PEM).with_context(|| {
        format!("cannot read metadata.tls.{field} {}; put a file in PEM there", path.display())
    })
}

fn named(certificate: &Path, key: &Path) -> String {
    format!("metadata.tls ({}, {})", certificate.display(), key.display())
}
