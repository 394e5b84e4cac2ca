//! What is read again when a file changes: settings, certificates, manifests. An unreadable file
//! becomes a finding, and its last content stays in force.

use crate::manifests::{self, ManifestSource};
use crate::settings::{self, Settings, restart_needed};
use crate::site::Site;
use anyhow::Result;
use fedgate_exchange::exporter::{MetadataTls, ServerTls};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::words;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that is read from files while the controller runs.
pub(super) struct Reload {
    dir: PathBuf,
    source: ManifestSource,
    /// What was wrong with the settings when they were last read.
    findings: Vec<Finding>,
    tls: Option<MetadataTls>,
}

impl Reload {
    pub(super) fn new(dir: &Path, settings: &Settings) -> Result<Self> {
        let tls = MetadataTls::read(&settings.metadata.transport)?;
        let source =
            ManifestSource::new(&settings.manifests, &settings.state, &settings.trust_domain);
        Ok(Self { dir: dir.to_owned(), source, findings: Vec::new(), tls })
    }

    /// The exporter's TLS configuration; `None` for plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.tls))
    }

    /// Reads everything into the site, except settings and manifests that are being written; `open`
    /// lists the files that a program has open for writing. For those, the last content stays in
    /// force. Returns true if there are any.
    pub(super) fn all(&mut self, site: &mut Site, open: &BTreeSet<PathBuf>) -> bool {
        let unfinished = manifests::is_unfinished(&self.dir.join(settings::FILE), open);
        if !unfinished {
            self.findings = self.settings(site);
        }
        let mut findings = self.findings.clone();
        findings.extend(site.reload_identity());
        findings.extend(self.certificate(site));
        findings.extend(site.inotify());
        let mut manifests = self.source.read_finished(open);
        manifests.objects.findings.append(&mut findings);
        site.reload(manifests.objects, manifests.endpoints);
        unfinished || manifests.unfinished
    }

    fn settings(&self, site: &mut Site) -> Vec<Finding> {
        let object = |line: u64| {
            let source = if line == 0 {
                settings::FILE.to_owned()
            } else {
                format!("{}:{line}", settings::FILE)
            };
            ObjectRef::cluster(site.settings.trust_domain.as_str()).with_source(Some(source))
        };
        let text = match settings::read_text(&self.dir.join(settings::FILE)) {
            Ok(text) => text,
            Err(error) => {
                let message = format!(
                    "it cannot be read: {}; the previous settings stay in force",
                    words::io(&error)
                );
                return vec![Finding::error(FindingReason::Unreadable, object(0), "", message)];
            }
        };
        match Settings::parse(&self.dir, &text) {
            Ok(new) => {
                let cluster = object(0);
                site.settings
                    .take(new)
                    .into_iter()
                    .map(|field| restart_needed(cluster.clone(), field))
                    .collect()
            }
            Err(problems) => {
                let finding = |problem: settings::Problem| {
                    let message =
                        format!("{}; the previous settings stay in force", problem.message);
                    Finding::error(
                        FindingReason::InvalidObject,
                        object(problem.line),
                        problem.field,
                        message,
                    )
                };
                problems.into_iter().map(finding).collect()
            }
        }
    }

    fn certificate(&self, site: &mut Site) -> Option<Finding> {
        const STAYS: &str = "the previous certificate stays in use";
        let error = self.tls.as_ref()?.replace().err()?;
        if site.add_to_faults(&["metadata.tls.certificate", "metadata.tls.key"], STAYS) {
            return None;
        }
        let cluster = ObjectRef::cluster(site.settings.trust_domain.as_str());
        let message = format!("{error:#}; {STAYS}");
        Some(Finding::error(FindingReason::Unreadable, cluster, "metadata.tls", message))
    }
}
