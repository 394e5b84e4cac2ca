//! Which files there are.

use std::path::{Path, PathBuf};

/// The most files that are read of a folder.
pub(super) const MOST_FILES: usize = 10_000;

/// The manifests of a folder, in order of name: what ends in `.yaml` or `.yml` and does not begin with a dot, which editors and
/// Kubernetes volumes use for what is not meant to be read.
///
/// # Errors
/// Why the folder cannot be listed, for people.
pub(super) fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("the folder cannot be listed: {error}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("the folder cannot be listed: {error}"))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_manifest(&name) {
            files.push((name, entry.path()));
        }
        if files.len() > MOST_FILES {
            return Err(format!(
                "the folder has more than {MOST_FILES} manifests; put several documents into one file"
            ));
        }
    }
    files.sort();
    Ok(files)
}

fn is_manifest(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}
