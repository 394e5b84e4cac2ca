//! Lists the files of the folder.

use fedgate_process::file_watch::MOST_FILES;
use fedgate_process::words;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its name; bytes that are not UTF-8 as `\xFF`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) role: Role,
}

/// The role that a file's name gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Manifest,
    /// Its name is not that of a manifest. It is still checked: a policy in it was meant to be in
    /// force.
    Other,
    /// A backup or leftover of a manifest, made by an editor or a person. Counts only if the
    /// manifest is gone.
    Leftover,
}

/// The files of a folder, and the manifests one level below it, sorted by name. Names that begin
/// with a dot are skipped: editors and Kubernetes volumes use them for internal files.
///
/// # Errors
/// Why the folder cannot be listed, in words for people.
pub(super) fn files(folder: &Path) -> Result<Vec<Entry>, String> {
    let failed =
        |error: std::io::Error| format!("the folder cannot be listed: {}", words::io(&error));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        add(&mut files, &entry.file_name(), entry.path());
        if files.len() > MOST_FILES {
            return Err(format!(
                "the folder has more than {MOST_FILES} manifests; put several documents into one file"
            ));
        }
    }
    let names: std::collections::BTreeSet<String> =
        files.iter().map(|file| file.name.clone()).collect();
    files.retain(|file| file.role != Role::Leftover || !names.contains(original(&file.name)));
    files.sort();
    Ok(files)
}

fn add(files: &mut Vec<Entry>, name: &OsStr, path: PathBuf) {
    let name = printable(name);
    match role(&name) {
        None => {}
        Some(Role::Other) if path.is_dir() => files.extend(below(&name, &path)),
        Some(role) => files.push(Entry { name, path, role }),
    }
}

/// The manifests in a subfolder. They are not read, so they must not contain policies.
fn below(folder: &str, path: &Path) -> Vec<Entry> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().take(MOST_FILES);
    let entry = |entry: std::fs::DirEntry| {
        let name = printable(&entry.file_name());
        let manifest = role(&name) == Some(Role::Manifest);
        manifest.then(|| Entry {
            name: format!("{folder}/{name}"),
            path: entry.path(),
            role: Role::Other,
        })
    };
    entries.filter_map(entry).collect()
}

fn printable(name: &OsStr) -> String {
    let mut printable = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        printable += &chunk.valid().replace('\\', "\\\\");
        printable.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    printable
}

/// Endings that editors, package managers and people give to copies of a file.
const LEFTOVERS: [&str; 17] = [
    "~",
    ".bak",
    ".backup",
    ".old",
    ".orig",
    ".save",
    ".swp",
    ".swo",
    ".tmp",
    ".temp",
    ".part",
    ".rej",
    ".disabled",
    ".off",
    ".rpmsave",
    ".rpmnew",
    ".dpkg-old",
];

fn role(name: &str) -> Option<Role> {
    let lower = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    match () {
        () if name.starts_with('.') => None,
        () if ends(&LEFTOVERS) || name.starts_with('#') => Some(Role::Leftover),
        () if ends(&[".yaml", ".yml", ".json"]) => Some(Role::Manifest),
        () => Some(Role::Other),
    }
}

/// The original name of a leftover.
fn original(name: &str) -> &str {
    let name = name.strip_prefix('#').unwrap_or(name);
    let name = name.strip_suffix('#').unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    let ending =
        LEFTOVERS.iter().filter(|ending| lower.ends_with(*ending)).map(|ending| ending.len()).max();
    &name[..name.len() - ending.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_role_follows_from_its_name() {
        for name in ["a.yaml", "a.yml", "A.YAML", "a.json", "a.b.Yml"] {
            assert_eq!(role(name), Some(Role::Manifest), "{name}");
        }
        for name in ["a.yaml~", "#a.yaml#", "a.yaml.bak", "a.yaml.swp", "a.yaml.BAK"] {
            assert_eq!(role(name), Some(Role::Leftover), "{name}");
            assert!(original(name).eq_ignore_ascii_case("a.yaml"), "{name}");
        }
        for name in ["a", "a.txt", "a.yaml.txt", "README.md"] {
            assert_eq!(role(name), Some(Role::Other), "{name}");
        }
        assert_eq!(role("..data"), None);
        assert_eq!(printable(OsStr::from_bytes(b"p\xff\\.yaml")), "p\\xFF\\\\.yaml");
    }
}
