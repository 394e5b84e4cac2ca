//! Generated files that are checked in, so that applying them needs neither a compiler nor Helm:
//! CustomResourceDefinitions from the Rust types, and manifests from the chart.

use crate::{fedgate, manifests, root};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plural names of the CustomResourceDefinitions.
const DEFINITIONS: [&str; 3] = ["federatedservices", "federationpolicies", "istiofederations"];

/// Their folders.
const FOLDERS: [&str; 2] = ["deploy/kubernetes/crds", "deploy/chart/files/crds"];

/// Writes the generated files.
///
/// # Errors
/// When the controller or helm cannot be built, the chart cannot be rendered, or a file cannot be
/// written.
pub fn write() -> Result<()> {
    definitions()?.iter().try_for_each(written)?;
    // The chart contains the definitions, so it is rendered after they are written.
    manifests::files()?.iter().try_for_each(written)
}

/// Checks that each file is up to date with [`write()`].
///
/// # Errors
/// When a file is not; the message quotes the first line that differs. Also when the controller or
/// helm cannot be built.
pub fn check() -> Result<()> {
    definitions()?
        .iter()
        .chain(&manifests::files()?)
        .try_for_each(|(file, text)| compare(file, text))
}

fn written((file, text): &(PathBuf, String)) -> Result<()> {
    std::fs::write(root().join(file), text)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

fn compare(file: &Path, expected: &str) -> Result<()> {
    let name = file.display();
    let found = std::fs::read_to_string(root().join(file))
        .with_context(|| format!("cannot read {name}"))?;
    let Some(place) = first_difference(expected, &found) else { return Ok(()) };
    let line = |text: &str| text.lines().nth(place).unwrap_or("the end of the file").to_owned();
    bail!(
        "{name}:{}: expected {:?}, found {:?}; run `cargo xtask generate` and commit the result",
        place + 1,
        line(expected),
        line(&found)
    );
}

/// The first differing line of two texts, counted from 0.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    let lines = |text: &str| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (lines(a), lines(b));
    (0..a.len().max(b.len())).find(|&place| a.get(place) != b.get(place))
}

/// The expected content of the definitions, for the chart and for installations without Helm.
fn definitions() -> Result<Vec<(PathBuf, String)>> {
    let fedgate = fedgate::build()?;
    let mut files = Vec::new();
    for plural in DEFINITIONS {
        let output = Command::new(&fedgate)
            .args(["crd", plural])
            .output()
            .context("cannot start fedgate")?;
        ensure!(
            output.status.success(),
            "fedgate crd {plural}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)?;
        let file = |folder: &str| (Path::new(folder).join(format!("{plural}.yaml")), text.clone());
        files.extend(FOLDERS.map(file));
    }
    Ok(files)
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
