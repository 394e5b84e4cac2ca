//! `cargo xtask demo`: three federated clusters on this machine, and what fedgate does, in eleven scenes.

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

/// Three federated clusters on this machine, and what fedgate does, in eleven scenes.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Cli {
    /// Leave the clusters running afterwards, and write target/demo/demo.json, which says where everything is.
    #[arg(long)]
    keep: bool,
    /// Compare what is printed with the output that this page shows, and fail when it is another.
    #[arg(long, value_name = "PAGE")]
    compare: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Whatever is running is killed when `demo` is dropped, which an interrupt does.
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

/// Whether all scenes went as expected.
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
        let page = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        page::compare(&page, screen.said()).with_context(|| format!("{} is out of date", path.display()))?;
    }
    if cli.keep {
        let kept = kept::write(&stage).await?;
        screen.kept(kept.path());
        std::future::pending::<()>().await;
    }
    Ok(good)
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
        }
        _ => std::future::pending().await,
    }
}
