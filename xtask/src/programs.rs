//! What a site without Kubernetes runs, in one folder for the PATH.

use crate::{envoy, fedgate, wasm};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Builds `fedgate` and the filter, fetches Envoy, and puts all three in a folder, which is made when it is missing. What is there under their
/// names is replaced.
///
/// # Errors
/// When something cannot be built, fetched or written.
pub fn put(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    for (name, file) in
        [("fedgate", fedgate::build()?), ("fedgate_filter.wasm", wasm::build()?), ("envoy", envoy::path()?)]
    {
        replace(&file, &folder.join(name)).with_context(|| format!("cannot write {}", folder.join(name).display()))?;
    }
    Ok(folder)
}

/// By rename, so that a program that runs stays as it is.
fn replace(file: &Path, target: &Path) -> std::io::Result<()> {
    let partial = target.with_extension("partial");
    std::fs::copy(file, &partial)?;
    std::fs::rename(&partial, target)
}
