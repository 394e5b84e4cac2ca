//! `fedgate status --watch`.

use super::{changes, pick, shown};
use crate::command::source::Source;
use crate::command::{ExitStatus, Output};
use crate::terminal::Terminal;
use crate::terminal::screen::Screen;
use anyhow::Result;
use fedgate_engine::status::Status;
use fedgate_process::signals::Signals;
use fedgate_process::words::chain;
use jiff::{SignedDuration, Timestamp};
use std::convert::Infallible;
use tokio::time::sleep;

/// Shows the status until the command is asked to stop.
pub(super) async fn watch(
    source: &mut Source<'_>,
    names: &[String],
    output: Output,
    terminal: Terminal,
) -> Result<ExitStatus> {
    let mut signals = Signals::new()?;
    // Wrong names, and clusters that cannot be asked at all, are an error as without --watch.
    let mut status = pick::peers(source.status().await?, names)?;
    let mut view = View::open(&status, output, terminal)?;
    loop {
        tokio::select! {
            () = signals.stop_asked() => return Ok(ExitStatus::Success),
            never = view.obey_job_control() => match never {},
            () = sleep(source.interval()) => {}
        }
        let answer = tokio::select! {
            () = signals.stop_asked() => return Ok(ExitStatus::Success),
            never = view.obey_job_control() => match never {},
            answer = source.status() => answer,
        };
        match answer.and_then(|answer| pick::peers(answer, names)) {
            Ok(now) => {
                view.update(&status, &now)?;
                status = now;
            }
            Err(error) => view.problem(&status, &chain(&error))?,
        }
    }
}

/// Where it is shown.
enum View {
    Screen {
        screen: Screen,
        output: Output,
        terminal: Terminal,
    },
    /// A pipe gets what changes. `problem` is the last error, until there is an answer again.
    Pipe {
        output: Output,
        problem: Option<String>,
    },
}

impl View {
    fn open(status: &Status, output: Output, terminal: Terminal) -> Result<Self> {
        if !terminal.is_terminal || output.is_document() {
            print!("{}", entry(status, output)?);
            return Ok(Self::Pipe { output, problem: None });
        }
        let mut view = Self::Screen { screen: Screen::enter(), output, terminal };
        view.update(status, status)?;
        Ok(view)
    }

    /// On a screen, lets the user suspend the command. Never ends.
    async fn obey_job_control(&mut self) -> Infallible {
        match self {
            Self::Screen { screen, .. } => screen.obey_job_control().await,
            Self::Pipe { .. } => std::future::pending().await,
        }
    }

    fn update(&mut self, before: &Status, now: &Status) -> Result<()> {
        match self {
            Self::Screen { screen, output, terminal } => {
                let terminal = terminal.resized();
                screen.draw(&shown(now, *output, terminal)?, terminal);
            }
            Self::Pipe { output, problem } => {
                *problem = None;
                let [before, now] = [before, now].map(|status| changes::settled(status.clone()));
                if before == now {
                    return Ok(());
                }
                if output.is_document() {
                    print!("{}", entry(&now, *output)?);
                } else {
                    let time = clock();
                    for line in changes::lines(&before, &now, Timestamp::now()) {
                        println!("{time}  {line}");
                    }
                }
            }
        }
        Ok(())
    }

    /// What was last known stays, below why there is nothing newer.
    fn problem(&mut self, last: &Status, why: &str) -> Result<()> {
        match self {
            Self::Screen { screen, output, terminal } => {
                let terminal = terminal.resized();
                let known = shown(last, *output, terminal)?;
                screen.draw(&format!("NO ANSWER at {}: {why}\n\n{known}", clock()), terminal);
            }
            Self::Pipe { problem, .. } => {
                if problem.as_deref() != Some(why) {
                    eprintln!("{}  error: {why}", clock());
                    *problem = Some(why.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// A document on a line of its own in JSON, so that a reader can tell them apart; in YAML after a
/// line `---`.
fn entry(status: &Status, output: Output) -> Result<String> {
    Ok(match output {
        Output::Json => format!("{}\n", serde_json::to_string(status)?),
        Output::Yaml => format!("---\n{}", shown(status, output, Terminal::PIPE)?),
        Output::Text | Output::Wide => shown(status, output, Terminal::PIPE)?,
    })
}

/// The time in whole seconds.
fn clock() -> String {
    let now = Timestamp::now().round(jiff::Unit::Second);
    now.unwrap_or_else(|_| Timestamp::now() - SignedDuration::ZERO).to_string()
}
