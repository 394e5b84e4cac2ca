use super::{ExitStatus, Logging};
use anyhow::Result;
use clap::Args;
use fedgate_kubernetes::settings::ControllerSettings;

#[derive(Debug, Args)]
pub(crate) struct Controller {
    #[command(flatten)]
    settings: ControllerSettings,
    #[command(flatten)]
    logging: Logging,
}

impl Controller {
    pub(super) fn run(self) -> Result<ExitStatus> {
        fedgate_process::logging::start(self.logging.log_format);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(fedgate_kubernetes::run::run(self.settings));
        // Does not wait for threads that still block, such as on a name lookup.
        runtime.shutdown_background();
        ended.map(|()| ExitStatus::Success)
    }
}
