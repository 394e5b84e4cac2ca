//! What each file said when it was last good, kept in `state/` over a restart.

use super::object::{self, Found, Read};
use crate::yaml::{self, Document, Limits};
use fedgate_disk::{Readers, replace};
use fedgate_process::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The file in `state/`.
#[derive(Debug)]
pub(super) struct LastGood {
    path: PathBuf,
    written: Option<Vec<u8>>,
    mounted: bool,
}

/// The content of the file.
#[derive(Default, Serialize, Deserialize)]
struct Kept<F> {
    /// The rows of each file.
    files: F,
    /// Whether a file system was mounted on the folder. Without the mount, the folder must not look
    /// as if it had been emptied.
    mounted: bool,
}

#[derive(Serialize, Deserialize)]
struct Row {
    line: u64,
    document: serde_json::Value,
}

impl LastGood {
    pub(super) fn new(state: &Path) -> Self {
        Self { path: state.join("manifests.json"), written: None, mounted: false }
    }

    /// Whether a file system was mounted on the folder when it was last read.
    pub(super) fn was_mounted(&self) -> bool {
        self.mounted
    }

    pub(super) fn set_mounted(&mut self, mounted: bool) {
        self.mounted = mounted;
    }

    /// The objects of each file. None if the state is missing, unreadable or damaged; the latter
    /// two are logged. The manifests themselves are read anyway.
    pub(super) fn load(
        &mut self,
        file_as_shown: impl Fn(&str) -> String,
        limits: &Limits,
    ) -> BTreeMap<String, Vec<Found>> {
        let path = self.path.display().to_string();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                let error = words::io(&error);
                tracing::warn!(%path, error, "cannot read the last valid manifests; files that are broken now are left out");
                return BTreeMap::new();
            }
        };
        let rows = match serde_json::from_slice::<Kept<BTreeMap<String, Vec<Row>>>>(&bytes) {
            Ok(kept) => {
                self.mounted = kept.mounted;
                kept.files
            }
            Err(_) => {
                let aside = self.path.with_extension("broken");
                let moved = fs::rename(&self.path, &aside).is_ok();
                tracing::warn!(%path, moved, "the last valid manifests are damaged; set aside as .broken");
                return BTreeMap::new();
            }
        };
        self.written = Some(bytes);
        let found = |(file, rows): (String, Vec<Row>)| {
            let shown = file_as_shown(&file);
            let found = rows.into_iter().filter_map(|row| read(&row, &shown, limits)).collect();
            (file, found)
        };
        rows.into_iter().map(found).collect()
    }

    /// Saves the objects of each file, if they differ from those saved before.
    pub(super) fn save<'a>(&mut self, files: impl Iterator<Item = (&'a str, &'a [Found])>) {
        let row = |found: &Found| Row { line: found.line, document: found.json.clone() };
        let files: BTreeMap<&str, Vec<Row>> =
            files.map(|(file, found)| (file, found.iter().map(row).collect())).collect();
        let kept = Kept { files, mounted: self.mounted };
        let written = serde_json::to_vec(&kept).map_err(std::io::Error::from).and_then(|bytes| {
            if self.written.as_ref() != Some(&bytes) {
                replace(&self.path, &bytes, Readers::All).map_err(|failed| failed.error)?;
                self.written = Some(bytes);
            }
            Ok(())
        });
        if let Err(error) = written {
            let error = words::io(&error);
            tracing::error!(path = %self.path.display(), error, "the last valid manifests are not kept over a restart");
        }
    }
}

/// JSON is YAML, so an object is read as it was the first time.
fn read(row: &Row, file: &str, limits: &Limits) -> Option<Found> {
    let text = row.document.to_string();
    let mut node = yaml::parse(Document { text: &text, line: 1 }, limits).ok()??;
    node.line = row.line;
    match object::read(&node, file).pop()? {
        Read::Good(found) => Some(*found),
        Read::Broken(_) | Read::Unused(_) => None,
    }
}
