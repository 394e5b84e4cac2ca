//! Runs the end-to-end tests on each release of Envoy, and records the outcome in the docs.

use crate::results::pass_on;
use crate::{envoy, root, tests};
use anyhow::{Context, Result, ensure};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The page with the outcome of the last recorded run.
const PAGE: &str = "docs/versions.md";
/// The lines around the recorded rows.
const BEGIN: &str = "<!-- recorded by `cargo xtask e2e envoy --versions --record` -->";
const END: &str = "<!-- end of the recorded rows -->";

/// The outcome of the tests on one release.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Outcome {
    passed: usize,
    failed: usize,
    /// The tests that did not run, each with its reason.
    left_out: Vec<String>,
    /// Whether cargo succeeded. It also fails when a test does not compile.
    succeeded: bool,
    took: Duration,
}

/// Runs the tests on each release of Envoy that fedgate is tested with, and prints the outcome as
/// rows of the table in the docs. After a failure the next release is still tested. With `record`,
/// writes the rows into the page if all tests passed.
///
/// # Errors
/// When something cannot be built or fetched, when tests have failed, after all releases, or when
/// the rows cannot be recorded.
pub fn test_each(record: bool, more: &[String]) -> Result<()> {
    ensure!(!record || more.is_empty(), "--record needs all tests: remove {}", more.join(" "));
    tests::prepare(&["fedgate"])?;
    let mut outcomes = Vec::new();
    for release in &envoy::RELEASES {
        tests::step(&format!("running the end-to-end tests on Envoy {}", release.version));
        outcomes.push((release, test(release, more)?));
    }
    let rows = table(&outcomes, &today());
    print!("{rows}");
    let failed = outcomes.iter().filter(|(_, outcome)| !outcome.succeeded);
    let failed: Vec<_> = failed.map(|(release, _)| release.version).collect();
    ensure!(failed.is_empty(), "tests failed on these releases of Envoy: {}", failed.join(", "));
    if record { write_page(&rows) } else { Ok(()) }
}

/// Runs the tests on one release. Passes their output on.
fn test(release: &envoy::Release, more: &[String]) -> Result<Outcome> {
    // It may have to be fetched, which is not part of the tests' time.
    let envoy = release.path()?;
    let start = Instant::now();
    let mut command = tests::envoy_tests();
    command.env("ENVOY", envoy).args(more);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let stdout = child.stdout.take().context("no output")?;
    let printed = pass_on(stdout, &mut std::io::stdout())?;
    let succeeded = child.wait()?.success();
    Ok(Outcome { succeeded, took: start.elapsed(), ..read(&printed) })
}

/// Reads the output of `cargo test`, which may have run several test programs.
fn read(printed: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in printed.lines() {
        if let Some(counts) = line.strip_prefix("test result: ") {
            outcome.passed += count(counts, "passed");
            outcome.failed += count(counts, "failed");
        }
        // `test NAME ... ignored, REASON`
        if let Some((test, reason)) = line.split_once(" ... ignored") {
            let test = test.trim_start_matches("test ");
            outcome.left_out.push(format!("{test}: {}", reason.trim_start_matches(", ")));
        }
    }
    outcome
}

/// The number before a word: 3 in `ok. 3 passed; 0 failed`.
fn count(counts: &str, word: &str) -> usize {
    let (before, _) = counts.split_once(&format!(" {word}")).unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// The rows of the table in the docs.
fn table(outcomes: &[(&envoy::Release, Outcome)], date: &str) -> String {
    let mut rows = String::from(
        "| Envoy | Istio with this Envoy | last run | passed | failed | left out | time |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (release, outcome) in outcomes {
        let left_out = match &outcome.left_out[..] {
            [] => "none".to_owned(),
            tests => tests.join("; "),
        };
        rows += &format!(
            "| {} | {} | {date} | {} | {} | {left_out} | {} s |\n",
            release.version,
            release.istio,
            outcome.passed,
            outcome.failed,
            outcome.took.as_secs()
        );
    }
    rows
}

/// Replaces the rows on the page.
fn write_page(rows: &str) -> Result<()> {
    let path = root().join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let page =
        with_rows(&page, rows).with_context(|| format!("{PAGE}: expected {BEGIN} and {END}"))?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))
}

fn with_rows(page: &str, rows: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{rows}\n{END}{after}"))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn tests_of_all_programs_are_counted() {
        let printed = "running 3 tests\ntest a ... ok\ntest b::c ... ignored, needs IPv6\n\
             test d ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured\n\
             test result: ok. 20 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let left_out = vec!["b::c: needs IPv6".to_owned()];
        assert_eq!(
            read(printed),
            Outcome { passed: 21, failed: 1, left_out, ..Outcome::default() }
        );
        assert_eq!(read(""), Outcome::default());
    }

    #[test]
    fn rows_are_replaced_and_the_rest_of_the_page_stays() {
        let outcome = Outcome { passed: 57, took: Duration::from_secs(70), ..Outcome::default() };
        let release = &envoy::RELEASES[0];
        let rows = table(&[(release, outcome)], "2026-11-26");
        let last = rows.lines().last().unwrap();
        assert_eq!(last, "| 1.37.0 | 1.29 | 2026-11-26 | 57 | 0 | none | 70 s |");
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = with_rows(&page, &rows).unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\n{rows}\n{END}\nafter\n"));
        assert_eq!(with_rows("no markers", &rows), None);
    }

    #[test]
    fn the_page_has_a_row_for_each_release() {
        let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
        let (_, rest) = page.split_once(BEGIN).unwrap();
        let (rows, _) = rest.split_once(END).unwrap();
        for release in &envoy::RELEASES {
            let begin = format!("| {} | {} |", release.version, release.istio);
            assert!(rows.contains(&begin), "{PAGE} has no row for Envoy {}", release.version);
        }
    }
}
