//! `fedgate`: the controller and the command line.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    fedgate_controller::command::Cli::parse().run()
}
