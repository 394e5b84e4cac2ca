//! Whether a file system is mounted on a folder.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether a file system is mounted on the folder, including by `mount --bind`; `None` if that
/// cannot be determined.
pub(super) fn is_mount(folder: &Path) -> Option<bool> {
    let folder = folder.canonicalize().ok()?;
    let above = folder.parent()?.metadata().ok()?;
    if folder.metadata().ok()?.dev() != above.dev() {
        return Some(true);
    }
    // Without /proc, only mounts of other devices are detected.
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    Some(mount_points(&mounts).any(|point| point == folder))
}

/// The fifth field of each line (proc_pid_mountinfo(5)).
fn mount_points(mounts: &[u8]) -> impl Iterator<Item = PathBuf> {
    mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescaped)
}

/// Decodes octal escapes of spaces and the like, such as `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), field);
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn mount_points_with_spaces_are_parsed() {
        let mounts = b"36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw\n22 1 0:5 / /proc rw - proc proc rw\nbroken\n";
        let points: Vec<_> = mount_points(mounts).collect();
        assert_eq!(points, [Path::new("/mnt/a b"), Path::new("/proc")]);
        assert_eq!(unescaped(b"a\\9z\\04").as_os_str().as_bytes(), b"a\\9z\\04");
    }

    #[test]
    fn mount_points_are_distinguished_from_folders() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        assert_eq!(is_mount(&folder.path().join("a")), Some(false));
        assert_eq!(is_mount(Path::new("/proc")), Some(true));
        assert_eq!(is_mount(&folder.path().join("b")), None);
    }
}
