//! The workflow files and `.ci/run` name commands and scripts that exist, and pin their actions.

use crate::sources::{below, read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn workflows() -> Vec<PathBuf> {
    below(".github/workflows", "yml")
}

/// The words after `cargo xtask` in a script.
fn commands(script: &str) -> Vec<&str> {
    let code = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let calls = code.flat_map(|line| line.split("cargo xtask ").skip(1));
    calls
        .filter_map(|rest| rest.split_whitespace().next())
        .map(|word| word.trim_end_matches([';', ')', '`']))
        .collect()
}

/// The actions that a workflow uses.
fn actions(workflow: &str) -> Vec<&str> {
    workflow.split("uses: ").skip(1).filter_map(|rest| rest.lines().next()).collect()
}

fn is_command(word: &str) -> bool {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let help = xtask.args([word, "--help"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    help.unwrap().success()
}

#[test]
fn every_command_of_a_workflow_and_of_the_checks_exists() {
    let files = workflows().into_iter().chain([PathBuf::from(".ci/run")]);
    for file in files {
        let script = read(&file);
        for word in commands(&script) {
            assert!(is_command(word), "{}: there is no cargo xtask {word}", file.display());
        }
    }
    assert!(!is_command("no-such-command"));
    assert!(commands(&read(".ci/run")).len() > 8);
}

#[test]
fn a_workflow_runs_the_checks() {
    let runs = |file: &PathBuf| read(file).contains("run: bash .ci/run\n");
    assert!(workflows().iter().any(runs), "no workflow runs .ci/run");
}

/// A tag can be moved to other code, a commit cannot.
#[test]
fn actions_are_pinned_to_commits() {
    for file in workflows() {
        let workflow = read(&file);
        assert!(!actions(&workflow).is_empty(), "{}", file.display());
        for action in actions(&workflow) {
            let commit = action.split(['@', ' ']).nth(1).unwrap_or_default();
            let is_pinned = commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_pinned, "{}: {action} is not pinned to a commit", file.display());
        }
    }
    assert_eq!(actions("- uses: a/b@v1 # c\n  with:\n"), ["a/b@v1 # c"]);
}

#[test]
fn commands_are_found_in_scripts() {
    let script = "# cargo xtask no\n(cd x && cargo xtask bench -- a) || true\ncargo xtask fmt; b\n";
    assert_eq!(commands(script), ["bench", "fmt"]);
}
