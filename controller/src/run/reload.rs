//! What is read again when a file has changed: settings, certificates, manifests. What cannot be read is a finding, and what was
//! read before stays in force.

use crate::controller::Controller;
use crate::exporter::ServerTls;
use crate::files::{self, ManifestSource};
use crate::settings::{self, MetadataTransport, Settings};
use crate::words;
use anyhow::{Context, Result};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that is read from files while the controller runs.
pub(super) struct Reload {
    dir: PathBuf,
    source: ManifestSource,
    /// What is wrong with the settings as they were read last.
    findings: Vec<Finding>,
    tls: Option<MetadataTls>,
}

/// The metadata endpoint's certificate, and where it comes from.
pub(crate) struct MetadataTls {
    certificate: PathBuf,
    key: PathBuf,
    /// What the exporter serves with.
    pub(crate) tls: Arc<ServerTls>,
}

impl Reload {
    pub(super) fn new(dir: &Path, settings: &Settings) -> Result<Self> {
        let tls = match &settings.metadata.transport {
            MetadataTransport::Plain => None,
            MetadataTransport::Tls { certificate, key } => Some(MetadataTls::read(certificate, key)?),
        };
        let source = ManifestSource::new(&settings.manifests, &settings.state, &settings.trust_domain);
        Ok(Self { dir: dir.to_owned(), source, findings: Vec::new(), tls })
    }

    /// What the exporter serves with; `None` for plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.tls))
    }

    /// Reads everything into the controller, but for settings and manifests that are being written (`open` are the files that a
    /// program has open for writing): what they said before stays in force. Returns true if there are such.
    pub(super) fn all(&mut self, controller: &mut Controller, open: &BTreeSet<PathBuf>) -> bool {
        let unfinished = files::is_unfinished(&self.dir.join(settings::FILE), open);
        if !unfinished {
            self.findings = self.settings(controller);
        }
        let mut findings = self.findings.clone();
        findings.extend(controller.reload_identity());
        findings.extend(self.certificate(controller));
        findings.extend(controller.inotify());
        let mut manifests = self.source.read_finished(open);
        manifests.objects.findings.append(&mut findings);
        controller.reload(manifests.objects, manifests.endpoints);
        unfinished || manifests.unfinished
    }

    fn settings(&self, controller: &mut Controller) -> Vec<Finding> {
        let object = |line: u64| {
            let source = if line == 0 { settings::FILE.to_owned() } else { format!("{}:{line}", settings::FILE) };
            ObjectRef::cluster(controller.settings.trust_domain.as_str()).from_source(Some(source))
        };
        let text = match std::fs::read_to_string(self.dir.join(settings::FILE)) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("it cannot be read: {}; the settings before stay in force", words::io(&error));
                return vec![Finding::error(FindingReason::Unreadable, object(0), "", message)];
            }
        };
        match Settings::parse(&self.dir, &text) {
            Ok(new) => {
                let cluster = object(0);
                controller.settings.take(new).into_iter().map(|field| restart_needed(cluster.clone(), field)).collect()
            }
            Err(problems) => {
                let finding = |problem: settings::Problem| {
                    let message = format!("{}; the settings before stay in force", problem.message);
                    Finding::error(FindingReason::InvalidObject, object(problem.line), problem.field, message)
                };
                problems.into_iter().map(finding).collect()
            }
        }
    }

    fn certificate(&self, controller: &mut Controller) -> Option<Finding> {
        const STAYS: &str = "the certificate before is still served";
        let error = self.tls.as_ref()?.replace().err()?;
        if controller.add_to_faults(&["metadata.tls.certificate", "metadata.tls.key"], STAYS) {
            return None;
        }
        let cluster = ObjectRef::cluster(controller.settings.trust_domain.as_str());
        let message = format!("{error:#}; {STAYS}");
        Some(Finding::error(FindingReason::Unreadable, cluster, "metadata.tls", message))
    }
}

/// A setting was changed that is read at the start only.
pub(crate) fn restart_needed(cluster: ObjectRef, field: &str) -> Finding {
    let message = "it was changed, and what it was before stays in force; restart `fedgate run`";
    Finding::warning(FindingReason::RestartNeeded, cluster, field, message)
}

impl MetadataTls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// Which file cannot be read, or what is wrong with the two.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let (chain, secret) = (read("certificate", &certificate)?, read("key", &key)?);
        let tls = ServerTls::from_pem(&chain, &secret).with_context(|| named(&certificate, &key))?;
        Ok(Self { tls: Arc::new(tls), certificate, key })
    }

    /// Reads both files again.
    ///
    /// # Errors
    /// As [`Self::read`]; what was read before is still served.
    pub(crate) fn replace(&self) -> Result<()> {
        let (chain, secret) = (read("certificate", &self.certificate)?, read("key", &self.key)?);
        self.tls.replace(&chain, &secret).with_context(|| named(&self.certificate, &self.key))
    }
}

fn read(field: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read metadata.tls.{field} {}", path.display()))
}

fn named(certificate: &Path, key: &Path) -> String {
    format!("metadata.tls ({}, {})", certificate.display(), key.display())
}
