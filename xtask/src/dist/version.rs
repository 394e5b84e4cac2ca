//! The version of a release, its time and its notes.

use crate::root;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// The version that all packages of the workspace have.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a release is about.
pub(super) struct Release {
    pub(super) version: &'static str,
    /// The time of all files, in seconds since 1970: `SOURCE_DATE_EPOCH`, or that of the commit.
    pub(super) epoch: u64,
    /// The changelog's section.
    pub(super) notes: String,
    /// How well files are compressed, 1 to 9.
    pub(super) level: u8,
}

impl Release {
    /// Reads the version's data and checks that tag, chart and changelog agree with it. Without a
    /// tag, the notes are those of the next release.
    pub(super) fn new(tag: Option<&str>) -> Result<Self> {
        if let Some(tag) = tag {
            ensure!(
                tag == format!("v{VERSION}"),
                "tag {tag}: expected v{VERSION}, the version in Cargo.toml; change one of the two"
            );
        }
        let chart = read("deploy/chart/Chart.yaml")?;
        for field in ["version", "appVersion"] {
            let line = format!("\n{field}: {VERSION}\n");
            ensure!(
                chart.contains(&line),
                "deploy/chart/Chart.yaml: expected {field}: {VERSION}, the version in Cargo.toml"
            );
        }
        let title = tag.map_or("Unreleased", |_| VERSION);
        let notes = section(&read("CHANGELOG.md")?, title).with_context(|| {
            format!("CHANGELOG.md: expected a section `## {title}` with text, found none")
        })?;
        Ok(Self { version: VERSION, epoch: epoch()?, notes, level: 9 })
    }
}

/// A section of the changelog, without its title.
fn section(changelog: &str, title: &str) -> Option<String> {
    let mut sections = changelog.split("\n## ").skip(1);
    // `## 0.1.0` or `## 0.1.0 (2026-12-01)`
    let is_titled = |section: &&str| section.split_whitespace().next() == Some(title);
    let (_, text) = sections.find(is_titled)?.split_once('\n')?;
    let text = text.trim();
    (!text.is_empty()).then(|| format!("{text}\n"))
}

fn epoch() -> Result<u64> {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok();
    let of_commit = || {
        let output = Command::new("git")
            .current_dir(root())
            .args(["log", "-1", "--format=%ct"])
            .output()
            .context("cannot run git")?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let text = set.map_or_else(of_commit, Ok)?;
    text.parse().with_context(|| {
        format!(
            "the time of the files: expected seconds since 1970, found {text:?}; set SOURCE_DATE_EPOCH, or run this in a checkout of Git"
        )
    })
}

pub(super) fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_are_one_section_of_the_changelog() {
        let changelog = "# Changelog\n\ntext\n\n## Unreleased\n\n## 0.2.0 (2027-01-01)\n\n### A\n- b\n\n## 0.1.0\n- c\n";
        assert_eq!(section(changelog, "0.2.0").as_deref(), Some("### A\n- b\n"));
        assert_eq!(section(changelog, "0.1.0").as_deref(), Some("- c\n"));
        assert_eq!(section(changelog, "Unreleased"), None, "it is empty");
        assert_eq!(section(changelog, "0.3.0"), None);
    }

    #[test]
    fn another_versions_tag_is_refused() {
        let error = Release::new(Some("v99.0.0")).map(drop).unwrap_err().to_string();
        assert!(error.contains("v99.0.0"), "{error}");
    }
}
