//! Writes the files that Envoy watches. No other module of this crate touches a file.
//!
//! Each file is written under another name and renamed, so Envoy sees the old bytes or the new
//! ones. A file is written after everything that it names ([`Step`]). Removing clusters goes the
//! other way: a cluster stays as long as the old table or an old listener may name it. So if
//! clusters are only removed, their file is written last; if clusters are added or changed too, it
//! is written twice ([`Turn`]).

use super::file::{File, FilePath, Step};
use super::gateway::BUNDLES;
use crate::text;
use fedgate_disk::{Readers, ReplaceError, plain, replace};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// What changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Files with new bytes, in the order of writing.
    pub changed: Vec<String>,
    /// Files that are no longer wanted.
    pub removed: Vec<String>,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {action} {path}: {}; check the folder's owner and mode, and the free space",
    plain(source)
)]
pub struct WriteError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl From<ReplaceError> for WriteError {
    fn from(ReplaceError { action, path, error }: ReplaceError) -> Self {
        Self { action, path, source: error }
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> WriteError + 'a {
    move |source| WriteError { action, path: path.to_owned(), source }
}

/// The bytes of a file.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

pub(super) fn write(folder: &FilePath, files: &[File]) -> Result<Written, WriteError> {
    let mut changes = Vec::new();
    for file in files {
        let path = folder.join(&file.path);
        let before = read(path.as_ref())?;
        if before.as_deref() != Some(&file.contents) {
            changes.push(Change { file, path, before });
        }
    }
    changes.sort_by_key(|change| change.file.step);
    for Write { path, contents, file } in sequence(&changes) {
        let readers = if file.secret { Readers::Owner } else { Readers::All };
        replace(path.as_ref(), &contents, readers)?;
        if file.path == BUNDLES {
            write_again(path.as_ref(), &contents)?;
        }
    }
    let changed = changes.iter().map(|change| change.file.path.clone()).collect();
    Ok(Written { changed, removed: remove_unwanted(folder, files)? })
}

/// Envoy 1.37 reads the bundle map again when it is written, but not when it is renamed; later
/// releases do both. The bytes are the same as before, so no reader finds half a file.
fn write_again(path: &Path, contents: &[u8]) -> Result<(), WriteError> {
    let file = fs::File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(contents)).map_err(failed("write", path))
}

struct Change<'a> {
    file: &'a File,
    path: FilePath,
    before: Option<Vec<u8>>,
}

/// When a file's new bytes are written.
enum Turn {
    /// In the order of steps.
    Now,
    /// Last, after everything that may still name the removed clusters, because none are added or
    /// changed.
    AtLast,
    /// First these bytes in the order of steps, with removed and new clusters. Then the new bytes
    /// last.
    Twice(Vec<u8>),
}

impl Change<'_> {
    fn turn(&self) -> Turn {
        match (&self.before, self.file.step) {
            (Some(before), Step::Clusters) => {
                turn(before, &self.file.contents).unwrap_or(Turn::Now)
            }
            _ => Turn::Now,
        }
    }
}

struct Write<'a> {
    path: &'a FilePath,
    contents: Cow<'a, [u8]>,
    file: &'a File,
}

/// All writes in order. `changes` are sorted by step.
fn sequence<'a>(changes: &'a [Change<'_>]) -> Vec<Write<'a>> {
    let (mut sequence, mut at_last) = (Vec::new(), Vec::new());
    for change in changes {
        let file = change.file;
        let new = Write { path: &change.path, contents: Cow::Borrowed(&*file.contents), file };
        match change.turn() {
            Turn::Now => sequence.push(new),
            Turn::AtLast => at_last.push(new),
            Turn::Twice(both) => {
                sequence.push(Write { path: &change.path, contents: Cow::Owned(both), file });
                at_last.push(new);
            }
        }
    }
    sequence.extend(at_last);
    sequence
}

/// `None` if one of them does not have the form of resources. Then there is nothing to keep.
fn turn(before: &[u8], after: &[u8]) -> Option<Turn> {
    let before: BTreeMap<_, _> = text::resources(before)?.into_iter().collect();
    let after = text::resources(after)?;
    let names: BTreeSet<_> = after.iter().map(|(name, _)| name).collect();
    let going: Vec<_> =
        before.iter().filter(|(name, _)| !names.contains(name)).map(|(_, one)| *one).collect();
    if going.is_empty() {
        return Some(Turn::Now);
    }
    if after.iter().all(|(name, one)| before.get(name) == Some(one)) {
        return Some(Turn::AtLast);
    }
    let both: Vec<_> = after.iter().map(|(_, one)| *one).chain(going).collect();
    Some(Turn::Twice(text::file(&both)))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, WriteError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Folders from which unused files are removed, with the prefix and suffix of our names. Only
/// earlier versions wrote to `egress/trust`.
const REMOVABLE: [(&str, &str, &str); 2] =
    [("gateway/filter", "fedgate_filter-", ".wasm"), ("egress/trust", "", ".json")];

fn remove_unwanted(folder: &FilePath, files: &[File]) -> Result<Vec<String>, WriteError> {
    let wanted: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let roles: BTreeSet<&str> = wanted.iter().filter_map(|path| path.split('/').next()).collect();
    let mut removed = Vec::new();
    for (subfolder, prefix, suffix) in REMOVABLE {
        if !subfolder.split('/').next().is_some_and(|role| roles.contains(role)) {
            continue;
        }
        for name in names_in(folder.join(subfolder).as_ref())? {
            let relative = format!("{subfolder}/{name}");
            if name.starts_with(prefix)
                && name.ends_with(suffix)
                && !wanted.contains(relative.as_str())
            {
                let path = folder.join(&relative);
                fs::remove_file(&path).map_err(failed("remove", path.as_ref()))?;
                removed.push(relative);
            }
        }
    }
    Ok(removed)
}

/// The UTF-8 names in a folder, sorted; all of ours are UTF-8. A missing folder counts as empty.
fn names_in(folder: &Path) -> Result<Vec<String>, WriteError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed("list", folder))?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EnvoyFiles;
    use crate::resource::discovery;
    use serde_json::{Value, json};

    fn clusters(names: &[&str]) -> Value {
        discovery(names.iter().map(|name| json!({ "name": name })).collect())
    }

    /// A gateway whose table names `clusters`.
    fn gateway(names: &[&str]) -> Vec<File> {
        vec![
            File::json(Step::Bootstrap, "gateway/bootstrap.json", &json!({})),
            File::json(Step::Table, "gateway/filter/filter.json", &json!({ "table": names })),
            File::json(Step::Listeners, "gateway/lds.json", &json!({})),
            File::json(Step::Clusters, "gateway/cds.json", &clusters(names)),
            File::new(Step::Base, "gateway/filter/fedgate_filter-1.wasm", *b"module"),
        ]
    }

    fn start() -> (tempfile::TempDir, EnvoyFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = EnvoyFiles::new(&folder.path().join("envoy")).unwrap();
        (folder, files)
    }

    fn json_at(files: &EnvoyFiles, path: &str) -> Value {
        serde_json::from_slice(&fs::read(files.path(path)).unwrap()).unwrap()
    }

    #[test]
    fn referenced_files_are_written_first() {
        let (_folder, files) = start();
        let written = files.write(&gateway(&["a"])).unwrap();
        let expected = [
            "filter/fedgate_filter-1.wasm",
            "cds.json",
            "filter/filter.json",
            "lds.json",
            "bootstrap.json",
        ];
        assert_eq!(written.changed, expected.map(|name| format!("gateway/{name}")));
        assert_eq!(json_at(&files, "gateway/cds.json"), clusters(&["a"]));
    }

    #[test]
    fn only_changed_files_are_written() {
        let (_folder, files) = start();
        files.write(&gateway(&["a"])).unwrap();
        assert_eq!(files.write(&gateway(&["a"])).unwrap(), Written::default());
        let written = files.write(&gateway(&["a", "b"])).unwrap();
        assert_eq!(written.changed, ["gateway/cds.json", "gateway/filter/filter.json"]);
    }

    #[test]
    fn the_table_never_names_a_missing_cluster() {
        assert_eq!(writes(&["a", "b"], &["b", "c"]), ["cds.json", "filter.json", "cds.json"]);
        assert_eq!(writes(&["a"], &["a", "b"]), ["cds.json", "filter.json"]);
        assert_eq!(writes(&["a", "b"], &["a"]), ["filter.json", "cds.json"]);
    }

    /// Checks the state after each write, and returns what was written.
    fn writes(names_before: &[&str], names_after: &[&str]) -> Vec<String> {
        let folder = FilePath::new(Path::new("/envoy")).unwrap();
        let (before, after) = (gateway(names_before), gateway(names_after));
        let change = |file| Change {
            file,
            path: folder.join(&file.path),
            before: before
                .iter()
                .find(|other| other.path == file.path)
                .map(|file| file.contents.clone()),
        };
        let changes: Vec<_> = [3, 1].into_iter().map(|index| change(&after[index])).collect();
        let mut there = serde_json::from_slice::<Value>(&before[3].contents).unwrap();
        let mut table = serde_json::from_slice::<Value>(&before[1].contents).unwrap();
        let sequence = sequence(&changes);
        for Write { path, contents, .. } in &sequence {
            let value = serde_json::from_slice(contents).unwrap();
            match path.as_str() {
                "/envoy/gateway/cds.json" => there = value,
                _ => table = value,
            }
            let names: BTreeSet<_> = there["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            let named = table["table"].as_array().unwrap();
            assert!(
                named.iter().all(|cluster| names.contains(cluster.as_str().unwrap())),
                "{named:?} {names:?}"
            );
        }
        assert_eq!((there, table["table"].clone()), (clusters(names_after), json!(names_after)));
        sequence
            .iter()
            .map(|write| write.path.as_str().rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn unused_clusters_are_removed_last() {
        let (_folder, files) = start();
        files.write(&gateway(&["a", "b"])).unwrap();
        files.write(&gateway(&["b", "c"])).unwrap();
        assert_eq!(json_at(&files, "gateway/cds.json"), clusters(&["b", "c"]));
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let (_folder, files) = start();
        files.write(&gateway(&["a"])).unwrap();
        fs::write(files.path("gateway/cds.json"), b"{").unwrap();
        assert_eq!(files.write(&gateway(&["a"])).unwrap().changed, ["gateway/cds.json"]);
        assert_eq!(json_at(&files, "gateway/cds.json"), clusters(&["a"]));
    }

    #[test]
    fn only_our_own_files_of_the_same_envoy_are_removed() {
        let (_folder, files) = start();
        let strangers = [
            "gateway/filter/notes.txt",
            "gateway/mine.json",
            "egress/trust/README",
            "other/x.json",
        ];
        let ours = ["gateway/filter/fedgate_filter-0.wasm", "egress/trust/gone.example.json"];
        for path in strangers.iter().chain(&ours) {
            replace(files.path(path).as_ref(), b"", Readers::All).unwrap();
        }
        assert_eq!(
            files.write(&gateway(&["a"])).unwrap().removed,
            ["gateway/filter/fedgate_filter-0.wasm"]
        );
        let egress = [File::json(Step::Bootstrap, "egress/bootstrap.json", &json!({}))];
        assert_eq!(files.write(&egress).unwrap().removed, ["egress/trust/gone.example.json"]);
        assert!(strangers.iter().all(|path| files.path(path).as_ref().exists()));
        assert!(files.path("gateway/filter/fedgate_filter-1.wasm").as_ref().exists());
    }

    #[test]
    fn a_private_key_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, files) = start();
        let path = files.path("gateway/identity.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        // Another program's interrupted write left a file that everyone may read.
        fs::create_dir_all(files.path("gateway")).unwrap();
        fs::write(files.path("gateway/.identity.json.tmp"), b"").unwrap();
        for number in 0..2 {
            files
                .write(&[File::secret("gateway/identity.json", &json!({ "number": number }))])
                .unwrap();
            assert_eq!(mode(), 0o600);
        }
    }

    #[test]
    fn errors_name_the_file_and_give_advice() {
        let (_folder, files) = start();
        replace(files.path("gateway").as_ref(), b"a file in place of the folder", Readers::All)
            .unwrap();
        let error = files.write(&gateway(&["a"])).unwrap_err().to_string();
        assert!(
            error.contains(files.path("gateway").as_str()) && error.contains("owner and mode"),
            "{error}"
        );
    }
}
