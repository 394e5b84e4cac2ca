//! The folder of one run: certificates, cluster folders, logs.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new folder for each run, below cargo's target folder, so that runs do not interfere. It is
/// removed when dropped, unless [`Self::keep`] was called.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    keep: bool,
}

impl RunFolder {
    /// Creates a folder for the run `name`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let own =
            format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = xtask::target().join("runs").join(own);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path, keep: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it for a program's output.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    /// Keeps the folder for inspection.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// The last lines of each log.
    pub fn log_tails(&self, lines: usize) -> String {
        let mut logs: Vec<PathBuf> = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        let shown = |log: &PathBuf| {
            format!("--- {}\n{}\n", log.display(), crate::process::tail(log, lines))
        };
        logs.iter().map(shown).collect()
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The files in a folder and its subfolders.
///
/// # Errors
/// When a folder cannot be read.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files_below(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}
