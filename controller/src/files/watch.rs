//! Changes in folders and files, as soon as they happen.
//!
//! Files are replaced rather than written: editors and `mv` rename, a Kubernetes volume swaps the symbolic link `..data`, a
//! whole folder may be exchanged. So what is watched is always a folder: the one that an entry stands in, and, for a folder or
//! behind a symbolic link, what the entry leads to. After each change all watches are set again, since the entries may lead to
//! other places by now, and only then the change is reported: whatever happens later is reported again.

use crate::clock::until;
use anyhow::{Context, Result};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A change is reported when nothing more has happened for so long: programs often write several files.
const QUIET: Duration = Duration::from_millis(50);
/// And at the latest after so long.
const LONGEST: Duration = Duration::from_millis(300);
/// How often to look when something cannot be watched.
const RESCAN: Duration = Duration::from_secs(2);

/// Watches these files and folders (not the folders below them).
///
/// # Errors
/// When the system has no watch left to give.
pub fn watch(paths: &[PathBuf]) -> Result<Changes> {
    let shared = Arc::new(Shared::default());
    let told = Arc::clone(&shared);
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| told.event(event))
        .context("cannot watch files: the limit fs.inotify.max_user_instances may be reached")?;
    let paths = paths.iter().map(std::path::absolute).collect::<std::io::Result<_>>()?;
    let mut changes = Changes { paths, watcher, shared, pending: None, rescan: None };
    changes.arm();
    Ok(changes)
}

/// Reports changes. Dropping it ends the watching.
pub struct Changes {
    paths: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    shared: Arc<Shared>,
    /// When the first and the last event happened of the change that is not reported yet.
    pending: Option<(Instant, Instant)>,
    /// When to look without being told, since something is not watched.
    rescan: Option<Instant>,
}

#[derive(Default)]
struct Shared {
    happened: Notify,
    interest: Mutex<Interest>,
}

/// Which events matter.
#[derive(Default)]
struct Interest {
    /// Everything in these folders.
    folders: BTreeSet<PathBuf>,
    /// These entries of their folders.
    entries: BTreeSet<PathBuf>,
}

impl Changes {
    /// Ready when something has changed since the last time. Nothing is lost when it is dropped before.
    pub async fn next(&mut self) {
        loop {
            let due = self.pending.map(|(first, last)| (last + QUIET).min(first + LONGEST));
            let wake = [due, self.rescan].into_iter().flatten().min();
            tokio::select! {
                () = self.shared.happened.notified() => {
                    let now = Instant::now();
                    self.pending = Some((self.pending.map_or(now, |(first, _)| first), now));
                }
                () = until(wake) => break,
            }
        }
        self.pending = None;
        self.arm();
    }

    /// Sets all watches, those that are set already included: it is cheap, and an entry may be another one by now.
    fn arm(&mut self) {
        let mut interest = Interest::default();
        let mut folders = BTreeSet::new();
        for path in &self.paths {
            interest.entries.insert(path.clone());
            folders.extend(path.parent().map(Path::to_owned));
            if path.is_dir() {
                interest.folders.insert(path.clone());
                folders.insert(path.clone());
            }
            // Where a symbolic link, or one on the way, leads to.
            if let Ok(real) = path.canonicalize() {
                folders.extend(real.parent().map(Path::to_owned));
                interest.entries.insert(real);
            }
        }
        *self.shared.interest.lock().unwrap_or_else(PoisonError::into_inner) = interest;
        let mut all_watched = true;
        for folder in folders {
            if let Err(error) = self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "cannot watch a folder; looking at it every 2 s instead");
                all_watched = false;
            }
        }
        self.rescan = (!all_watched).then(|| Instant::now() + RESCAN);
    }
}

impl Shared {
    fn event(&self, event: notify::Result<Event>) {
        let matters = match &event {
            Ok(event) => event.need_rescan() || self.matters(event),
            // Something was lost: look at everything.
            Err(_) => true,
        };
        if matters {
            self.happened.notify_one();
        }
    }

    fn matters(&self, event: &Event) -> bool {
        // Reading is no change; we read ourselves.
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            return false;
        }
        let interest = self.interest.lock().unwrap_or_else(PoisonError::into_inner);
        event.paths.iter().any(|path| interest.has(path))
    }
}

impl Interest {
    fn has(&self, path: &Path) -> bool {
        let in_folder = || path.parent().is_some_and(|folder| self.folders.contains(folder));
        // The link that a Kubernetes volume swaps.
        let is_volume = || path.file_name().is_some_and(|name| name == "..data");
        self.entries.contains(path) || self.folders.contains(path) || in_folder() || is_volume()
    }
}
