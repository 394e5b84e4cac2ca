//! Replacing a file, so that a reader finds the old bytes or the new ones, and so does a start after a power cut.

// Tests make files as operators and their editors do, and start strangers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Who may read a file; the process's umask may take more away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: it holds a private key.
    Owner,
    /// Everybody.
    All,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::All => 0o644,
        }
    }
}

/// What could not be done, and with which path.
#[derive(Debug)]
pub struct ReplaceError {
    /// A verb phrase that the path follows: `create the folder`.
    pub action: &'static str,
    /// The path.
    pub path: PathBuf,
    /// What the system says.
    pub error: Error,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(Error) -> ReplaceError + 'a {
    move |error| ReplaceError { action, path: path.to_owned(), error }
}

/// Replaces a file, or creates it with the folders above it: writes beside it, then renames.
///
/// The bytes reach the disk before the name does, and the name before this returns.
///
/// # Errors
/// [`ReplaceError`]. The file is then as it was, unless only the last step failed, which syncs its folder.
pub fn replace(path: &Path, contents: &[u8], readers: Readers) -> std::result::Result<(), ReplaceError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
    let partial = folder.join(format!(".{}.tmp", path.file_name().unwrap_or_default().display()));
    let mut file = create(&partial, readers).map_err(failed("create", &partial))?;
    let replaced = file
        .write_all(contents)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &partial))
        .and_then(|()| fs::rename(&partial, path).map_err(failed("replace", path)));
    if replaced.is_err() {
        // A full disk needs the space.
        let _ = fs::remove_file(&partial);
    }
    replaced.and_then(|()| sync_folder(folder).map_err(failed("sync the folder", folder)))
}

/// Creates a file that does not exist. One that an interrupted write left behind may have another owner or mode.
fn create(path: &Path, readers: Readers) -> Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(readers.mode()).open(path)
}

/// Some file systems cannot sync a folder (`EINVAL`), and need not.
fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.json");
        replace(&path, b"one", Readers::All).unwrap();
        let open = File::open(&path).unwrap();
        replace(&path, b"two", Readers::All).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(std::io::read_to_string(open).unwrap(), "one", "a reader keeps what it has opened");
        assert_eq!(names(path.parent().unwrap()), ["a.json"]);
    }

    #[test]
    fn a_secret_is_its_owners_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        // Left behind by an interrupted write.
        fs::write(folder.path().join(".key.tmp"), "").unwrap();
        fs::write(&path, "").unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_ne!(mode(), 0o600);
        replace(&path, b"secret", Readers::Owner).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "good").unwrap();
        let in_the_way = folder.path().join(".a.tmp");
        fs::create_dir(&in_the_way).unwrap();
        let failed = replace(&path, b"new", Readers::All).unwrap_err();
        assert_eq!((failed.action, failed.path), ("create", in_the_way));
        assert_eq!(fs::read(&path).unwrap(), b"good");
        let failed = replace(&path.join("below/a/file"), b"new", Readers::All).unwrap_err();
        assert_eq!((failed.action, failed.error.kind()), ("create the folder", ErrorKind::NotADirectory));
    }
}
