use super::{ExitStatus, Logging};
use anyhow::Result;
use clap::Args;
use fedgate_kubernetes::dns::DnsSettings;

#[derive(Debug, Args)]
pub(crate) struct Dns {
    #[command(flatten)]
    settings: DnsSettings,
    #[command(flatten)]
    logging: Logging,
}

impl Dns {
    pub(super) fn run(self) -> Result<ExitStatus> {
        fedgate_process::logging::start(self.logging.log_format);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(fedgate_kubernetes::dns::run(self.settings))?;
        Ok(ExitStatus::Success)
    }
}
