//! Files that are made from the Rust types and checked in, so that nobody needs a compiler to apply them.

use crate::{fedgate, root};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The CustomResourceDefinitions, by their plural names.
const DEFINITIONS: [&str; 2] = ["federationpolicies", "istiofederations"];

/// Writes the files.
///
/// # Errors
/// When the controller cannot be built, or a file cannot be written.
pub fn write() -> Result<()> {
    for (file, text) in files()? {
        std::fs::write(root().join(&file), text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Whether each file is what [`write()`] would make it.
///
/// # Errors
/// When one is not; the message has the first line that differs. When the controller cannot be built.
pub fn check() -> Result<()> {
    files()?.iter().try_for_each(|(file, text)| compare(file, text))
}

fn compare(file: &Path, expected: &str) -> Result<()> {
    let name = file.display();
    let found = std::fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {name}"))?;
    let Some(place) = first_difference(expected, &found) else { return Ok(()) };
    let line = |text: &str| text.lines().nth(place).unwrap_or("the end").to_owned();
    bail!(
        "{name}, line {}: expected {:?}, found {:?}; run `cargo xtask generate` and commit what it writes",
        place + 1,
        line(expected),
        line(&found)
    );
}

/// The first line, counted from 0, in which two texts differ.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    let lines = |text: &str| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (lines(a), lines(b));
    (0..a.len().max(b.len())).find(|&place| a.get(place) != b.get(place))
}

/// What each file must be.
fn files() -> Result<Vec<(PathBuf, String)>> {
    let fedgate = fedgate::build()?;
    let file = |plural: &&str| {
        let output = Command::new(&fedgate).args(["crd", plural]).output().context("cannot start fedgate")?;
        ensure!(output.status.success(), "fedgate crd {plural}: {}", String::from_utf8_lossy(&output.stderr));
        Ok((Path::new("deploy/kubernetes/crds").join(format!("{plural}.yaml")), String::from_utf8(output.stdout)?))
    };
    DEFINITIONS.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn finds_the_line_that_differs_also_at_the_end() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(1));
        assert_eq!(first_difference("a\nb\n", "a\n"), Some(1));
        assert_eq!(first_difference("a\n", "a"), Some(1));
    }
}
