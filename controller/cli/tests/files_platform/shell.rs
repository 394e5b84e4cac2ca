//! Completions and manual pages, asked as a shell and `man` ask them.

#![expect(clippy::disallowed_methods, reason = "no one reads these files meanwhile")]

use crate::cluster::fedgate;
use std::collections::BTreeSet;
use std::process::Command;

/// What `fedgate completions SHELL` prints.
fn script(shell: &str) -> String {
    let output = fedgate().args(["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers after these words, of which the last one is being typed.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("completions");
    std::fs::write(&file, script("bash")).unwrap();
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
