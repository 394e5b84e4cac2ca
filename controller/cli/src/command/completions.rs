use super::{Cli, ExitStatus};
use anyhow::Result;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitStatus> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut shown(), "fedgate", &mut script);
        print!("{}", String::from_utf8_lossy(&script));
        Ok(ExitStatus::Success)
    }
}

/// The command line without hidden commands, which the scripts would offer.
fn shown() -> Command {
    let whole = Cli::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let command = Command::new("fedgate").version(env!("CARGO_PKG_VERSION"));
    command.args(whole.get_arguments()).subcommands(shown)
}
