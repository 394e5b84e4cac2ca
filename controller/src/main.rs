//! `fedgate`: the controller and the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    fedgate_controller::command::Cli::read().run()
}
