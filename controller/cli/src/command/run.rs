use super::{ExitStatus, Folder, Logging};
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    logging: Logging,
}

impl Run {
    pub(super) fn run(self) -> Result<ExitStatus> {
        fedgate_process::logging::start(self.logging.log_format);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(fedgate_files::run::run(&self.folder.dir));
        // Does not wait for threads that still block, such as on a name lookup.
        runtime.shutdown_background();
        ended.map(|()| ExitStatus::Success)
    }
}
