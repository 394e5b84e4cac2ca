use super::ask::ask;
use super::target::{Platform, Target};
use super::{Folder, Outcome, Output};
use crate::plugin::find_configuration;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use fedgate_core::{Callers, Export, Hostname, Mode, ServiceName, Table, read_configuration};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct TableCommand {
    /// A file with a table: a plugin configuration, or a file of Envoy's or an object of Istio's that has one
    #[arg(conflicts_with_all = ["dir", "kubeconfig", "context", "namespace"])]
    file: Option<PathBuf>,
    /// Only the exports of this host
    #[arg(long, value_name = "HOST")]
    host: Option<Hostname>,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl TableCommand {
    pub(super) fn run(self) -> Result<Outcome> {
        let table = match &self.file {
            Some(file) => from_file(file)?,
            None => match self.target.platform() {
                Platform::Files(folder) => from_controller(&folder)?,
                Platform::Kubernetes(cluster) => cluster.snapshot()?.in_force.table,
            },
        };
        let wanted = |service: &ServiceName| self.host.as_ref().is_none_or(|host| *host == service.host);
        let exports: Vec<_> = table.exports().filter(|(service, _)| wanted(service)).collect();
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&as_json(&table, &exports))?),
            Output::Text => print!("{}", text(&table, &exports)),
        }
        Ok(if exports.is_empty() && self.host.is_some() { Outcome::Finding } else { Outcome::Well })
    }
}

fn from_controller(folder: &Folder) -> Result<Table> {
    let configuration: Value = ask(folder, "/table", &[])?;
    Ok(read_configuration(configuration.to_string().as_bytes())?.0)
}

/// Reads the table of a plugin configuration, or of any JSON that has one as a text in it, as Envoy's files do.
///
/// # Errors
/// When the file cannot be read, or has no valid table.
pub(crate) fn from_file(file: &Path) -> Result<Table> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| no_json(file, &error))?;
    let Some(configuration) = find_configuration(&json) else {
        bail!("{} has no table in it: expected a plugin configuration, or Envoy's filter.json", file.display());
    };
    let (table, _) = read_configuration(configuration.as_bytes()).with_context(|| format!("in {}", file.display()))?;
    Ok(table)
}

fn no_json(file: &Path, error: &serde_json::Error) -> anyhow::Error {
    let (file, line) = (file.display(), error.line().max(1));
    anyhow!(
        "{file}:{line}: expected JSON, found something else; give Envoy's filter.json, or an object of Istio's that `kubectl get -o json` printed"
    )
}

fn grants(table: &Table, export: Export) -> Vec<String> {
    let grant = |(peer, callers): (fedgate_core::PeerRow<'_>, Callers)| match callers {
        Callers::Any => peer.name.to_owned(),
        Callers::Only(patterns) if patterns.is_empty() => format!("{} (audited: nobody is granted)", peer.name),
        Callers::Only(patterns) => {
            let patterns: Vec<_> = patterns.iter().map(|p| format!("{}/{}", p.namespace, p.service_account)).collect();
            format!("{} ({})", peer.name, patterns.join(", "))
        }
    };
    table.grants(export).into_iter().map(grant).collect()
}

fn text(table: &Table, exports: &[(ServiceName, Export)]) -> String {
    let mut out = format!("{}  generation {}, {}\n", table.trust_domain(), table.generation(), table.hash());
    out += &format!("\npeers ({})\n", table.peer_count());
    for peer in table.peers() {
        let audit = if peer.mode == Mode::Audit { "  audit" } else { "" };
        out += &format!("  {}  {}{audit}\n", peer.name, peer.trust_domain);
    }
    out += &format!("\nexports ({} of {})\n", exports.len(), table.rows());
    for (service, export) in exports {
        let grants = grants(table, *export);
        let to = if grants.is_empty() { "nobody".to_owned() } else { grants.join(", ") };
        out += &format!("  {service}  granted to {to}\n");
    }
    out
}

fn as_json(table: &Table, exports: &[(ServiceName, Export)]) -> Value {
    let peers: Vec<_> = table
        .peers()
        .map(|peer| json!({ "name": peer.name, "trustDomain": peer.trust_domain, "mode": peer.mode }))
        .collect();
    let exports: Vec<_> = exports
        .iter()
        .map(|(service, export)| json!({ "service": service, "cluster": service.cluster(), "sni": service.sni(), "grants": grants(table, *export) }))
        .collect();
    json!({
        "trustDomain": table.trust_domain(),
        "generation": table.generation(),
        "contentHash": table.hash().to_string(),
        "peers": peers,
        "exports": exports,
    })
}
