//! Compares `ARCHITECTURE.md` with the manifests, the spawned tasks and the reference.

use crate::markdown::{code, rows, section};
use crate::sources::{below, crates, read};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = "ARCHITECTURE.md";

/// This project's crates that a crate depends on: in its code, and only in its tests.
#[derive(Debug, Default, PartialEq)]
struct Uses {
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

/// The name of a crate's package.
fn package(folder: &str) -> String {
    let manifest = read(format!("{folder}/Cargo.toml"));
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"').map(str::to_owned))
        .unwrap()
}

/// The dependencies in a manifest.
fn uses(manifest: &str, folders: &BTreeMap<String, String>) -> Uses {
    let (mut uses, mut table) = (Uses::default(), "");
    for line in manifest.lines() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let Some(folder) = folders.get(name) else { continue };
        match table {
            "dev-dependencies" => drop(uses.tests.insert(folder.clone())),
            table if table.ends_with("dependencies") => drop(uses.code.insert(folder.clone())),
            _ => {}
        }
    }
    uses
}

/// The dependencies in the page's table: `core`, `federation`; tests: `xtask`.
fn documented(cell: &str) -> Uses {
    let (in_code, in_tests) = cell.split_once("tests:").unwrap_or((cell, ""));
    let names = |text| code(text).into_iter().map(str::to_owned).collect();
    Uses { code: names(in_code), tests: names(in_tests) }
}

#[test]
fn every_crate_is_listed_with_its_dependencies() {
    let page = read(PAGE);
    let rows: Vec<_> = rows(section(&page, "## Crates")).collect();
    let crates = crates();
    let folders = crates.iter().map(|folder| (package(folder), folder.clone())).collect();
    for folder in &crates {
        let row = rows.iter().find(|cells| cells[0] == format!("`{folder}/`"));
        let row = row.unwrap_or_else(|| panic!("{PAGE}: the table of crates lacks {folder}/"));
        assert_eq!(row[1], format!("`{}`", package(folder)), "{PAGE}: the package of {folder}/");
        let expected = uses(&read(format!("{folder}/Cargo.toml")), &folders);
        assert_eq!(documented(row[2]), expected, "{PAGE} (left) and {folder}/Cargo.toml (right)");
    }
    assert_eq!(
        rows.len(),
        crates.len(),
        "{PAGE}: the table of crates has a crate that doesn't exist"
    );
}

/// The string literals that follow a call in a source.
fn named_in<'a>(source: &'a str, call: &str) -> Vec<&'a str> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let texts = code.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    texts.filter_map(|rest| rest.split(['"', '{']).next()).map(str::trim).collect()
}

#[test]
fn the_listed_tasks_are_those_that_are_started() {
    let mut started = BTreeSet::new();
    for file in
        below("controller", "rs").iter().filter(|file| !file.to_string_lossy().contains("tests"))
    {
        let source = read(file);
        for call in [".spawn(", ".spawn(format!("] {
            started.extend(named_in(&source, call).into_iter().map(str::to_owned));
        }
    }
    let page = read(PAGE);
    let rows = rows(section(&page, "## Tasks of a running replica"));
    let tasks: Vec<_> =
        rows.map(|cells| cells[0]).filter(|cell| !cell.starts_with("the main loop")).collect();
    let documented: BTreeSet<_> =
        tasks.iter().flat_map(|cell| code(cell)).map(str::to_owned).collect();
    assert!(started.len() > 8, "{started:?}");
    assert_eq!(documented, started, "{PAGE} (left) and the tasks that are started (right)");
}

#[test]
fn ports_are_those_of_the_reference() {
    let (page, reference) = (read(PAGE), read("docs/reference.md"));
    let rows: Vec<_> = rows(section(&page, "## Ports")).collect();
    assert!(rows.len() > 5, "{rows:?}");
    for row in rows {
        for setting in code(row[1]) {
            // The first two columns have names, and the others mention them.
            let name = format!("`{setting}`");
            let is_it =
                |line: &&str| line.split('|').skip(1).take(2).any(|cell| cell.contains(&name));
            let line = reference
                .lines()
                .find(is_it)
                .unwrap_or_else(|| panic!("docs/reference.md has no {setting}"));
            assert!(
                line.contains(row[0]),
                "{PAGE}: {setting} is {}, but the reference says: {line}",
                row[0]
            );
        }
    }
}
