//! The bill of materials (SBOM): every crate in the program and in the filters, with version,
//! checksum and licence, in CycloneDX's JSON.

use super::version::Release;
use crate::{check, root, run};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pinned release of cargo-cyclonedx.
const CYCLONEDX_VERSION: &str = "0.5.9";

/// What a release contains: package, and its folder.
const PACKAGES: [(&str, &str); 3] = [
    ("fedgate", "controller/cli"),
    ("fedgate-filter", "filter"),
    ("fedgate-filter-native", "filter-native"),
];

/// The name of the first package's bill in a release.
pub(super) fn name(release: &Release) -> String {
    file(PACKAGES[0].0, release)
}

fn file(package: &str, release: &Release) -> String {
    format!("{package}-{}.cdx.json", release.version)
}

/// The path of cargo-cyclonedx. Builds it first if necessary.
pub(super) fn cyclonedx() -> Result<PathBuf> {
    check::installed("cargo-cyclonedx", CYCLONEDX_VERSION, &[])
}

/// Writes the bills. cargo-cyclonedx writes beside each manifest, so it works on a copy.
pub(super) fn write(release: &Release, stages: &Path, folder: &Path) -> Result<()> {
    let copy = stages.join("source");
    copy_sources(&copy)?;
    run(Command::new(cyclonedx()?)
        .current_dir(&copy)
        .args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"])
        .args(["--target", "all", "--no-build-deps"])
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string()))?;
    for (package, source) in PACKAGES {
        let bill = copy.join(source).join(format!("{package}.cdx.json"));
        let text = std::fs::read_to_string(&bill)
            .with_context(|| format!("cargo-cyclonedx wrote no {}", bill.display()))?;
        // The folder of this machine is in each reference.
        let text = text.replace(&copy.display().to_string(), "/fedgate");
        std::fs::write(folder.join(file(package, release)), text)?;
    }
    Ok(())
}

/// Copies what cargo reads of the checkout: manifests, the lock file and sources.
fn copy_sources(copy: &Path) -> Result<()> {
    let list = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .args(["*.toml", "*.rs", "Cargo.lock"])
        .output()
        .context("cannot run git")?;
    ensure!(list.status.success(), "git: {}", String::from_utf8_lossy(&list.stderr));
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        let (from, to) = (root().join(name), copy.join(name));
        if from.is_file() {
            std::fs::create_dir_all(to.parent().unwrap_or(copy))?;
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// Checks that a bill is CycloneDX's, is about this version, and has each crate that the program is
/// made of, with its licence.
pub(super) fn check(bill: &Path, release: &Release) -> Result<()> {
    let text =
        std::fs::read_to_string(bill).with_context(|| format!("cannot read {}", bill.display()))?;
    let document: Value = serde_json::from_str(&text)?;
    let name = bill.display();
    ensure!(document["bomFormat"] == "CycloneDX", "{name}: not CycloneDX");
    let subject = &document["metadata"]["component"];
    ensure!(
        subject["name"] == "fedgate" && subject["version"] == release.version,
        "{name}: expected fedgate {}, found {subject}",
        release.version
    );
    let home = root().display().to_string();
    ensure!(!text.contains(&home), "{name}: has the path of this machine, {home}");
    let listed = document["components"].as_array().context("no components")?;
    let missing: Vec<_> =
        compiled()?.into_iter().filter(|crate_| !listed.iter().any(|it| is(it, crate_))).collect();
    if !missing.is_empty() {
        bail!("{name}: lacks crates of the program: {missing:?}");
    }
    let of_others = listed.iter().filter(|it| it["licenses"].as_array().is_none_or(Vec::is_empty));
    let unlicensed: Vec<_> = of_others.map(|it| it["name"].clone()).collect();
    ensure!(unlicensed.is_empty(), "{name}: crates without a licence: {unlicensed:?}");
    Ok(())
}

fn is(component: &Value, (name, version): &(String, String)) -> bool {
    component["name"] == name.as_str() && component["version"] == version.as_str()
}

/// The crates from elsewhere that the program is made of, as `cargo tree` sees them.
fn compiled() -> Result<Vec<(String, String)>> {
    let output = crate::cargo()
        .args(["tree", "--package", "fedgate", "--edges", "normal", "--prefix", "none"])
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    // A cargo that is told to unify the features of the workspace lists all of its packages.
    let tree = text.split("\n\n").find(|tree| tree.starts_with("fedgate v"));
    let crates: Vec<_> = tree.unwrap_or_default().lines().filter_map(name_and_version).collect();
    ensure!(crates.len() > 100, "cargo tree: expected hundreds of crates, found {}", crates.len());
    Ok(crates)
}

/// `tokio v1.54.1 (*)`
fn name_and_version(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    // The program itself is the subject.
    (name != "fedgate").then(|| (name.to_owned(), version.to_owned()))
}
