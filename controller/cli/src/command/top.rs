//! `fedgate top`: connections, refusals and bytes, live, from the counters of the Envoys.

mod gather;
mod report;
mod view;

use super::envoys::EnvoyAddresses;
use super::target::Target;
use super::{ExitStatus, Output};
use crate::terminal::Terminal;
use crate::terminal::screen::Screen;
use anyhow::Result;
use clap::Args;
use fedgate_process::signals::Signals;
use gather::Gather;
use report::Report;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print the counters once, without rates. In a pipe this is the default
    #[arg(long)]
    once: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    envoys: EnvoyAddresses,
    #[command(flatten)]
    target: Target,
}

impl Top {
    pub(super) fn run(self, terminal: Terminal) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut gather = Gather::new(&self.target, &self.envoys);
            let live = terminal.is_terminal && !self.once && !self.output.is_document();
            match live {
                true => watch(&mut gather, self.output, terminal).await,
                false => once(&mut gather, self.output, terminal).await,
            }
        })
    }
}

async fn once(gather: &mut Gather<'_>, output: Output, terminal: Terminal) -> Result<ExitStatus> {
    let report = Report::of(&gather.look().await?);
    match output.of(&report)? {
        Some(document) => print!("{document}"),
        None => print!("{}", view::text(&report, None, output.layout(terminal).0)),
    }
    Ok(if report.is_complete() { ExitStatus::Success } else { ExitStatus::Finding })
}

async fn watch(gather: &mut Gather<'_>, output: Output, terminal: Terminal) -> Result<ExitStatus> {
    let mut signals = Signals::new()?;
    let mut last = (Report::of(&gather.look().await?), Instant::now());
    let mut screen = Screen::enter();
    screen.draw(&view::text(&last.0, None, output.layout(terminal).0), terminal);
    loop {
        tokio::select! {
            () = signals.stop_asked() => return Ok(ExitStatus::Success),
            never = screen.obey_job_control() => match never {},
            () = sleep(INTERVAL) => {}
        }
        let look = tokio::select! {
            () = signals.stop_asked() => return Ok(ExitStatus::Success),
            never = screen.obey_job_control() => match never {},
            look = gather.look() => look,
        };
        let terminal = terminal.resized();
        match look {
            Ok(look) => {
                let (report, now) = (Report::of(&look), Instant::now());
                let before = Some((&last.0, now - last.1));
                screen.draw(&view::text(&report, before, output.layout(terminal).0), terminal);
                last = (report, now);
            }
            Err(error) => {
                let why = fedgate_process::words::chain(&error);
                let text = view::text(&last.0, None, output.layout(terminal).0);
                screen.draw(&format!("NO ANSWER: {why}\n\n{text}"), terminal);
            }
        }
    }
}
