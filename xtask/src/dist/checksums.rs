//! `SHA256SUMS`, in the form that `sha256sum --check` reads.

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::Path;

pub(super) const FILE: &str = "SHA256SUMS";

/// Writes the checksums of all files in the folder.
pub(super) fn write(folder: &Path) -> Result<()> {
    let lines: String =
        names(folder)?.iter().map(|name| line(folder, name)).collect::<Result<_>>()?;
    std::fs::write(folder.join(FILE), lines).context("cannot write SHA256SUMS")
}

/// Checks that the list has every file in the folder, with its checksum, and nothing else.
pub(super) fn check(folder: &Path) -> Result<()> {
    let listed = std::fs::read_to_string(folder.join(FILE))
        .with_context(|| format!("cannot read {FILE} in {}", folder.display()))?;
    let names = names(folder)?;
    ensure!(!names.is_empty(), "{}: there are no files", folder.display());
    for name in &names {
        let line = line(folder, name)?;
        if !listed.contains(&line) {
            bail!("{FILE}: expected the line {:?}, found none", line.trim_end());
        }
    }
    let count = listed.lines().count();
    ensure!(count == names.len(), "{FILE}: expected {} lines, found {count}", names.len());
    Ok(())
}

/// The files of a release, sorted, without the list and its signature.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with(FILE));
    names.sort();
    Ok(names)
}

fn line(folder: &Path, name: &str) -> Result<String> {
    let contents =
        std::fs::read(folder.join(name)).with_context(|| format!("cannot read {name}"))?;
    let hash: String = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{hash}  {name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_a_missing_and_an_unlisted_file_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("b"), "").unwrap();
        std::fs::write(file("a"), "abc").unwrap();
        write(folder.path()).unwrap();
        let lines = std::fs::read_to_string(file(FILE)).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n";
        assert!(lines.starts_with(abc), "{lines}");
        std::fs::write(file("SHA256SUMS.sig"), "not listed").unwrap();
        check(folder.path()).unwrap();

        std::fs::write(file("c"), "").unwrap();
        assert!(check(folder.path()).is_err(), "an unlisted file");
        std::fs::remove_file(file("c")).unwrap();
        std::fs::write(file("b"), "changed").unwrap();
        assert!(check(folder.path()).is_err(), "a changed file");
        std::fs::remove_file(file("b")).unwrap();
        assert!(check(folder.path()).is_err(), "a missing file");
    }
}
