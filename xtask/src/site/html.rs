//! Checks the pages that mdBook wrote: every link leads somewhere, and nothing is loaded from
//! another host.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// What a page of the site has.
struct Page {
    links: Vec<String>,
    /// What a browser loads with the page.
    loaded: Vec<String>,
    anchors: BTreeSet<String>,
}

/// What is wrong with the pages in a folder, a line each.
///
/// # Errors
/// When the folder cannot be read, or has no pages.
pub(super) fn mistakes(folder: &Path) -> Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for file in files(folder)? {
        if file.extension().is_some_and(|extension| extension == "html") {
            let text = std::fs::read_to_string(folder.join(&file))?;
            pages.insert(file, Page::read(&text));
        }
    }
    anyhow::ensure!(!pages.is_empty(), "mdBook has written no pages to {}", folder.display());
    let mut mistakes = Vec::new();
    for (file, page) in &pages {
        let place = file.display();
        let foreign = page.loaded.iter().filter(|loaded| is_elsewhere(loaded));
        mistakes.extend(foreign.map(|url| format!("{place}: loads {url} from another host")));
        // mdBook writes the page for unknown addresses as if it were at the server's root.
        let links = page.links.iter().chain(&page.loaded).filter(|_| file != Path::new("404.html"));
        for link in links.filter(|link| !is_elsewhere(link)) {
            if let Some(problem) = problem(folder, &pages, file, link) {
                mistakes.push(format!("{place}: the link {link} leads to {problem}"));
            }
        }
    }
    Ok(mistakes)
}

fn problem(
    folder: &Path,
    pages: &BTreeMap<PathBuf, Page>,
    file: &Path,
    link: &str,
) -> Option<&'static str> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => file.to_owned(),
        path => plain(&file.parent().unwrap_or(Path::new("")).join(path)),
    };
    if !folder.join(&target).is_file() {
        return Some("no file");
    }
    let page = pages.get(&target)?;
    (!anchor.is_empty() && !page.anchors.contains(anchor)).then_some("no heading")
}

impl Page {
    fn read(text: &str) -> Self {
        let of = |attribute: &'static str| targets(text, attribute, '"').map(str::to_owned);
        // A `<link>` is loaded, an `<a>` is followed.
        let (mut links, mut loaded): (Vec<_>, Vec<_>) = (Vec::new(), of(" src=\"").collect());
        for tag in text.split('<').skip(1) {
            let into = if tag.starts_with("link ") { &mut loaded } else { &mut links };
            into.extend(targets(tag, " href=\"", '"').map(str::to_owned));
        }
        Self { links, loaded, anchors: of(" id=\"").collect() }
    }
}

/// The texts between each `start` and the next `end`.
pub(super) fn targets<'a>(
    text: &'a str,
    start: &'a str,
    end: char,
) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0))
}

/// Returns true if a link leads out of the site.
pub(super) fn is_elsewhere(link: &str) -> bool {
    link.contains("://") || link.starts_with("mailto:") || link.starts_with("data:")
}

/// A path without `.` and `..`.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// All files below a folder, as paths in it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(next) = folders.pop() {
        let entries = std::fs::read_dir(folder.join(&next))
            .with_context(|| format!("cannot read {}", folder.join(&next).display()))?;
        for entry in entries {
            let entry = entry?;
            let path = next.join(entry.file_name());
            if entry.file_type()?.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A site of one page in a folder, and a file beside it.
    fn mistakes_of(page: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        std::fs::write(folder.path().join("docs/page.html"), page).unwrap();
        std::fs::write(folder.path().join("style.css"), "").unwrap();
        mistakes(folder.path()).unwrap()
    }

    #[test]
    fn links_that_lead_somewhere_are_no_mistakes() {
        let page = r##"<link rel="stylesheet" href="../style.css"><h1 id="top">x</h1>
            <a href="#top">x</a><a href="page.html#top">x</a><a href="https://other.example/">x</a>"##;
        assert_eq!(mistakes_of(page), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_mistakes() {
        let page = r##"<a href="none.html">x</a><a href="#none">x</a><img src="none.svg">"##;
        assert_eq!(
            mistakes_of(page),
            [
                "docs/page.html: the link none.html leads to no file",
                "docs/page.html: the link #none leads to no heading",
                "docs/page.html: the link none.svg leads to no file",
            ]
        );
    }

    #[test]
    fn nothing_is_loaded_from_another_host() {
        let page = r#"<link href="https://fonts.example/a.css"><script src="https://cdn.example/a.js"></script>"#;
        let mistakes = mistakes_of(page);
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes.iter().all(|mistake| mistake.ends_with("from another host")));
    }

    #[test]
    fn a_folder_without_pages_is_an_error() {
        assert!(mistakes(tempfile::tempdir().unwrap().path()).is_err());
    }
}
