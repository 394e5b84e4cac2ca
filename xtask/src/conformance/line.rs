//! Reads `protocol.txt`.

use crate::results::{Outcome, Outcomes};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// A section of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section<'t> {
    pub(super) title: &'t str,
    pub(super) lines: Vec<Line<'t>>,
}

/// A line of the protocol, in our words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    /// The number of its section, and its own.
    pub(super) number: &'t str,
    pub(super) text: &'t str,
    /// The tests that show it. Never empty.
    pub(super) tests: Vec<Test<'t>>,
}

/// A test, named by its file and its function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Test<'t> {
    pub(super) file: &'t str,
    pub(super) name: &'t str,
}

/// Reads sections (`# TITLE`), lines (`NUMBER TEXT`) and, indented, their tests (`FILE FUNCTION`).
pub(super) fn parse(text: &str) -> Result<Vec<Section<'_>>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for row in text.lines().filter(|row| !row.is_empty()) {
        if let Some(title) = row.strip_prefix("# ") {
            sections.push(Section { title, lines: Vec::new() });
            continue;
        }
        let lines = &mut sections.last_mut().context("a line before the first section")?.lines;
        let (first, rest) =
            row.trim_start().split_once(' ').with_context(|| format!("one word: {row:?}"))?;
        if row.starts_with(' ') {
            let line = lines.last_mut().with_context(|| format!("a test without line: {row}"))?;
            line.tests.push(Test { file: first, name: rest });
        } else {
            lines.push(Line { number: first, text: rest, tests: Vec::new() });
        }
    }
    for section in &sections {
        let number = section.title.split_once('.').map(|(number, _)| number).unwrap_or_default();
        for (index, line) in section.lines.iter().enumerate() {
            let expected = format!("{number}.{}", index + 1);
            ensure!(line.number == expected, "expected line {expected}, found {}", line.number);
            ensure!(!line.tests.is_empty(), "line {expected} has no test");
        }
    }
    Ok(sections)
}

impl Line<'_> {
    /// How its tests ended, in one word.
    pub(super) fn verdict(&self, outcomes: &Outcomes) -> &'static str {
        let of = |word: &str| self.tests.iter().any(|test| test.verdict(outcomes) == word);
        ["failed", "not run"].into_iter().find(|&word| of(word)).unwrap_or("passed")
    }
}

impl Test<'_> {
    /// How it ended, in one word.
    pub(super) fn verdict(&self, outcomes: &Outcomes) -> &'static str {
        let own = outcomes.iter().filter(|(path, _)| self.is(path)).map(|(_, outcome)| *outcome);
        match own.max() {
            Some(Outcome::Passed) => "passed",
            Some(Outcome::Failed) => "failed",
            Some(Outcome::Ignored) | None => "not run",
        }
    }

    /// Whether a path such as `importer::fetch_tests::answers::NAME`, as libtest prints it, is this
    /// test's: the function's name, and its file's among the modules.
    fn is(&self, path: &str) -> bool {
        let mut modules = path.split("::").collect::<Vec<_>>();
        if modules.pop() != Some(self.name) {
            return false;
        }
        let file = Path::new(self.file);
        let name = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        // The root of a crate is no module.
        if modules.is_empty() {
            return file.parent().and_then(name).as_deref() == Some("tests");
        }
        match name(file).as_deref() {
            Some("mod") => {
                file.parent().and_then(name).is_some_and(|name| modules.contains(&&*name))
            }
            Some(name) => modules.contains(&name),
            None => false,
        }
    }

    /// A link from the page.
    pub(super) fn link(&self) -> String {
        format!("[{}](../{})", self.name, self.file)
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    const TEXT: &str = "# 2. Documents\n\n2.1 One.\n  a/tests/x/private.rs good\n2.2 Two.\n  \
         b/src/y/mod.rs fine\n  c/tests/z.rs fair\n";

    #[test]
    fn a_test_is_found_by_its_file_and_its_function() {
        let sections = parse(TEXT).unwrap();
        let [one, two] = &sections[0].lines[..] else { panic!("{sections:?}") };
        let outcomes = |all: &[(&str, Outcome)]| {
            all.iter().map(|(name, outcome)| ((*name).to_owned(), *outcome)).collect::<Outcomes>()
        };
        let good = outcomes(&[("x::private::good", Outcome::Passed), ("z::good", Outcome::Failed)]);
        assert_eq!((one.verdict(&good), two.verdict(&good)), ("passed", "not run"));
        let other = outcomes(&[("y::fine", Outcome::Passed), ("fair", Outcome::Failed)]);
        assert_eq!((one.verdict(&other), two.verdict(&other)), ("not run", "failed"));
        let ignored = outcomes(&[("y::fine", Outcome::Passed), ("fair", Outcome::Ignored)]);
        assert_eq!(two.verdict(&ignored), "not run");
        assert_eq!(one.tests[0].link(), "[good](../a/tests/x/private.rs)");
    }

    #[test]
    fn lines_have_their_numbers_and_tests() {
        for wrong in [
            TEXT.replace("2.2", "2.3"),
            TEXT.replace("  a/tests/x/private.rs good\n", ""),
            TEXT.replace("# 2. Documents\n", ""),
        ] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }
}
