//! The programs of a site without Kubernetes, in one folder for the PATH.

use crate::{envoy, fedgate, wasm};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Builds `fedgate` and the filter, fetches Envoy, and puts all three into a folder, which is
/// created if it does not exist. Replaces existing files.
///
/// # Errors
/// When something cannot be built, fetched or written.
pub fn put(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    for (name, file) in [
        ("fedgate", fedgate::build()?),
        ("fedgate_filter.wasm", wasm::build()?),
        ("envoy", envoy::path()?),
    ] {
        replace(&file, &folder.join(name))
            .with_context(|| format!("cannot write {}", folder.join(name).display()))?;
    }
    Ok(folder)
}

/// Replaces by rename, so that a running program keeps its file.
fn replace(file: &Path, target: &Path) -> std::io::Result<()> {
    let partial = target.with_extension("partial");
    std::fs::copy(file, &partial)?;
    std::fs::rename(&partial, target)
}
