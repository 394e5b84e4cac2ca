//! Reads the files that operators name. Pipes, devices and sockets are refused, because a read of
//! one may wait or go on for ever.

use rustix::fs::OFlags;
use std::fs::{File, FileType, Metadata};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Maximum size of a file with certificates or a key.
pub const MOST_PEM: u64 = 4 << 20;

/// The bytes of a regular file, or of one that a link leads to.
///
/// # Errors
/// If it cannot be read, is no regular file ([`ErrorKind::InvalidInput`]) or has more than `most`
/// bytes ([`ErrorKind::FileTooLarge`]). The text of the last two says what was expected and found.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => {
            let message = format!("expected at most {} MiB, found more", most >> 20);
            Err(Error::new(ErrorKind::FileTooLarge, message))
        }
        false => Ok(bytes),
    }
}

/// Like [`read`], for a file with text.
///
/// # Errors
/// As [`read`], and if it is not UTF-8 ([`ErrorKind::InvalidData`]).
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

/// Opens a regular file for reading.
///
/// # Errors
/// If it cannot be opened or is no regular file ([`ErrorKind::InvalidInput`]).
pub fn open(path: &Path) -> Result<File> {
    // Merely opening a device may have an effect.
    require_regular(&std::fs::metadata(path)?)?;
    // If a pipe has taken the file's place since, opening it must not wait for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    require_regular(&file.metadata()?)?;
    Ok(file)
}

/// Returns true if this error of [`read`] says that the file is no regular one, or too large.
pub fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::FileTooLarge)
}

fn require_regular(found: &Metadata) -> Result<()> {
    match found.is_file() {
        true => Ok(()),
        false => {
            let message = format!("expected a regular file, found {}", name(found.file_type()));
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Reads in a thread of its own, so that a read that never ends fails the test.
    fn read_in_time(path: &Path) -> Result<Vec<u8>> {
        let (path, (sender, receiver)) = (path.to_owned(), mpsc::channel());
        std::thread::spawn(move || sender.send(read(&path, 8)));
        receiver.recv_timeout(Duration::from_secs(20)).expect("the read does not end")
    }

    #[test]
    fn regular_files_are_read_also_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // As Kubernetes mounts a Secret.
        std::fs::create_dir(path("..1")).unwrap();
        std::fs::write(path("..1/key"), "12345678").unwrap();
        symlink("..1", path("..data")).unwrap();
        symlink("..data/key", path("key")).unwrap();
        assert_eq!(read_in_time(&path("key")).unwrap(), b"12345678");
        std::fs::write(path("..1/key"), "123456789").unwrap();
        let error = read(&path("key"), 8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(read(&path("none"), 8).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(path("latin"), b"\xff").unwrap();
        let error = read_text(&path("latin"), 8).unwrap_err();
        assert_eq!(words::io(&error), "it is not text in UTF-8");
    }

    #[test]
    fn whatever_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (pipe, socket, link) = (path("pipe"), path("socket"), path("link"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let _bound = UnixListener::bind(&socket).unwrap();
        symlink("/dev/zero", &link).unwrap();
        for (path, found) in [
            (pipe.as_path(), "a named pipe"),
            (&socket, "a socket"),
            (folder.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
            (&link, "a device"),
        ] {
            let error = read_in_time(path).unwrap_err();
            assert!(is_refusal(&error));
            assert_eq!(words::io(&error), format!("expected a regular file, found {found}"));
        }
    }
}
