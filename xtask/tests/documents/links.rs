//! Everything that the documents name exists.

use crate::markdown::{anchors, code, links};
use crate::sources::{below, crates, read};
use std::path::{Path, PathBuf};

/// Documents for developers, where words in backticks may be paths.
const FOR_DEVELOPERS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"];

fn pages() -> Vec<PathBuf> {
    let at_root =
        FOR_DEVELOPERS.iter().copied().chain(["README.md", "CHANGELOG.md"]).map(PathBuf::from);
    at_root.chain(below("docs", "md")).chain(below("deploy", "md")).collect()
}

/// Returns true if a word begins like a path in this checkout.
fn is_path(word: &str) -> bool {
    let tops: Vec<_> =
        crates().into_iter().chain(["docs", "deploy", ".ci"].map(str::to_owned)).collect();
    let first = word.split_once('/').map(|(first, _)| first);
    first.is_some_and(|first| tops.iter().any(|top| top == first))
        && !word.contains([' ', '*', '<'])
}

#[test]
fn every_path_in_the_developers_documents_exists() {
    for document in FOR_DEVELOPERS {
        let text = read(document);
        let paths: Vec<_> = code(&text).into_iter().filter(|word| is_path(word)).collect();
        let missing: Vec<_> =
            paths.iter().filter(|path| !xtask::root().join(path).exists()).collect();
        assert!(missing.is_empty(), "{document} names files that don't exist: {missing:?}");
        assert!(document == "SECURITY.md" || paths.len() > 20, "{document}: {paths:?}");
    }
    assert!(is_path("core/src/no.rs") && !is_path("state/admin.json") && !is_path("core"));
}

#[test]
fn every_link_has_a_target() {
    for page in pages() {
        let text = read(&page);
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap_or(Path::new("")).join(path),
            };
            let place = format!("{}: the link {link}", page.display());
            assert!(xtask::root().join(&target).exists(), "{place} leads to no file");
            assert!(
                anchor.is_empty() || anchors(&read(&target)).iter().any(|known| known == anchor),
                "{place} leads to no heading"
            );
        }
    }
}

#[test]
fn every_page_is_in_the_contents() {
    let listed = xtask::site::pages(&read("docs/SUMMARY.md"));
    let missing: Vec<_> = pages()
        .into_iter()
        .filter(|page| page != Path::new("docs/SUMMARY.md") && !listed.contains(page))
        .collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
}
