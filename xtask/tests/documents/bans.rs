//! Clippy reads only the nearest `clippy.toml`, so each one must repeat the root's bans.

use crate::sources::{crates, read};
use std::collections::BTreeSet;

/// The bans in a `clippy.toml` that apply to the package's dependencies.
fn banned(text: &str) -> BTreeSet<&str> {
    text.split("{ path = \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
}

#[test]
fn every_crate_has_the_bans_of_the_root() {
    let root = read("clippy.toml");
    assert!(banned(&root).len() > 5, "{root}");
    let nested: Vec<_> =
        crates().into_iter().map(|folder| format!("{folder}/clippy.toml")).collect();
    let nested = nested.iter().filter(|file| xtask::root().join(file).exists());
    for file in nested {
        let (text, manifest) = (read(file), read(file.replace("clippy.toml", "Cargo.toml")));
        // A crate that does not depend on reqwest or tokio need not ban anything of it.
        let depends = |path: &&&str| {
            let library = path.split("::").next().unwrap_or_default();
            library == "std"
                || manifest.lines().any(|line| line.starts_with(&format!("{library}.workspace")))
        };
        let missing: Vec<_> = banned(&root).difference(&banned(&text)).copied().collect();
        let missing: Vec<_> = missing.iter().filter(depends).collect();
        assert!(missing.is_empty(), "{file} lacks bans of clippy.toml: {missing:?}");
    }
}
