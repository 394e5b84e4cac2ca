//! The folder `state/`: what a restart continues from.
//!
//! Each file is replaced as a whole ([`fedgate_disk::replace`]), so no file is ever half written,
//! whenever the process ends. A file that cannot be parsed is set aside and reported; the
//! controller goes on without it. A lock keeps a second controller out.

use fedgate_disk::{Readers, ReplaceError, plain, replace};
use fedgate_process::words;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The folder, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// Another controller uses it.
    #[error(
        "{0} is in use by another `fedgate run`: stop that one first, or give this one a folder of its own"
    )]
    InUse(PathBuf),
    /// A file or folder could not be created, locked or written.
    #[error(
        "cannot {what} {path}: {}; check the folder's owner and mode, and the free space",
        plain(error)
    )]
    Io {
        /// The action that failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
}

impl From<ReplaceError> for StateError {
    fn from(ReplaceError { action, path, error }: ReplaceError) -> Self {
        Self::Io { what: action, path, error }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Io { what, path, error }
}

impl StateFolder {
    /// Opens and locks the folder. Creates it if it is missing.
    ///
    /// # Errors
    /// [`StateError`] when another controller uses it, or it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(failed("create", path))?;
        let lock_path = path.join("lock");
        let lock = lock_file(path, &lock_path).map_err(failed("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed("lock", &lock_path)(error)),
        }
    }

    /// The path of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file; `None` when it is missing, cannot be read or cannot be parsed.
    pub(crate) fn load<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.path(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), error = words::io(&error), "a state file cannot be read; beginning without it");
                return None;
            }
        };
        serde_json::from_slice(&bytes).map_err(|error| set_aside(&path, &error)).ok()
    }

    /// Replaces a file.
    ///
    /// # Errors
    /// [`StateError::Io`]; the file is then unchanged.
    pub(crate) fn save(&self, name: &str, value: &impl Serialize) -> Result<(), StateError> {
        let path = self.path(name);
        let json =
            serde_json::to_vec(value).map_err(|error| failed("write", &path)(error.into()))?;
        Ok(replace(&path, &json, Readers::All)?)
    }

    /// Replaces a small file. If that fails, overwrites the existing file in place, which works on
    /// a full disk. Only for data that is worthless once it is old.
    ///
    /// # Errors
    /// [`StateError::Io`]; the file may then be broken.
    pub(crate) fn save_anyhow(&self, name: &str, value: &impl Serialize) -> Result<(), StateError> {
        let path = self.path(name);
        self.save(name, value).or_else(|_| {
            let json =
                serde_json::to_vec(value).map_err(|error| failed("write", &path)(error.into()))?;
            let file = OpenOptions::new().write(true).open(&path);
            let written = file.and_then(|mut file| {
                file.write_all(&json)?;
                file.set_len(json.len() as u64)
            });
            written.map_err(failed("write", &path))
        })
    }

    /// Replaces a file that only its owner may read.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) fn save_secret(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        Ok(replace(path, bytes, Readers::Owner)?)
    }

    /// Removes a file, if it exists.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// The names of the `.json` files in a subfolder, without that ending.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let name = |entry: fs::DirEntry| {
            entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned)
        };
        entries.filter_map(name).collect()
    }
}

/// The file to lock. A full disk has no room for a new file but must not keep a controller from
/// starting. In that case an existing lock file or the folder itself serves as well.
fn lock_file(folder: &Path, lock: &Path) -> std::io::Result<File> {
    let created = File::create(lock);
    match &created {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            File::open(lock).or_else(|_| File::open(folder))
        }
        _ => created,
    }
}

fn set_aside(path: &Path, error: &serde_json::Error) {
    let aside = path.with_extension("broken");
    let moved = fs::rename(path, &aside).is_ok();
    let path = path.display();
    let (line, column) = (error.line(), error.column());
    tracing::warn!(%path, line, column, moved, "a state file is damaged; it is set aside as .broken, beginning without it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn saved_state_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.load::<Vec<u32>>("peers/a.json"), None);
        state.save("peers/a.json", &[1, 2]).unwrap();
        assert_eq!(state.load("peers/a.json"), Some(vec![1, 2]));
        assert_eq!(state.names("peers"), ["a"]);
        state.remove("peers/a.json");
        assert!(state.names("peers").is_empty());
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        fs::write(state.path("a.json"), "[1,").unwrap();
        assert_eq!(state.load::<Vec<u32>>("a.json"), None);
        assert_eq!(fs::read_to_string(state.path("a.broken")).unwrap(), "[1,");
    }

    #[test]
    fn a_second_controller_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(StateFolder::open(folder.path()), Err(StateError::InUse(_))));
        drop(first);
        assert!(StateFolder::open(folder.path()).is_ok());
    }

    #[test]
    fn a_saved_secret_is_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let path = state.path("authn.key");
        state.save_secret(&path, b"key").unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
