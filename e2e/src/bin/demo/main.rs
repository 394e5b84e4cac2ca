//! `cargo xtask demo`: three federated clusters on this machine show in fourteen scenes what fedgate
//! does.

mod kept;
mod page;
mod scenes;
mod screen;
mod stage;

use anyhow::{Context, Result};
use clap::Parser;
use fedgate_e2e::run_folder::RunFolder;
use screen::Screen;
use stage::Stage;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Run three federated clusters on this machine and show in fourteen scenes what fedgate does.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Cli {
    /// Keep the clusters running afterwards, and list their addresses in target/demo/demo.json.
    #[arg(long)]
    keep: bool,
    /// Compare the output with this page, and fail if they differ.
    #[arg(long, value_name = "PAGE")]
    compare: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // An interrupt drops `demo`, which kills every process that it started.
    let outcome = tokio::select! {
        outcome = demo(&cli) => outcome,
        () = interrupted() => {
            eprintln!("\ninterrupted; every process has been stopped");
            return ExitCode::from(130);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nthe demo could not go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns true if all scenes went as expected.
async fn demo(cli: &Cli) -> Result<bool> {
    let mut run = RunFolder::new("demo")?;
    let result = perform(&run, cli).await;
    if !matches!(result, Ok(true)) {
        run.keep();
        eprintln!("logs and cluster folders are in {}", run.path().display());
    }
    result
}

async fn perform(run: &RunFolder, cli: &Cli) -> Result<bool> {
    let mut screen = Screen::new();
    let start = Instant::now();
    screen.opening();
    let mut stage = Stage::build(run).await?;
    screen.clusters(&stage.federation.clusters, start.elapsed());
    scenes::all(&mut stage, &mut screen).await;
    let good = screen.closing(start.elapsed());
    if let Some(path) = &cli.compare {
        let page = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        page::compare(&page, screen.printed())
            .with_context(|| format!("{} is out of date", path.display()))?;
    }
    if cli.keep {
        let kept = kept::write(&stage).await?;
        screen.kept(kept.path());
        std::future::pending::<()>().await;
    }
    Ok(good)
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
        }
        _ => std::future::pending().await,
    }
}
