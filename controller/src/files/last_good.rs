//! What each file said when it was last good, kept in `state/` over a restart.

use super::object::{self, Found, Read};
use crate::yaml::{self, Document, Limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file in `state/`.
#[derive(Debug)]
pub(super) struct LastGood {
    path: PathBuf,
    written: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    line: u64,
    document: serde_json::Value,
}

impl LastGood {
    pub(super) fn new(state: &Path) -> Self {
        Self { path: state.join("manifests.json"), written: None }
    }

    /// The objects of each file. Without the state, or when it cannot be read, there are none: a report says so, and the files
    /// themselves are read anyway.
    pub(super) fn load(
        &mut self,
        file_as_shown: impl Fn(&str) -> String,
        limits: &Limits,
    ) -> BTreeMap<String, Vec<Found>> {
        let path = self.path.display();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                tracing::warn!(%path, %error, "the last good manifests cannot be read; broken files begin with nothing");
                return BTreeMap::new();
            }
        };
        let rows: BTreeMap<String, Vec<Row>> = match serde_json::from_slice(&bytes) {
            Ok(rows) => rows,
            Err(error) => {
                let aside = self.path.with_extension("broken");
                let moved = fs::rename(&self.path, &aside).is_ok();
                tracing::warn!(%path, %error, moved, "the last good manifests cannot be understood; set aside as .broken");
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

    /// Keeps the objects of each file, if they are others than those that are kept already.
    pub(super) fn save<'a>(&mut self, files: impl Iterator<Item = (&'a str, &'a [Found])>) {
        let row = |found: &Found| Row { line: found.line, document: found.json.clone() };
        let rows: BTreeMap<&str, Vec<Row>> =
            files.map(|(file, found)| (file, found.iter().map(row).collect())).collect();
        let written = serde_json::to_vec(&rows).map_err(std::io::Error::from).and_then(|bytes| {
            if self.written.as_ref() != Some(&bytes) {
                replace(&self.path, &bytes)?;
                self.written = Some(bytes);
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::error!(path = %self.path.display(), %error, "the last good manifests are not kept over a restart");
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

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
