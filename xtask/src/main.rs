//! `cargo xtask`: the project's own commands.

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the gateway filter and print where it is.
    Wasm,
    /// Fetch Envoy unless ENVOY points at one, and print where it is.
    Envoy,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Wasm => println!("{}", xtask::wasm::build()?.display()),
        Command::Envoy => println!("{}", xtask::envoy::path()?.display()),
    }
    Ok(())
}
