//! Reports changes in folders and files as soon as they happen.
//!
//! Files are replaced rather than written: editors and `mv` rename, a Kubernetes volume swaps the
//! symbolic link `..data`, a whole folder may be exchanged. So only folders are watched: the one
//! that holds an entry, and every folder that its symbolic links lead through ([`trail()`]). After
//! each change all watches are set again, because entries may now lead elsewhere. The change is
//! reported only after that, so later changes are reported again.
//!
//! Network file systems do not report changes made by other machines, so the entries are also
//! compared at intervals ([`Polling`]).

mod polling;
mod trail;
mod writing;

use crate::clock::until;
use crate::machine::{Inotify, KernelLimit};
use crate::words;
use anyhow::Result;
use notify::event::{AccessKind, AccessMode, ModifyKind, RemoveKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use polling::{Polling, in_folder};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use trail::trail;
use writing::Writing;

/// A change is reported after this much time without another one, because programs often write
/// several files.
const QUIET: Duration = Duration::from_millis(50);
/// The longest delay before a change is reported.
const LONGEST: Duration = Duration::from_millis(300);
/// The most files of a folder that are examined.
pub const MOST_FILES: usize = 10_000;
const MOST_FOLDERS: usize = 1_000;

/// Watches these files and folders, but not folders below them.
///
/// # Errors
/// If the system cannot provide a watcher.
pub fn watch(paths: &[PathBuf]) -> Result<Changes> {
    let shared = Arc::new(Shared::default());
    let receiver = Arc::clone(&shared);
    let watcher =
        notify::recommended_watcher(move |event: notify::Result<Event>| receiver.event(event))
            .map_err(|error| anyhow::anyhow!(no_watcher(&error)))?;
    let paths = paths.iter().map(std::path::absolute).collect::<std::io::Result<Vec<_>>>()?;
    let polling = Polling::new(&paths);
    let unwatched = BTreeSet::new();
    let (pending, again, most_folders) = (None, None, MOST_FOLDERS);
    let mut changes =
        Changes { paths, watcher, shared, pending, again, unwatched, most_folders, polling };
    changes.arm();
    Ok(changes)
}

/// Reports changes. Dropping it ends the watch.
pub struct Changes {
    paths: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    shared: Arc<Shared>,
    /// The times of the first and the last event of the change not yet reported.
    pending: Option<(Instant, Instant)>,
    /// When to report a change even if nothing happens.
    again: Option<Instant>,
    /// The folders that cannot be watched.
    unwatched: BTreeSet<PathBuf>,
    /// The most folders that are watched. The others are only compared at intervals.
    most_folders: usize,
    polling: Polling,
}

#[derive(Default)]
struct Shared {
    happened: Notify,
    interest: Mutex<Interest>,
    writing: Mutex<Writing>,
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
    /// Waits for a change since the last call. Cancel safe.
    pub async fn next(&mut self) {
        loop {
            let quiet = self.pending.map(|(first, last)| (last + QUIET).min(first + LONGEST));
            let due = [quiet, self.again, self.writing(Writing::rests)].into_iter().flatten().min();
            let next_poll = self.polling.at();
            tokio::select! {
                () = self.shared.happened.notified() => {
                    let now = Instant::now();
                    self.pending = Some((self.pending.map_or(now, |(first, _)| first), now));
                }
                () = until(due) => break,
                () = until(Some(next_poll)) => if self.polling.has_changed(&self.paths) { break },
            }
        }
        (self.pending, self.again) = (None, None);
        self.writing(|writing| writing.forget_rested(Instant::now()));
        self.arm();
    }

    /// The files that a program has open for writing.
    pub fn open_files(&self) -> BTreeSet<PathBuf> {
        self.writing(|writing| writing.files())
    }

    /// Reports a change after this time, even if there is none.
    pub fn again_in(&mut self, time: Duration) {
        let then = Instant::now() + time;
        self.again = Some(self.again.map_or(then, |again| again.min(then)));
    }

    fn writing<T>(&self, of: impl FnOnce(&mut Writing) -> T) -> T {
        of(&mut self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets all watches again, including existing ones. This is cheap, and an entry may have become
    /// a different file.
    fn arm(&mut self) {
        let mut interest = Interest::default();
        let mut folders = BTreeSet::new();
        for path in &self.paths {
            if path.is_dir() {
                interest.folders.insert(path.clone());
                folders.insert(path.clone());
                for link in in_folder(path).filter(|entry| entry.is_symlink()) {
                    interest.entries.extend(trail(&link));
                }
            }
            interest.entries.insert(path.clone());
            interest.entries.extend(trail(path));
        }
        folders
            .extend(interest.entries.iter().filter_map(|entry| entry.parent()).map(Path::to_owned));
        *self.shared.interest.lock().unwrap_or_else(PoisonError::into_inner) = interest;
        let unwatched =
            folders.into_iter().enumerate().filter(|(index, folder)| !self.watch(*index, folder));
        let unwatched = unwatched.map(|(_, folder)| folder).collect::<Vec<_>>();
        self.unwatched = unwatched.into_iter().collect();
        self.polling.begin(&self.paths, !self.unwatched.is_empty());
    }

    /// Watches a folder, and returns true if that worked. A failure is logged once, not each time.
    fn watch(&mut self, index: usize, folder: &Path) -> bool {
        let known = self.unwatched.contains(folder);
        let most = self.most_folders;
        let watched = match index < most {
            true => {
                self.watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| why(&error))
            }
            false => Err(format!("links lead to more than {most} folders")),
        };
        match watched {
            // A missing folder is reported when it appears, because the folder above it is watched.
            Err(_) if !folder.exists() => return true,
            Err(ref error) if !known => {
                tracing::warn!(folder = %folder.display(), error, "cannot watch a folder; looking at it every 2 s instead");
            }
            Ok(()) if known => {
                tracing::info!(folder = %folder.display(), "the folder is watched again")
            }
            _ => {}
        }
        watched.is_ok()
    }
}

/// Why files cannot be watched at all.
fn no_watcher(error: &notify::Error) -> String {
    /// The kernel's error when a user has no inotify instance left (EMFILE).
    const NONE_LEFT: i32 = 24;
    let code = match &error.kind {
        notify::ErrorKind::Io(error) => error.raw_os_error(),
        _ => None,
    };
    let why = match (code, Inotify::read()) {
        (Some(NONE_LEFT), Some(Inotify { instances: KernelLimit { setting, value }, .. })) => {
            format!(
                "the kernel gives this user no inotify instance: {setting} is {value}, and all are in use; raise it with sysctl, and in \
             /etc/sysctl.d for the next start"
            )
        }
        _ => why(error),
    };
    format!("files cannot be watched for changes: {why}")
}

fn why(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the kernel's limit fs.inotify.max_user_watches is reached".to_owned()
        }
        notify::ErrorKind::Io(error) => words::io(error),
        notify::ErrorKind::PathNotFound => "there is no such folder".to_owned(),
        _ => "the system refuses it".to_owned(),
    }
}

impl Shared {
    fn event(&self, event: notify::Result<Event>) {
        let matters = match &event {
            Ok(event) => event.need_rescan() || self.matters(event),
            // Events were lost, so everything may have changed.
            Err(_) => true,
        };
        if matters {
            self.happened.notify_one();
        }
    }

    fn matters(&self, event: &Event) -> bool {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        // Reads are not changes, and this process reads too.
        if matches!(event.kind, EventKind::Access(_)) && event.kind != closed {
            return false;
        }
        let interest = self.interest.lock().unwrap_or_else(PoisonError::into_inner);
        let paths: Vec<_> = event.paths.iter().filter(|path| interest.has(path)).collect();
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for path in &paths {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => writing.began(path),
                EventKind::Remove(RemoveKind::File) | EventKind::Modify(ModifyKind::Name(_)) => {
                    writing.ended(path)
                }
                kind if kind == closed => writing.ended(path),
                _ => {}
            }
        }
        !paths.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::captured;

    /// Watches are set again at each change and each look, so an unwatchable folder would be logged
    /// every two seconds.
    #[test]
    fn an_unwatchable_folder_is_logged_once_and_its_recovery_once() {
        let folder = tempfile::TempDir::new().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        let log = captured(|| {
            let mut changes = watch(&[manifests]).unwrap();
            for most in [MOST_FOLDERS, 1, 1, 1, MOST_FOLDERS, MOST_FOLDERS, 1] {
                changes.most_folders = most;
                changes.arm();
                assert_eq!(
                    changes.unwatched.len(),
                    usize::from(most == 1),
                    "{:?}",
                    changes.unwatched
                );
            }
        });
        let lines: Vec<_> = log.lines().map(|line| line.contains("WARN")).collect();
        assert_eq!(lines, [true, false, true], "{log}");
        assert!(log.contains("cannot watch a folder"), "{log}");
    }
}
