//! The documentation as a site: everything below `docs/`, and what its pages link to, made by
//! mdBook.
//!
//! `docs/SUMMARY.md` lists the pages. The site has the same folders as the checkout, so links lead
//! to the same places in both.

mod html;

use crate::{check, root, run, target};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pinned release of mdBook.
pub const MDBOOK_VERSION: &str = "0.5.4";

/// mdBook's configuration. The site works from a folder as well as from a server, and asks no other
/// host for anything.
const BOOK: &str = r#"[book]
title = "fedgate"
language = "en"
src = "source"

[build]
build-dir = "pages"
create-missing = false

[output.html]
no-section-label = true
default-theme = "light"
preferred-dark-theme = "navy"

[output.html.search]
limit-results = 20
"#;

/// Builds the site and returns its folder, `target/site/pages`.
///
/// # Errors
/// When mdBook cannot be built, or a link of a page leads nowhere.
pub fn build() -> Result<PathBuf> {
    let mdbook = mdbook()?;
    let folder = target().join("site");
    let _ = std::fs::remove_dir_all(&folder);
    let source = folder.join("source");
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md"))?;
    let pages = pages(&summary);
    ensure!(!pages.is_empty(), "docs/SUMMARY.md lists no pages");
    write(&source.join("SUMMARY.md"), with_index(&from_the_root(&summary)).as_bytes())?;
    write(&folder.join("book.toml"), BOOK.as_bytes())?;
    for file in files(&pages)? {
        copy(&file, &source)?;
    }
    run(Command::new(mdbook).env("RUST_LOG", "warn").args(["build", "--"]).arg(&folder))?;
    let output = folder.join("pages");
    let mistakes = html::mistakes(&output)?;
    if !mistakes.is_empty() {
        bail!("the site has mistakes:\n  {}", mistakes.join("\n  "));
    }
    Ok(output)
}

/// The path of mdBook. Builds it first if necessary.
///
/// # Errors
/// When it cannot be built.
pub fn mdbook() -> Result<PathBuf> {
    check::installed("mdbook", MDBOOK_VERSION, &["--features", "search"])
}

/// The pages that the summary lists, as paths in the checkout.
pub fn pages(summary: &str) -> Vec<PathBuf> {
    let targets = summary.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.map(|target| in_checkout(Path::new("docs"), target)).collect()
}

/// The summary with paths from the checkout's root; in `docs/` they are relative to that folder.
fn from_the_root(summary: &str) -> String {
    summary.replace("](", "](docs/").replace("](docs/../", "](")
}

/// mdBook writes a README.md as index.html, but does not change the links to it.
fn with_index(text: &str) -> String {
    text.replace("README.md)", "index.md)").replace("README.md#", "index.md#")
}

/// Copies a file of the checkout into the source.
fn copy(file: &Path, source: &Path) -> Result<()> {
    let from = root().join(file);
    let contents =
        std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    match (file.extension(), file.file_name()) {
        (Some(extension), Some(name)) if extension == "md" => {
            let text = with_index(std::str::from_utf8(&contents)?);
            let to = source.join(if name == "README.md" {
                file.with_file_name("index.md")
            } else {
                file.to_owned()
            });
            write(&to, text.as_bytes())
        }
        _ => write(&source.join(file), &contents),
    }
}

/// All files of the site: the pages, what is below `docs/`, and what pages link to.
fn files(pages: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut files: BTreeSet<_> = pages.iter().cloned().collect();
    for page in pages {
        let text = std::fs::read_to_string(root().join(page))
            .with_context(|| format!("docs/SUMMARY.md lists {}", page.display()))?;
        let folder = page.parent().unwrap_or(Path::new(""));
        for link in html::targets(&text, "](", ')').filter(|link| !html::is_elsewhere(link)) {
            let path = in_checkout(folder, link.split('#').next().unwrap_or_default());
            if root().join(&path).is_file() {
                files.insert(path);
            }
        }
    }
    Ok(files)
}

/// A relative path of a page in this folder, as a path in the checkout.
fn in_checkout(folder: &Path, relative: &str) -> PathBuf {
    html::plain(&folder.join(relative))
}

fn write(file: &Path, contents: &[u8]) -> Result<()> {
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
    std::fs::write(file, contents).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_pages_of_the_checkout() {
        let summary = "[a](../README.md)\n- [b](c.md)\n  - [d](../deploy/d.md)\n";
        assert_eq!(pages(summary), ["README.md", "docs/c.md", "deploy/d.md"].map(PathBuf::from));
        assert_eq!(
            from_the_root(summary),
            "[a](README.md)\n- [b](docs/c.md)\n  - [d](deploy/d.md)\n"
        );
    }
}
