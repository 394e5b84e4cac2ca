//! `fedgate names`: the names of imports, for people and for name servers.

mod formats;
mod listening;
mod view;

use super::source::Source;
use super::target::{Platform, Target};
use super::{ExitStatus, Output};
use crate::terminal::Terminal;
use anyhow::Result;
use clap::{Args, ValueEnum};
use fedgate_kubernetes::inspect::names::NameService;
use view::View;

#[derive(Debug, Args)]
pub(crate) struct NamesCommand {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    target: Target,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// Lines of /etc/hosts
    Hosts,
    /// A server block for CoreDNS
    Corefile,
    /// For programs
    Json,
    /// For programs
    Yaml,
}

impl NamesCommand {
    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let view = runtime.block_on(self.view())?;
        let text = match self.output {
            Format::Text => formats::text(&view, terminal),
            Format::Hosts => formats::hosts(&view),
            Format::Corefile => formats::corefile(&view)?,
            Format::Json => Output::Json.of(&view)?.unwrap_or_default(),
            Format::Yaml => Output::Yaml.of(&view)?.unwrap_or_default(),
        };
        print!("{text}");
        // Those formats leave out a name without an address.
        if let (Format::Hosts | Format::Corefile, Some(problem)) = (self.output, view.unnamed()) {
            eprintln!("warning: {problem}");
        }
        Ok(if view.is_well() { ExitStatus::Success } else { ExitStatus::Finding })
    }

    async fn view(&self) -> Result<View> {
        let status = Source::of(&self.target).status().await?;
        match self.target.platform() {
            Platform::Files(folder) => {
                let folder = std::path::absolute(&folder.dir)?;
                Ok(View::of_site(&status, &folder, &listening::sockets()))
            }
            Platform::Kubernetes(cluster) => {
                let client = cluster.client().await?;
                let namespaces = cluster.namespaces(&client).await;
                let service = NameService::take(&client, &namespaces).await?;
                Ok(View::of_mesh(&status, service))
            }
        }
    }
}
