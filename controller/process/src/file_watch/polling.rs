//! Compares files at intervals, to find changes that no event reports.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// The interval when everything is watched. Network file systems do not report other machines'
/// changes.
const SLOW: Duration = Duration::from_secs(30);
/// The interval when something cannot be watched.
const FAST: Duration = Duration::from_secs(2);
/// The wait before a changed file is compared again, to see whether it is still changing.
const SOON: Duration = Duration::from_secs(1);

/// A file's state: device, inode, size, and the times of its last changes.
type FileState = (u64, u64, u64, i64, i64, i64, i64);

/// The state of all files. `None` for a missing file.
type Snapshot = BTreeMap<PathBuf, Option<FileState>>;

/// The state at the last comparison, and when to compare next.
#[derive(Debug)]
pub(super) struct Polling {
    reported: Snapshot,
    /// A state that differs from the reported one and may still be changing.
    changed: Option<Snapshot>,
    every: Duration,
    at: Instant,
}

impl Polling {
    pub(super) fn new(paths: &[PathBuf]) -> Self {
        Self { reported: snapshot(paths), changed: None, every: SLOW, at: Instant::now() + SLOW }
    }

    /// When to compare next.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Starts over from the current state, because everything is about to be read.
    pub(super) fn begin(&mut self, paths: &[PathBuf], often: bool) {
        let every = if often { FAST } else { SLOW };
        *self =
            Self { reported: snapshot(paths), changed: None, every, at: Instant::now() + every };
    }

    /// Compares, and returns true on a change. A change counts when a second comparison confirms it,
    /// so that no file is read while it is written. A removal counts at once.
    pub(super) fn has_changed(&mut self, paths: &[PathBuf]) -> bool {
        let now = snapshot(paths);
        self.at = Instant::now() + self.every;
        if now == self.reported {
            self.changed = None;
            return false;
        }
        let gone = |(path, state): (&PathBuf, &Option<FileState>)| {
            state.is_some() && !now.get(path).is_some_and(Option::is_some)
        };
        if self.reported.iter().any(gone) || self.changed.as_ref() == Some(&now) {
            return true;
        }
        self.changed = Some(now);
        self.at = Instant::now() + SOON;
        false
    }
}

fn snapshot(paths: &[PathBuf]) -> Snapshot {
    let below = paths.iter().filter(|path| path.is_dir()).flat_map(|path| in_folder(path));
    let entries = paths.iter().cloned().chain(below);
    entries.map(|path| (path.clone(), state(&path))).collect()
}

fn state(path: &Path) -> Option<FileState> {
    let file = path.metadata().ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    ))
}

/// The entries of a folder that may be manifests.
pub(super) fn in_folder(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(super::MOST_FILES);
    let visible =
        |entry: &std::fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    entries.filter(visible).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_reported_once_stable_and_a_removal_at_once() {
        let root = TempDir::new().unwrap();
        let file = root.path().join("a.yaml");
        let paths = [root.path().to_owned()];
        fs::write(&file, "1").unwrap();
        let mut polling = Polling::new(&paths);
        assert!(!polling.has_changed(&paths));
        assert_eq!(polling.at(), Instant::now() + SLOW);
        fs::write(&file, "12").unwrap();
        assert!(!polling.has_changed(&paths), "it may still be written");
        assert_eq!(polling.at(), Instant::now() + SOON);
        fs::write(&file, "123").unwrap();
        assert!(!polling.has_changed(&paths), "it is");
        assert!(polling.has_changed(&paths));
        polling.begin(&paths, true);
        assert_eq!(polling.at(), Instant::now() + FAST);
        assert!(!polling.has_changed(&paths));
        fs::remove_file(&file).unwrap();
        assert!(polling.has_changed(&paths));
    }
}
