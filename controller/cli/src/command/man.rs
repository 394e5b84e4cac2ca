use super::{Cli, ExitStatus};
use anyhow::{Context, Result, anyhow};
use clap::{Args, CommandFactory};
use fedgate_process::words::io;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ManPages {
    /// Folder for the pages, which is made if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManPages {
    pub(super) fn run(self) -> Result<ExitStatus> {
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder))
            .map_err(|error| anyhow!("{}", io(&error)))
            .with_context(|| format!("cannot write pages to {}", self.folder.display()))?;
        println!("wrote the pages to {}", self.folder.display());
        Ok(ExitStatus::Success)
    }
}
