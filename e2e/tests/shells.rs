//! The completions in a real zsh and a real fish. Those of bash, which every machine has, are tested
//! with the rest of the command line.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::programs;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use xtask::pty::Pty;
use xtask::shells;

/// A folder in which a shell finds the completions as it finds those of a package.
fn installed(shell: &str, path: &str) -> Result<TempDir> {
    let output = Command::new(programs::fedgate()?).args(["completions", shell]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(path);
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    std::fs::write(file, output.stdout)?;
    Ok(folder)
}

/// Checks what fish offers for this line.
fn fish_offers(line: &str, expected: &[&str]) -> Result<()> {
    let offered = offered_by_fish(line)?;
    let expected = expected.iter().copied().map(str::to_owned).collect();
    ensure!(offered == expected, "{line:?}: expected {expected:?}, found {offered:?}");
    Ok(())
}

fn offered_by_fish(line: &str) -> Result<BTreeSet<String>> {
    let folder = installed("fish", "fish/vendor_completions.d/fedgate.fish")?;
    let mut fish = shells::fish()?.command();
    fish.env("HOME", folder.path()).env("XDG_DATA_DIRS", folder.path());
    fish.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
    // fish looks for the completions of commands that exist.
    let program = programs::fedgate()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        program.parent().map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
    fish.env("PATH", std::env::join_paths(path)?);
    let output = fish.args(["--command", "complete --do-complete $argv[1]", line]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Each line has the word and, after a tab, what it means.
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect())
}

#[test]
fn fish_completes_commands_flags_and_values() -> Result<()> {
    fish_offers("fedgate stat", &["status"])?;
    // Nothing that does not exist, and no other command's flags.
    fish_offers("fedgate frob", &[])?;
    fish_offers("fedgate status --wa", &["--wait", "--watch"])?;
    fish_offers("fedgate validate --wa", &[])?;
    fish_offers("fedgate status --output ", &["json", "text", "wide", "yaml"])?;
    let commands = offered_by_fish("fedgate ")?;
    ensure!(!commands.contains("crd"), "a hidden command is offered: {commands:?}");
    Ok(())
}

/// A zsh on a terminal, as a person has it who has switched completions on.
fn zsh(folder: &Path) -> Result<Pty> {
    let shell = shells::zsh()?;
    let settings = format!(
        "{}fpath=('{}' $fpath)\nautoload -Uz compinit && compinit -u -D\nPS1='ready> '\n",
        shell.places_of_zsh(),
        folder.display()
    );
    std::fs::write(folder.join(".zshrc"), settings)?;
    let mut command = shell.command();
    command.args(["--no-global-rcs", "--interactive"]).env("ZDOTDIR", folder);
    command.env("HOME", folder).env("TERM", "xterm").env_remove("LS_COLORS");
    let mut terminal = Pty::start(&command, (100, 40), "")?;
    terminal.wait_for("the prompt", |terminal| terminal.shown().starts_with("ready>"))?;
    Ok(terminal)
}

/// Types a line and a tab in zsh, then waits for what is expected on the screen.
fn zsh_shows(typed: &str, expected: &[&str]) -> Result<String> {
    let folder = installed("zsh", "_fedgate")?;
    let mut terminal = zsh(folder.path())?;
    terminal.type_keys(typed)?;
    let shown = |terminal: &Pty| expected.iter().all(|one| terminal.shown().contains(one));
    terminal.wait_for(&format!("{expected:?} after {typed:?}"), shown)?;
    Ok(terminal.shown())
}

#[test]
fn zsh_completes_commands_flags_and_values() -> Result<()> {
    zsh_shows("fedgate stat\t", &["ready> fedgate status\n"])?;
    let explained = ["--wait ", "--watch ", "Wait until the peers are ready"];
    zsh_shows("fedgate status --wa\t\t", &explained)?;
    zsh_shows("fedgate status --output \t", &["json ", "text ", "wide ", "yaml "])?;
    // The letter after the tab shows that zsh has answered, and that it has added nothing.
    zsh_shows("fedgate frob\t!", &["ready> fedgate frob!\n"])?;
    zsh_shows("fedgate validate --wa\t!", &["ready> fedgate validate --wa!\n"])?;
    let commands = zsh_shows("fedgate \t", &["support-bundle ", "validate "])?;
    ensure!(!commands.contains("crd"), "a hidden command is offered:\n{commands}");
    Ok(())
}
