//! Completions and manual pages, asked as a shell and `man` ask them.

#![expect(clippy::disallowed_methods, reason = "no one reads these files meanwhile")]

use crate::cluster::fedgate;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use xtask::pty::Pty;

/// What `fedgate completions SHELL` prints.
fn script(shell: &str) -> String {
    let output = fedgate().args(["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers after these words, of which the last one is being typed.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let folder = installed("bash", "completions");
    let file = folder.path().join("completions");
    let (typed, before) = words.split_last().unwrap();
    let ask = format!(
        "source '{}' && COMP_WORDS=(fedgate {words}) && COMP_CWORD={} && _fedgate fedgate '{typed}' '{}' && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display(),
        words.len(),
        before.last().unwrap_or(&"fedgate"),
        words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    assert_eq!(offered(&["stat"]), set(&["status"]));
    assert_eq!(offered(&["frob"]), set(&[]), "nothing that does not exist");
    assert!(offered(&["status", "--wa"]).is_superset(&set(&["--wait", "--watch"])));
    assert!(offered(&["validate", "--wa"]).is_empty(), "another command has other flags");
    assert_eq!(offered(&["status", "--output", ""]), set(&["json", "text", "wide", "yaml"]));
    assert!(!offered(&[""]).contains("crd"), "a hidden command is not offered");
}

/// A folder in which a shell finds the completions as it finds those of a package.
fn installed(shell: &str, path: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, script(shell)).unwrap();
    folder
}

/// What fish offers for this line.
fn offered_by_fish(line: &str) -> BTreeSet<String> {
    let folder = installed("fish", "fish/vendor_completions.d/fedgate.fish");
    let mut fish = xtask::shells::fish().unwrap().command();
    fish.env("HOME", folder.path()).env("XDG_DATA_DIRS", folder.path());
    fish.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
    // fish looks for the completions of commands that exist.
    let programs = Path::new(env!("CARGO_BIN_EXE_fedgate")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.into()).chain(std::env::split_paths(&path));
    fish.env("PATH", std::env::join_paths(path).unwrap());
    let output =
        fish.args(["--command", "complete --do-complete $argv[1]", line]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Each line has the word and, after a tab, what it means.
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

#[test]
fn fish_completes_commands_flags_and_values() {
    assert_eq!(offered_by_fish("fedgate stat"), set(&["status"]));
    assert_eq!(offered_by_fish("fedgate frob"), set(&[]), "nothing that does not exist");
    assert_eq!(offered_by_fish("fedgate status --wa"), set(&["--wait", "--watch"]));
    assert_eq!(offered_by_fish("fedgate validate --wa"), set(&[]), "another command's flags");
    let values = set(&["json", "text", "wide", "yaml"]);
    assert_eq!(offered_by_fish("fedgate status --output "), values);
    assert!(!offered_by_fish("fedgate ").contains("crd"), "a hidden command is not offered");
}

/// A zsh on a terminal, as a person has it who has switched completions on.
fn zsh(folder: &Path) -> Pty {
    let shell = xtask::shells::zsh().unwrap();
    let settings = format!(
        "{}fpath=('{}' $fpath)\nautoload -Uz compinit && compinit -u -D\nPS1='ready> '\n",
        shell.places_of_zsh(),
        folder.display()
    );
    std::fs::write(folder.join(".zshrc"), settings).unwrap();
    let mut command = shell.command();
    command.args(["--no-global-rcs", "--interactive"]).env("ZDOTDIR", folder);
    command.env("HOME", folder).env("TERM", "xterm").env_remove("LS_COLORS");
    let mut terminal = Pty::start(&command, (100, 40), "").unwrap();
    terminal.wait_for("the prompt", |terminal| terminal.shown().starts_with("ready>")).unwrap();
    terminal
}

/// Types a line and a tab in zsh, then waits for what is expected on the screen.
fn zsh_shows(typed: &str, expected: &[&str]) -> String {
    let folder = installed("zsh", "_fedgate");
    let mut terminal = zsh(folder.path());
    terminal.type_keys(typed).unwrap();
    let shown = |terminal: &Pty| expected.iter().all(|one| terminal.shown().contains(one));
    terminal.wait_for(&format!("{expected:?} after {typed:?}"), shown).unwrap();
    terminal.shown()
}

#[test]
fn zsh_completes_commands_flags_and_values() {
    zsh_shows("fedgate stat\t", &["ready> fedgate status\n"]);
    zsh_shows(
        "fedgate status --wa\t\t",
        &["--wait ", "--watch ", "Wait until the peers are ready"],
    );
    zsh_shows("fedgate status --output \t", &["json ", "text ", "wide ", "yaml "]);
    // The letter after the tab shows that zsh has answered, and that it has added nothing.
    zsh_shows("fedgate frob\t!", &["ready> fedgate frob!\n"]);
    zsh_shows("fedgate validate --wa\t!", &["ready> fedgate validate --wa!\n"]);
    let commands = zsh_shows("fedgate \t", &["support-bundle ", "validate "]);
    assert!(!commands.contains("crd"), "a hidden command is not offered:\n{commands}");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(script(shell).contains("support-bundle"), "{shell}");
    }
    let output = fedgate().args(["completions", "cmd"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn every_command_has_a_manual_page_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let output = fedgate().arg("man").arg(folder.path().join("man1")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let help = String::from_utf8(fedgate().arg("help").output().unwrap().stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let mut commands =
        listed.filter_map(|line| line.split_whitespace().next()).collect::<BTreeSet<_>>();
    commands.remove("help");
    assert!(commands.len() > 10, "{help}");
    for command in commands {
        let page = folder.path().join(format!("man1/fedgate-{command}.1"));
        // Messages of groff are about mistakes in the page.
        let mut groff = Command::new("groff");
        let shown = groff.args(["-Kutf8", "-man", "-ww", "-Tutf8", "-P-cbou"]).arg(&page).output();
        let shown = shown.expect("groff, of the package groff-base");
        let (text, warnings) =
            (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        assert!(shown.status.success() && warnings.is_empty(), "{command}: {warnings}");
        assert!(text.contains("SYNOPSIS"), "{text}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(&format!("fedgate {command}")),
            "{command} is called by its words: {text}"
        );
    }
    let page = std::fs::read_to_string(folder.path().join("man1/fedgate-status.1")).unwrap();
    assert!(page.contains("Example") && page.contains("\\-\\-wait"), "{page}");
    assert!(folder.path().join("man1/fedgate-peer-approve.1").exists());
    assert!(!folder.path().join("man1/fedgate-crd.1").exists(), "a hidden command has none");
}
