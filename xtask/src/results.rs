//! Keeps how each test ended, in target/test-results, for checks that follow the tests.

use crate::target;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write, stdout};
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

/// How many failed tests of a part run again. When more have failed, it was hardly by chance.
const SECOND_TRIES: usize = 3;

/// Runs the tests of a part, passes their output on, and keeps the outcomes. `command` takes
/// libtest's arguments.
///
/// A few tests that failed run once more, one at a time: on a busy machine, a test with real Envoys
/// and API servers can fail although nothing is wrong. That is a fault of the test, so it is
/// reported; `.ci/run` repeats that at its end.
pub(crate) fn run_tests(part: &str, command: impl Fn(&[&str]) -> Result<Command>) -> Result<()> {
    Kept::new(folder(), part, Outcomes::new())?.run_twice(command, &mut stdout())
}

/// Runs some tests of a part, as [`run_tests`] does, but each only once. The outcomes of the others
/// stay.
pub(crate) fn run_some(part: &str, command: &mut Command) -> Result<()> {
    let before = read_file(&folder().join(format!("{part}.txt")))?;
    Kept::new(folder(), part, before)?.run(command, &mut stdout())
}

/// What is kept of a part.
struct Kept {
    folder: PathBuf,
    part: String,
    outcomes: Outcomes,
    /// What the failed tests of the last run have said, a line each.
    causes: String,
}

impl Kept {
    fn new(folder: PathBuf, part: &str, outcomes: Outcomes) -> Result<Self> {
        let kept = Self { folder, part: part.to_owned(), outcomes, causes: String::new() };
        kept.write("second", "")?;
        kept.write("failed", "")?;
        kept.write_outcomes()?;
        Ok(kept)
    }

    fn run_twice(
        mut self,
        command: impl Fn(&[&str]) -> Result<Command>,
        to: &mut impl Write,
    ) -> Result<()> {
        let Err(error) = self.run(&mut command(&[])?, to) else { return Ok(()) };
        let failed = |(_, outcome): &(&String, &Outcome)| **outcome == Outcome::Failed;
        let failed: Vec<_> =
            self.outcomes.iter().filter(failed).map(|(name, _)| name.clone()).collect();
        if failed.is_empty() || failed.len() > SECOND_TRIES {
            return Err(error);
        }
        let names = failed.join(", ");
        eprintln!("xtask: these tests have failed, and run once more, alone: {names}");
        self.outcomes.retain(|name, _| !failed.contains(name));
        let first_causes = std::mem::take(&mut self.causes);
        let mut arguments = vec!["--test-threads=1", "--exact"];
        arguments.extend(failed.iter().map(String::as_str));
        self.run(&mut command(&arguments)?, to)?;
        ensure!(
            failed.iter().all(|name| self.outcomes.get(name) == Some(&Outcome::Passed)),
            "these tests have failed, and cannot run alone: {names}"
        );
        let warning = format!("passed only the second time, which is a fault of the test: {names}");
        eprintln!("xtask: {warning}");
        self.write("second", &format!("{warning}\n{first_causes}"))
    }

    fn write(&self, what: &str, text: &str) -> Result<()> {
        let file = self.folder.join(format!("{}.{what}", self.part));
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// As libtest prints them.
    fn write_outcomes(&self) -> Result<()> {
        let line =
            |(name, outcome): (&String, &Outcome)| format!("test {name} ... {}\n", outcome.word());
        self.write("txt", &self.outcomes.iter().map(line).collect::<String>())
    }

    /// Runs tests, passes their output on, and adds their outcomes.
    fn run(&mut self, command: &mut Command, to: &mut impl Write) -> Result<()> {
        let shown = format!("{command:?}");
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let printed = pass_on(child.stdout.take().context("no output")?, to)?;
        self.outcomes.extend(of_output(&printed));
        self.write_outcomes()?;
        self.causes = causes(&printed);
        self.write("failed", &self.causes)?;
        let status = child.wait()?;
        ensure!(status.success(), "this command failed with {status}: {shown}");
        Ok(())
    }
}

/// The longest cause that is kept, in characters.
const LONGEST_CAUSE: usize = 600;

/// The beginning of what each failed test has printed: libtest puts that under a heading.
fn causes(printed: &str) -> String {
    let mut text = String::new();
    let mut lines = printed.lines();
    while let Some(line) = lines.next() {
        let heading = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        let Some(name) = heading else { continue };
        // The panic names its place, and the next line says why.
        if lines.by_ref().any(|line| line.contains("panicked at ")) {
            let cause: String =
                lines.next().unwrap_or_default().chars().take(LONGEST_CAUSE).collect();
            text.push_str(&format!("{name} failed: {cause}\n"));
        }
    }
    text
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

/// Passes on what comes from a command, and returns it.
pub(crate) fn pass_on(from: impl Read, to: &mut impl Write) -> Result<String> {
    let mut printed = String::new();
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Ok(printed);
        }
        to.write_all(&line)?;
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

    #[test]
    fn the_causes_of_failures_are_read() {
        let printed = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\n\
             thread 'a::b' (7) panicked at a.rs:95:5:\nwaited in vain\n--- a.log\nmore\n\n\
             ---- c stdout ----\nsaid before\n\nthread 'c' (8) panicked at c.rs:1:1:\nleft is right\n\n\
             failures:\n    a::b\n    c\n";
        assert_eq!(causes(printed), "a::b failed: waited in vain\nc failed: left is right\n");
        assert_eq!(causes("test a::b ... ok\n"), "");
    }

    /// Runs a part of which `first` is printed at first, and `second` by what has failed. Returns the
    /// result, the outcomes that are kept, and the warning.
    fn run_part(name: &str, first: &str, second: &str) -> (Result<()>, String, String) {
        let folder =
            crate::target().join("tmp").join(format!("results-{name}-{}", std::process::id()));
        let kept = Kept::new(folder.clone(), "part", Outcomes::new()).unwrap();
        let result = kept.run_twice(
            |arguments| {
                let printed = if arguments.is_empty() { first } else { second };
                let mut command = Command::new("sh");
                let script = "printf '%s' \"$0\"; case $0 in *FAILED*) exit 101;; esac";
                command.arg("-c").arg(script).arg(printed);
                Ok(command)
            },
            &mut Vec::new(),
        );
        let [outcomes, warning] = ["txt", "second"]
            .map(|what| std::fs::read_to_string(folder.join(format!("part.{what}"))).unwrap());
        std::fs::remove_dir_all(folder).unwrap();
        (result, outcomes, warning)
    }

    #[test]
    fn a_failed_test_runs_once_more_and_is_reported() {
        let first =
            "test a ... ok\ntest b ... FAILED\n---- b stdout ----\npanicked at b.rs:1:1:\nwhy\n";
        let (result, outcomes, warning) = run_part("passes", first, "test b ... ok\n");
        result.unwrap();
        assert_eq!(outcomes, "test a ... ok\ntest b ... ok\n");
        assert!(warning.ends_with("a fault of the test: b\nb failed: why\n"), "{warning}");
    }

    #[test]
    fn what_fails_again_has_failed() {
        let first = "test a ... ok\ntest b ... FAILED\n";
        for (name, second) in [("fails", "test b ... FAILED\n"), ("vanishes", "0 tests\n")] {
            let (result, outcomes, warning) = run_part(name, first, second);
            result.unwrap_err();
            assert!(!outcomes.contains("test b ... ok") && warning.is_empty(), "{outcomes}");
        }
    }

    #[test]
    fn many_failures_are_no_chance() {
        let first: String = (0..=SECOND_TRIES).map(|i| format!("test t{i} ... FAILED\n")).collect();
        let (result, outcomes, _) = run_part("many", &first, &first.replace("FAILED", "ok"));
        result.unwrap_err();
        assert_eq!(outcomes, first);
    }
}
