//! `fedgate status`: once, again and again, or until the peers are ready.

mod changes;
pub(super) mod pick;
mod seen_by;
mod text;
mod wait;
mod watch;

use super::source::Source;
use super::target::Target;
use super::{ExitStatus, Output};
use crate::terminal::Terminal;
use anyhow::Result;
use clap::Args;
use fedgate_engine::status::Status;
use fedgate_federation::Severity;
use fedgate_federation::federate::ConditionStatus;
use jiff::Timestamp;
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct StatusCommand {
    /// Show only these peers, what is exported to them and imported from them [default: all]
    #[arg(value_name = "PEER")]
    peers: Vec<String>,
    /// Show each change, until Ctrl-C. On a terminal the screen is drawn anew; a pipe gets a line
    /// for each change
    #[arg(short, long, conflicts_with = "wait")]
    watch: bool,
    /// Wait until the peers are ready, then exit with 0; with 1 at the timeout
    #[arg(long)]
    wait: bool,
    /// How long --wait waits, such as 90s or 10m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = wait::timeout, requires = "wait")]
    timeout: Duration,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl StatusCommand {
    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut source = Source::of(&self.target);
            if self.watch {
                return watch::watch(&mut source, &self.peers, self.output, terminal).await;
            }
            if self.wait {
                return wait::wait(&mut source, &self.peers, self.timeout, self.output, terminal)
                    .await;
            }
            let status = pick::peers(source.status().await?, &self.peers)?;
            print!("{}", shown(&status, self.output, terminal)?);
            Ok(if is_well(&status) { ExitStatus::Success } else { ExitStatus::Finding })
        })
    }
}

fn shown(status: &Status, output: Output, terminal: Terminal) -> Result<String> {
    Ok(match output.of(status)? {
        Some(document) => document,
        None => {
            let (terminal, wide) = output.layout(terminal);
            text::text(status, Timestamp::now(), terminal, wide)
        }
    })
}

/// Returns true if all peers are ready, nothing is in error and the gateway has the table.
fn is_well(status: &Status) -> bool {
    status.peers.iter().all(|peer| peer.ready)
        && status.findings.iter().all(|finding| finding.severity != Severity::Error)
        && is_loaded(status)
}

fn is_loaded(status: &Status) -> bool {
    let loaded = status.table.loaded.as_ref();
    loaded.is_none_or(|loaded| loaded.status != ConditionStatus::False)
}
