use super::ask::ask;
use super::target::{Platform, Target};
use super::{ExitStatus, Folder, Output};
use crate::terminal::Terminal;
use crate::terminal::layout::aligned;
use anyhow::Result;
use clap::Args;
use fedgate_core::{Callers, Export, Hostname, Mode, ServiceName, Table, read_configuration};
use fedgate_envoy::plugin::table_of;
use fedgate_process::words::{NAMED_PEERS, peers};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct TableCommand {
    /// JSON file with a table: a plugin configuration, or an Envoy file or Istio object with one; `-`
    /// for standard input
    #[arg(conflicts_with_all = ["dir", "kubeconfig", "context", "namespace"])]
    file: Option<PathBuf>,
    /// Show only the exports of this host
    #[arg(long, value_name = "HOST")]
    host: Option<Hostname>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl TableCommand {
    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let table = match &self.file {
            Some(file) if file.as_os_str() == "-" => table_of(Path::new("/dev/stdin"))?,
            Some(file) => table_of(file)?,
            None => match self.target.platform() {
                Platform::Files(folder) => from_controller(&folder)?,
                Platform::Kubernetes(cluster) => cluster.snapshot()?.in_force.table,
            },
        };
        let wanted =
            |service: &ServiceName| self.host.as_ref().is_none_or(|host| *host == service.host);
        let exports: Vec<_> = table.exports().filter(|(service, _)| wanted(service)).collect();
        match self.output.of(&as_json(&table, &exports))? {
            Some(document) => print!("{document}"),
            None => {
                let (terminal, wide) = self.output.layout(terminal);
                let most = if wide || self.host.is_some() { usize::MAX } else { NAMED_PEERS };
                print!("{}", text(&table, &exports, most, terminal));
            }
        }
        Ok(if exports.is_empty() && self.host.is_some() {
            ExitStatus::Finding
        } else {
            ExitStatus::Success
        })
    }
}

fn from_controller(folder: &Folder) -> Result<Table> {
    let configuration: Value = ask(folder, "/table", &[])?;
    Ok(read_configuration(configuration.to_string().as_bytes())?.0)
}

fn grants(table: &Table, export: Export) -> Vec<String> {
    let grant = |(peer, callers): (fedgate_core::PeerRow<'_>, Callers)| match callers {
        Callers::Any => peer.name.to_owned(),
        Callers::Only(patterns) if patterns.is_empty() => {
            format!("{} (audited: nobody is granted)", peer.name)
        }
        Callers::Only(patterns) => {
            let patterns: Vec<_> =
                patterns.iter().map(|p| format!("{}/{}", p.namespace, p.service_account)).collect();
            format!("{} ({})", peer.name, patterns.join(", "))
        }
    };
    table.grants(export).into_iter().map(grant).collect()
}

/// The table with at most `most` peers of an export by name.
fn text(
    table: &Table,
    exports: &[(ServiceName, Export)],
    most: usize,
    terminal: Terminal,
) -> String {
    let mut out =
        format!("{}  generation {}, {}\n", table.trust_domain(), table.generation(), table.hash());
    out += &format!("\npeers ({})\n", table.peer_count());
    for peer in table.peers() {
        let audit = if peer.mode == Mode::Audit { "  audit" } else { "" };
        out += &format!("  {}  {}{audit}\n", peer.name, peer.trust_domain);
    }
    out += &format!("\nexports ({} of {})\n", exports.len(), table.rows());
    for (service, export) in exports {
        let grants = grants(table, *export);
        let to = match grants.is_empty() {
            true => "nobody".to_owned(),
            // Not all are alike if some are for a part of the callers.
            false if grants.iter().any(|grant| grant.contains('(')) => {
                peers(&grants, most, usize::MAX)
            }
            false => peers(&grants, most, table.peer_count() as usize),
        };
        let row = [service.to_string().into(), format!("granted to {to}").into()];
        out += &aligned(&[row.into()], terminal);
    }
    out
}

/// The whole table as a document.
pub(super) fn document(table: &Table) -> Value {
    as_json(table, &table.exports().collect::<Vec<_>>())
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
