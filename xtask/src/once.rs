//! Files that are built once and kept in `.tools`.

use crate::tools;
use anyhow::{Context, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Calls `make` unless `file` exists. `make` writes to a path next to it, which is renamed at the
/// end, so that an interrupted run leaves no incomplete file. If another process is making the same
/// file, waits for it: two builds at once would each take twice as long.
///
/// # Errors
/// When `make` fails, or `.tools` cannot be written.
pub(crate) fn made_once(
    name: &str,
    file: &Path,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if file.is_file() {
        return Ok(());
    }
    std::fs::create_dir_all(file.parent().unwrap_or(&tools()))?;
    let _turn = turn(name)?;
    if file.is_file() {
        return Ok(());
    }
    let partial = file.with_extension("partial");
    make(&partial)?;
    std::fs::rename(&partial, file).with_context(|| format!("cannot rename {}", partial.display()))
}

/// Takes the lock for this name. Dropping the file releases it, and so does the end of the process.
fn turn(name: &str) -> Result<File> {
    let file = File::create(tools().join(format!("{name}.lock")))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            eprintln!("xtask: waiting for another process that is building {name}");
            file.lock()?;
        }
        other => other?,
    }
    Ok(file)
}
