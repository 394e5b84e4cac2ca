//! Checks the tables of modules in module documentation.

use crate::markdown::{code, rows};
use crate::sources::{below, crates, read};
use std::collections::BTreeSet;

/// The modules that a file declares, without test modules.
fn declared(source: &str) -> BTreeSet<&str> {
    let mut for_tests = false;
    let mut declared = BTreeSet::new();
    for line in source.lines() {
        let name =
            line.strip_suffix(';').and_then(|line| line.split_once("mod ")).map(|(_, name)| name);
        match name {
            Some(name) if !line.starts_with(' ') && !line.starts_with('/') && !for_tests => {
                declared.insert(name);
            }
            _ => {}
        }
        for_tests = line.starts_with("#[cfg(test)]") || for_tests && line.starts_with("#[");
    }
    declared
}

/// The modules in the table of a file's documentation; `None` if it has no table.
fn in_table(source: &str) -> Option<BTreeSet<String>> {
    let lines =
        source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.trim_start());
    let documentation: String = lines.flat_map(|line| [line, "\n"]).collect();
    let table = documentation.split_once("| module |")?.1.split("\n\n").next()?;
    let cells = rows(table)
        .filter_map(|cells| cells.first().map(|cell| (*cell).to_owned()))
        .collect::<Vec<_>>();
    let names = cells
        .iter()
        .flat_map(|cell| code(cell))
        .map(|name| name.trim_start_matches("mod@").to_owned());
    Some(names.collect())
}

#[test]
fn tables_of_modules_are_complete() {
    let files: Vec<_> =
        crates().iter().flat_map(|folder| below(&format!("{folder}/src"), "rs")).collect();
    let mut tables = 0;
    for file in files {
        let source = read(&file);
        let Some(documented) = in_table(&source) else { continue };
        let declared: BTreeSet<_> = declared(&source).into_iter().map(str::to_owned).collect();
        let missing: Vec<_> = declared.difference(&documented).collect();
        let gone: Vec<_> = documented.difference(&declared).collect();
        assert!(missing.is_empty(), "{}: the table of modules lacks {missing:?}", file.display());
        assert!(
            gone.is_empty(),
            "{}: the table names modules that don't exist: {gone:?}",
            file.display()
        );
        tables += 1;
    }
    assert!(tables >= 5, "{tables} tables were found");
}

#[test]
fn test_modules_are_not_in_tables_of_modules() {
    let source = "//! | module | what it is |\n//! | --- | --- |\n//! | [`a`], `b` | x |\n\nmod a;\npub mod b;\n#[cfg(test)]\n#[path = \"x\"]\nmod c;\nmod d;\n";
    assert_eq!(declared(source), ["a", "b", "d"].into());
    assert_eq!(in_table(source), Some(["a", "b"].map(str::to_owned).into()));
    assert_eq!(in_table("//! Nothing.\n"), None);
}
