//! Keeps how each test ended, in target/test-results, for checks that follow the tests.

use crate::target;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How a test ended. Of several tests with the same name, the worst outcome counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It did not run.
    Ignored,
    /// It passed.
    Passed,
    /// It failed.
    Failed,
}

impl Outcome {
    /// The words that libtest prints.
    const WORDS: [(&'static str, Self); 3] =
        [("ok", Self::Passed), ("FAILED", Self::Failed), ("ignored", Self::Ignored)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, outcome)| *outcome == self).map_or("", |(word, _)| word)
    }
}

/// The outcomes by the tests' names, without the names of their programs.
pub(crate) type Outcomes = BTreeMap<String, Outcome>;

/// Runs a command that runs tests, passes its output on, and keeps the outcomes as those of `part`.
/// If these are not all tests of the part, the outcomes of the others stay.
pub(crate) fn run_tests(part: &str, command: &mut Command, all: bool) -> Result<()> {
    let file = folder().join(format!("{part}.txt"));
    let mut outcomes = if all { Outcomes::new() } else { read_file(&file)? };
    write_file(&file, &outcomes)?;
    let shown = format!("{command:?}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {shown}"))?;
    let printed = pass_on(child.stdout.take().context("no output")?)?;
    outcomes.extend(of_output(&printed));
    write_file(&file, &outcomes)?;
    let status = child.wait()?;
    ensure!(status.success(), "this command failed with {status}: {shown}");
    Ok(())
}

/// The outcomes of all parts.
pub(crate) fn all() -> Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let Ok(files) = std::fs::read_dir(folder()) else { return Ok(outcomes) };
    for file in files {
        for (name, outcome) in read_file(&file?.path())? {
            note(&mut outcomes, name, outcome);
        }
    }
    Ok(outcomes)
}

/// Prints what comes from a command, and returns it.
pub(crate) fn pass_on(from: impl Read) -> Result<String> {
    let mut printed = String::new();
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Ok(printed);
        }
        std::io::stdout().write_all(&line)?;
        printed += &String::from_utf8_lossy(&line);
    }
}

fn folder() -> PathBuf {
    target().join("test-results")
}

/// Reads what libtest prints: `test NAME ... ok`, or `test NAME ... ignored, REASON`.
fn of_output(printed: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in printed.lines() {
        let Some((name, end)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            continue;
        };
        let word = end.split(", ").next().unwrap_or_default();
        let Some((_, outcome)) = Outcome::WORDS.iter().find(|(known, _)| *known == word) else {
            continue;
        };
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        note(&mut outcomes, name.to_owned(), *outcome);
    }
    outcomes
}

fn note(outcomes: &mut Outcomes, name: String, outcome: Outcome) {
    let known = outcomes.entry(name).or_insert(outcome);
    *known = outcome.max(*known);
}

fn read_file(file: &std::path::Path) -> Result<Outcomes> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Outcomes::new()),
        text => text.with_context(|| format!("cannot read {}", file.display()))?,
    };
    // Each line is as libtest prints it.
    Ok(of_output(&text))
}

fn write_file(file: &std::path::Path, outcomes: &Outcomes) -> Result<()> {
    let line =
        |(name, outcome): (&String, &Outcome)| format!("test {name} ... {}\n", outcome.word());
    let text: String = outcomes.iter().map(line).collect();
    std::fs::create_dir_all(folder())
        .and_then(|()| std::fs::write(file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn the_outcomes_of_tests_are_read_and_the_worst_counts() {
        let printed = "running 5 tests\ntest a::b ... ok\ntest a::c ... ignored, needs IPv6\n\
             test a::d - should panic ... FAILED\ntest twice ... ok\ntest twice ... FAILED\n\
             test src/lib.rs - x (line 3) ... ok\ntest half ... \ntest result: ok. 1 passed\n";
        let outcomes = of_output(printed);
        let of = |name: &str| outcomes.get(name).copied();
        assert_eq!(of("a::b"), Some(Outcome::Passed));
        assert_eq!(of("a::c"), Some(Outcome::Ignored));
        assert_eq!(of("a::d"), Some(Outcome::Failed));
        assert_eq!(of("twice"), Some(Outcome::Failed));
        assert_eq!((of("half"), of("result: ok. 1 passed")), (None, None));
    }
}
