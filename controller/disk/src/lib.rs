//! Replaces files atomically: a reader, or a start after a power cut, finds the old bytes or the
//! new ones.

// Tests create files the way operators and their editors do, and start servers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Who may read a file. The process's umask may restrict this further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// The owner only, because the file holds a private key.
    Owner,
    /// Everyone.
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

/// The action that failed, and the path it failed on.
#[derive(Debug)]
pub struct ReplaceError {
    /// A verb phrase that comes before the path: `create the folder`.
    pub action: &'static str,
    /// The path.
    pub path: PathBuf,
    /// The system's error.
    pub error: Error,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(Error) -> ReplaceError + 'a {
    move |error| ReplaceError { action, path: path.to_owned(), error }
}

/// The system's words for an error, without the number that Rust adds: `Permission denied (os error
/// 13)`.
pub fn plain(error: &Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Replaces a file, or creates it together with its parent folders. Writes a temporary file in the
/// same folder and renames it.
///
/// The bytes reach the disk before the rename, and the rename reaches it before this returns.
///
/// # Errors
/// [`ReplaceError`]. The file is then unchanged, unless only the last step failed, the sync of the
/// folder.
pub fn replace(
    path: &Path,
    contents: &[u8],
    readers: Readers,
) -> std::result::Result<(), ReplaceError> {
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
        // A full disk needs the space back.
        let _ = fs::remove_file(&partial);
    }
    replaced.and_then(|()| sync_folder(folder).map_err(failed("sync the folder", folder)))
}

/// Creates a new file. A file left by an interrupted write is removed first, because its owner or
/// mode may differ.
fn create(path: &Path, readers: Readers) -> Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(readers.mode()).open(path)
}

/// Some file systems cannot sync a folder (`EINVAL`) and do not need to.
fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_error_has_no_number() {
        assert_eq!(plain(&Error::from_raw_os_error(28)), "No space left on device");
        assert_eq!(plain(&Error::other("a reason")), "a reason");
    }

    #[test]
    fn a_file_is_replaced_atomically_without_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.json");
        replace(&path, b"one", Readers::All).unwrap();
        let open = File::open(&path).unwrap();
        replace(&path, b"two", Readers::All).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            std::io::read_to_string(open).unwrap(),
            "one",
            "a reader keeps what it has opened"
        );
        assert_eq!(names(path.parent().unwrap()), ["a.json"]);
    }

    #[test]
    fn a_replaced_secret_is_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        // Left by an interrupted write.
        fs::write(folder.path().join(".key.tmp"), "").unwrap();
        fs::write(&path, "").unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_ne!(mode(), 0o600);
        replace(&path, b"secret", Readers::Owner).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "good").unwrap();
        let in_the_way = folder.path().join(".a.tmp");
        fs::create_dir(&in_the_way).unwrap();
        let failed = replace(&path, b"new", Readers::All).unwrap_err();
        assert_eq!((failed.action, failed.path), ("create", in_the_way));
        assert_eq!(fs::read(&path).unwrap(), b"good");
        let failed = replace(&path.join("below/a/file"), b"new", Readers::All).unwrap_err();
        assert_eq!(
            (failed.action, failed.error.kind()),
            ("create the folder", ErrorKind::NotADirectory)
        );
    }
}
