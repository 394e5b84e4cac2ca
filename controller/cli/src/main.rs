//! `fedgate`: the controller and the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    fedgate_cli::command::Cli::read().run()
}
