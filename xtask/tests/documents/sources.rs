//! The files of the checkout.

use std::path::{Path, PathBuf};

/// The text of a file, by its path from the root.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let file = xtask::root().join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The files below a folder with this extension, by their paths from the root.
pub(crate) fn below(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![xtask::root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("target") => {}
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == extension) => found.push(path),
                false => {}
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no file that ends in .{extension}");
    found.sort();
    found.into_iter().map(|path| path.strip_prefix(xtask::root()).unwrap().to_owned()).collect()
}

/// The folders of the workspace's crates and of the crates outside the workspace.
pub(crate) fn crates() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let lists = ["members", "exclude"].map(|name| {
        let (_, rest) =
            manifest.split_once(&format!("\n{name} = [")).unwrap_or_else(|| panic!("no {name}"));
        rest.split_once(']').unwrap().0
    });
    lists.iter().flat_map(|list| list.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}
