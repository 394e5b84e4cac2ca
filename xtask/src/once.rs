//! Things that are made once and kept in `.tools`.

use crate::tools;
use anyhow::{Context, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Makes `file` unless it is there. `make` is given a path beside, `file` is in place only when all is done: an
/// interrupted run leaves no half file. Another process that makes the same is waited for; both at once would each take
/// twice as long.
///
/// # Errors
/// Those of `make`, and when `.tools` cannot be written.
pub(crate) fn made_once(name: &str, file: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
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

/// The lock is let go when the file is dropped, or with the process.
fn turn(name: &str) -> Result<File> {
    let file = File::create(tools().join(format!("{name}.lock")))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for another process that makes {name}");
            file.lock()?;
        }
        other => other?,
    }
    Ok(file)
}
