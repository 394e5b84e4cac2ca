//! `fedgate ui`: the operators' page.

mod browser;
mod cluster;

use super::ExitStatus;
use super::ask::{address, ask};
use super::target::{Platform, Target};
use anyhow::{Result, bail};
use clap::Args;
use fedgate_files::admin::AdminAddress;

#[derive(Debug, Args)]
pub(crate) struct UiCommand {
    /// Local port of the page on Kubernetes; in files mode it is at admin.listen [default: a free
    /// one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only print the address of the page, and open no browser
    #[arg(long)]
    no_browser: bool,
    #[command(flatten)]
    target: Target,
}

impl UiCommand {
    pub(super) fn run(self) -> Result<ExitStatus> {
        match self.target.platform() {
            Platform::Files(folder) => {
                if let Some(port) = self.port {
                    bail!(
                        "--port {port}: in files mode the controller serves the page; set admin.listen in fedgate.yaml"
                    );
                }
                let AdminAddress { address } = address(&folder)?;
                // Otherwise the browser would be the first to notice that nobody answers.
                ask::<serde_json::Value>(&folder, "/page/overview", &[])?;
                self.show(&format!("http://{address}/"));
            }
            Platform::Kubernetes(cluster) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(cluster::serve(cluster, self.port.unwrap_or(0), |url| {
                    self.show(url);
                    println!("It shows the cluster until this command ends (Ctrl-C).");
                }))?;
            }
        }
        Ok(ExitStatus::Success)
    }

    fn show(&self, url: &str) {
        println!("The page is at {url}");
        if !self.no_browser && !browser::open(url) {
            eprintln!("no browser could be opened; open this address in one");
        }
    }
}
