//! Files and their paths.

use super::text;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An absolute path that can be written in a JSON file. Absolute, because Envoy's working directory
/// is unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(String);

/// Why Envoy cannot be given a path.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// It is relative and the current directory is unknown, or it is empty.
    #[error("the path {0:?} cannot be made absolute: {1}")]
    Absolute(PathBuf, #[source] std::io::Error),
    /// It is not UTF-8, which JSON requires.
    #[error("the path {0:?} is not UTF-8, and Envoy's files are: rename it")]
    NotUtf8(PathBuf),
}

impl FilePath {
    /// Makes `path` absolute.
    ///
    /// # Errors
    /// [`PathError`] if it is empty, or not UTF-8.
    pub fn new(path: &Path) -> Result<Self, PathError> {
        let absolute = std::path::absolute(path)
            .map_err(|error| PathError::Absolute(path.to_owned(), error))?;
        match absolute.to_str() {
            Some(text) => Ok(Self(text.to_owned())),
            None => Err(PathError::NotUtf8(absolute)),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn join(&self, relative: &str) -> Self {
        Self(format!("{}/{relative}", self.0.trim_end_matches('/')))
    }

    pub(super) fn folder(&self) -> &str {
        Path::new(&self.0).parent().and_then(Path::to_str).unwrap_or("/")
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

/// A file that Envoy reads.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its path relative to the folder of [`EnvoyFiles`](super::EnvoyFiles).
    pub path: String,
    /// Its bytes.
    pub contents: Vec<u8>,
    /// True if it holds a private key: only its owner may read it (mode 0600).
    pub secret: bool,
    pub(super) step: Step,
}

/// Does not print the contents.
impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .field("bytes", &self.contents.len())
            .finish()
    }
}

/// The order in which files are written. A file comes after everything that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// The filter's module, secrets, trust bundles. They name no other file.
    Base,
    /// Clusters name secrets.
    Clusters,
    /// The table names clusters and the module.
    Table,
    /// Listeners name clusters and the filter.
    Listeners,
    /// The bootstrap names the files of listeners and clusters.
    Bootstrap,
}

impl File {
    pub(super) fn new(step: Step, path: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), contents: contents.into(), secret: false, step }
    }

    pub(super) fn json(step: Step, path: impl Into<String>, value: &Value) -> Self {
        Self::new(step, path, format!("{value:#}\n"))
    }

    /// A file with these resources.
    pub(super) fn resources(step: Step, path: impl Into<String>, resources: &[Arc<str>]) -> Self {
        Self::new(step, path, text::file(resources))
    }

    /// A file with a private key.
    pub(super) fn secret(path: impl Into<String>, value: &Value) -> Self {
        Self { secret: true, ..Self::json(Step::Base, path, value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute() {
        assert_eq!(FilePath::new(Path::new("/a/b/")).unwrap().join("c").as_str(), "/a/b/c");
        assert!(FilePath::new(Path::new("a")).unwrap().as_str().starts_with('/'));
        assert!(matches!(FilePath::new(Path::new("")), Err(PathError::Absolute(..))));
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_not_utf8_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/a\xff"));
        assert!(matches!(FilePath::new(path), Err(PathError::NotUtf8(_))));
    }
}
