//! `docs/conformance.md`: each line of the peer protocol, the tests that show it, and how they ended.

mod line;

use crate::results::{self, Outcomes};
use crate::root;
use anyhow::{Context, Result, ensure};
use line::Section;
use std::fmt::Write;

/// The lines of the protocol, and the tests of each.
const PROTOCOL: &str = include_str!("protocol.txt");

const PAGE: &str = "docs/conformance.md";

const INTRODUCTION: &str = "\
# Conformance to the peer protocol

Look up what fedgate does with each line of the protocol that Deckhouse (DKP) clusters speak to their peers, and
which test shows it. *Stricter* marks what fedgate does beyond the protocol. The numbers are those of the sections in
the protocol's description.

In the tests under `e2e/tests/dkp` a stand-in takes the place of the DKP cluster: `e2e/dkp_peer`, a Python program that
was written from the description alone and shares no code with fedgate. It is exporter, importer, prober and gateway,
and a test switches DKP's peculiarities one by one.

`cargo xtask conformance --record` writes this page from the outcomes of the last `cargo xtask test` and
`cargo xtask e2e`. The checks fail if a test named here has not passed.
";

/// Compares the page with the outcomes of the last tests. With `record`, writes it first.
///
/// # Errors
/// When the page differs, or a test that it names has failed or has not run.
pub fn check(record: bool) -> Result<()> {
    let sections = line::parse(PROTOCOL)?;
    let outcomes = results::all()?;
    let expected = page(&sections, &outcomes);
    let path = root().join(PAGE);
    if record {
        std::fs::write(&path, &expected).with_context(|| format!("cannot write {PAGE}"))?;
    }
    let missed: String = missed(&sections, &outcomes).collect();
    ensure!(
        missed.is_empty(),
        "some lines of the protocol are not shown; run `cargo xtask test` and `cargo xtask e2e` first:{missed}"
    );
    let found = std::fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    ensure!(
        found == expected,
        "{PAGE} is not what the tests' outcomes give; run `cargo xtask conformance --record` and commit the result"
    );
    Ok(())
}

/// The tests that did not pass, each with its line.
fn missed<'a>(
    sections: &'a [Section<'_>],
    outcomes: &'a Outcomes,
) -> impl Iterator<Item = String> + 'a {
    let tests = sections
        .iter()
        .flat_map(|section| &section.lines)
        .flat_map(|line| line.tests.iter().map(|test| (line.number, test, test.verdict(outcomes))));
    tests.filter(|(.., verdict)| *verdict != "passed").map(|(number, test, verdict)| {
        format!("\n  {number}: {} {}: {verdict}", test.file, test.name)
    })
}

fn page(sections: &[Section<'_>], outcomes: &Outcomes) -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections {
        let _ = write!(page, "\n## {}\n\n| line | protocol | tests | result |\n", section.title);
        page += "| --- | --- | --- | --- |\n";
        for line in &section.lines {
            let tests: Vec<_> = line.tests.iter().map(line::Test::link).collect();
            let verdict = line.verdict(outcomes);
            let _ = writeln!(
                page,
                "| {} | {} | {} | {verdict} |",
                line.number,
                line.text,
                tests.join(", ")
            );
        }
    }
    page
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    /// A renamed test is noticed before the end of a long run.
    #[test]
    fn every_test_of_a_line_exists() {
        for section in line::parse(PROTOCOL).unwrap() {
            for line::Test { file, name } in section.lines.iter().flat_map(|line| &line.tests) {
                let source = std::fs::read_to_string(root().join(file))
                    .unwrap_or_else(|error| panic!("{file}: {error}"));
                assert!(source.contains(&format!("fn {name}(")), "{file} has no test {name}");
            }
        }
    }

    #[test]
    fn the_page_names_the_lines_of_the_protocol() {
        let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
        for line in line::parse(PROTOCOL).unwrap().iter().flat_map(|section| &section.lines) {
            let row = format!("| {} | {} |", line.number, line.text);
            assert!(page.contains(&row), "{PAGE} lacks line {}", line.number);
        }
    }
}
