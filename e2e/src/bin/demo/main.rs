//! `cargo xtask demo`: three federated clusters on this machine, and what fedgate does, in eleven scenes.

mod kept;
mod scenes;
mod screen;
mod stage;

use anyhow::Result;
use clap::Parser;
use fedgate_e2e::run_folder::RunFolder;
use screen::Screen;
use stage::Stage;
use std::process::ExitCode;
use std::time::Instant;

/// Three federated clusters on this machine, and what fedgate does, in eleven scenes.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Cli {
    /// Leave the clusters running afterwards, and write target/demo/demo.json, which says where everything is.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Whatever is running is killed when `demo` is dropped, which an interrupt does.
    let outcome = tokio::select! {
        outcome = demo(cli.keep) => outcome,
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
async fn demo(keep: bool) -> Result<bool> {
    let mut run = RunFolder::new("demo")?;
    let result = perform(&run, keep).await;
    if !matches!(result, Ok(true)) {
        run.keep();
        eprintln!("logs and cluster folders are in {}", run.path().display());
    }
    result
}

async fn perform(run: &RunFolder, keep: bool) -> Result<bool> {
    let mut screen = Screen::new();
    let start = Instant::now();
    screen.opening();
    let mut stage = Stage::build(run).await?;
    screen.clusters(&stage.federation.clusters, start.elapsed());
    scenes::all(&mut stage, &mut screen).await;
    let good = screen.closing(start.elapsed());
    if keep {
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
