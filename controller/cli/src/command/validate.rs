use super::{ExitStatus, Output};
use crate::terminal::layout::paragraph;
use crate::terminal::progress::Progress;
use crate::terminal::{Style, Terminal};
use anyhow::Result;
use clap::Args;
use fedgate_exchange::exporter::MetadataTls;
use fedgate_federation::federate::{FederatedPort, FederatedService, PassedOver, Published};
use fedgate_federation::{
    Federation, Finding, FindingReason, Inputs, ObjectRef, Severity, federate,
};
use fedgate_files::envoys;
use fedgate_files::manifests::ManifestSource;
use fedgate_files::settings::Settings;
use fedgate_process::words::counted;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Folder of the cluster
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Validate {
    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let settings = Settings::read_argument(&self.dir)?;
        let mut progress = Progress::start();
        let mut report = |done, all| progress.at("reading manifests", done, Some(all));
        let mut findings = findings(&settings, &mut report)?;
        drop(progress);
        let (capacity, of_machine) = envoys::validate(&settings)?;
        findings.extend(of_machine);
        // On standard error, for people: the capacity is not a finding.
        capacity.lines().iter().for_each(|line| eprintln!("{line}"));
        match self.output.of(&findings)? {
            Some(document) => print!("{document}"),
            None => print!("{}", text(&findings, self.output.layout(terminal).0)),
        }
        let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
        Ok(if errors { ExitStatus::Finding } else { ExitStatus::Success })
    }
}

/// What `federate` would find if it ran on this folder now for the first time. `report` is told how
/// many manifests are read, and how many there are.
pub(super) fn findings(
    settings: &Settings,
    report: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Finding>> {
    let local = fedgate_files::local::placeholder(settings)?;
    let mut source = ManifestSource::without_memory(&settings.manifests, &settings.trust_domain);
    let manifests = source.read_reporting(report);
    let federation = federate(&Inputs {
        local: &local,
        objects: &manifests.objects,
        knowledge: &BTreeMap::new(),
        previous: &Published::default(),
        times: settings.times.knowledge,
        now: Timestamp::now(),
    });
    let unknown = names_with_unknown_members(&federation);
    let mut findings = federation.findings;
    findings.retain(|finding| {
        finding.reason != FindingReason::NoMemberReady || !unknown.contains(&finding.object)
    });
    let is_known = |finding: &Finding| {
        finding.severity == Severity::Error
            && finding.field.as_deref().is_some_and(|field| field.starts_with("metadata.tls"))
    };
    if !findings.iter().any(is_known)
        && let Err(error) = MetadataTls::read(&settings.metadata.transport)
    {
        let cluster = ObjectRef::cluster(settings.trust_domain.as_str());
        findings.insert(
            0,
            Finding::error(
                FindingReason::InvalidCertificate,
                cluster,
                "metadata.tls",
                format!("{error:#}"),
            ),
        );
    }
    Ok(findings)
}

/// The names whose members the folder alone does not show: what a peer offers is in its documents,
/// which are not read here.
fn names_with_unknown_members(federation: &Federation) -> Vec<ObjectRef> {
    let is_unknown = |port: &FederatedPort| {
        let mut members = port.members.iter();
        let only_all_peers = port.members.is_empty() && !federation.peers.is_empty();
        only_all_peers
            || members.any(|member| member.state.reason() == Some(PassedOver::NotFetched))
    };
    let services = federation.federated_services.iter();
    services
        .filter(|service| service.ports.iter().any(is_unknown))
        .map(FederatedService::object)
        .collect()
}

/// The word of a severity, and how it looks.
pub(super) fn severity(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Error => ("error", Style::Bad),
        Severity::Warning => ("warning", Style::Warning),
        Severity::Info => ("info", Style::Faint),
    }
}

fn text(findings: &[Finding], terminal: Terminal) -> String {
    let mut out = String::new();
    for finding in findings {
        let (word, style) = severity(finding.severity);
        // A hanging indent would take room from the message.
        let text = paragraph("", &format!("{word}: {finding}"), Style::Plain, terminal);
        out += &text.replacen(word, &terminal.paint(style, word), 1);
    }
    let count = |severity, word| {
        counted(findings.iter().filter(|finding| finding.severity == severity).count(), word)
    };
    out + &format!("{}, {}\n", count(Severity::Error, "error"), count(Severity::Warning, "warning"))
}
