//! What is collected in files mode.

use super::allow::by_path;
use super::archive::{Bundle, LARGEST};
use super::{Removal, envoys, rules, settings};
use crate::command::Folder;
use crate::command::ask::{fetch, fetch_bytes};
use crate::command::envoys::EnvoyAddresses;
use crate::command::table;
use crate::command::validate::findings;
use crate::terminal::progress::Progress;
use anyhow::{Context, Result};
use fedgate_engine::history::History;
use fedgate_files::settings::{FILE, Settings};
use fedgate_process::regular_file::{MOST_PEM, read_text};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// How many manifests are read, and how much of each.
const MOST_MANIFESTS: usize = 5_000;
const LARGEST_MANIFEST: u64 = 4 << 20;
/// The variables that concern fedgate; only whether they are set is told.
const VARIABLES: [&str; 9] = [
    "FEDGATE_LOG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

pub(super) async fn collect(
    bundle: &mut Bundle,
    folder: &Folder,
    addresses: &EnvoyAddresses,
    progress: &mut Progress,
) {
    let read = Settings::read(&folder.dir);
    if let Ok(settings) = &read {
        for file in settings::secret_files(settings) {
            bundle.guard.add(&read_text(&file, MOST_PEM).unwrap_or_default());
        }
    }
    bundle.add_json("environment.json", Ok(environment(bundle.removal)));
    bundle.add_json("settings.json", listed_settings(&folder.dir, read.as_ref(), bundle.removal));
    let manifests =
        read.as_ref().map_or_else(|_| folder.dir.join("manifests"), |read| read.manifests.clone());
    let manifests = listed_manifests(&manifests, bundle.removal, progress);
    bundle.add_json("manifests.json", manifests);
    if let Ok(settings) = &read {
        let found = findings(settings, &mut |_, _| {});
        let found = found.and_then(|found| Ok(serde_json::to_value(found)?));
        bundle.add_json("validate.json", found);
    }
    progress.at("asking the controller", 0, None);
    bundle.add_json("status.json", fetch::<Value>(folder, "/status", &[]).await);
    bundle.add_json("table.json", in_force(folder).await);
    bundle.add_json("changes.json", kept_changes(&folder.dir));
    let metrics = fetch_bytes(folder, "/metrics", &[]).await;
    bundle.add_lines("metrics.txt", metrics.map(|bytes| limited(bytes, LARGEST)));
    progress.at("asking the Envoys", 0, None);
    envoys::collect(bundle, folder, addresses).await;
}

fn limited(mut bytes: Vec<u8>, most: usize) -> (Vec<u8>, bool) {
    let cut = bytes.len() > most;
    bytes.truncate(most);
    (bytes, cut)
}

/// The table as `fedgate table` shows it.
async fn in_force(folder: &Folder) -> Result<Value> {
    let configuration: Value = fetch(folder, "/table", &[]).await?;
    let (table, _) = fedgate_core::read_configuration(configuration.to_string().as_bytes())?;
    Ok(table::document(&table))
}

/// What happened, as the controller keeps it. It is read without the controller, which may be down.
fn kept_changes(dir: &Path) -> Result<Value> {
    let read = match std::fs::read(dir.join("state/changes.json")) {
        // Nothing has changed yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(json!([])),
        read => read.context("it cannot be read")?,
    };
    let history: History = serde_json::from_slice(&read).ok().context("it is not a history")?;
    Ok(json!(history.bounded().changes()))
}

/// Which variables are set here. The controller's own environment is not read.
fn environment(removal: Removal) -> Value {
    if removal != Removal::On {
        return json!(std::env::vars().collect::<std::collections::BTreeMap<_, _>>());
    }
    let set = VARIABLES.iter().filter(|name| std::env::var_os(name).is_some());
    json!({ "set": set.collect::<Vec<_>>() })
}

/// The settings; if they are wrong, which problems they have.
fn listed_settings(
    dir: &Path,
    read: Result<&Settings, &anyhow::Error>,
    removal: Removal,
) -> Result<Value> {
    let text = || fedgate_files::settings::read_text(&dir.join(FILE)).context("it cannot be read");
    if removal != Removal::On {
        let of = |file: &PathBuf| read_text(file, MOST_PEM).unwrap_or_default();
        let files = read.map(settings::secret_files).unwrap_or_default();
        return Ok(json!({ "text": text()?, "keys": files.iter().map(of).collect::<Vec<_>>() }));
    }
    match read {
        Ok(settings) => Ok(settings::listed(settings)),
        // Where they are, but not what was found there.
        Err(_) => {
            let problems = Settings::parse(dir, &text()?).err().unwrap_or_default();
            let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
            Ok(json!({ "wrongInLines": lines }))
        }
    }
}

/// The listed fields of every document in the folder of manifests.
fn listed_manifests(folder: &Path, removal: Removal, progress: &mut Progress) -> Result<Value> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).context("the folder of manifests cannot be listed")?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let count = paths.len().min(MOST_MANIFESTS);
    for (number, path) in paths.iter().take(MOST_MANIFESTS).enumerate() {
        progress.at("reading manifests", number, Some(count));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_file() {
            continue;
        }
        files.push(json!({ "file": name, "documents": documents(path, removal) }));
    }
    Ok(json!({ "files": files, "more": paths.len() - count }))
}

fn documents(path: &Path, removal: Removal) -> Value {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(LARGEST_MANIFEST).read_to_string(&mut text));
    if read.is_err() {
        return json!("it cannot be read");
    }
    // The parser's message quotes the text.
    let Ok(documents) = serde_saphyr::from_multiple::<Option<Value>>(&text) else {
        return if removal == Removal::On { json!("it is not YAML") } else { json!(text) };
    };
    let listed = documents.into_iter().flatten().map(|document| document_of(&document, removal));
    Value::Array(listed.collect())
}

/// The listed fields of an object, and the names of its annotations that are fedgate's.
pub(super) fn document_of(object: &Value, removal: Removal) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default();
    let mut kept = by_path(object, rules::of_kind(kind), removal);
    let annotations = object["metadata"]["annotations"].as_object();
    let ours = annotations.into_iter().flatten().filter(|(name, _)| {
        name.starts_with("fedgate.dev/") || name.starts_with("federation.istio.deckhouse.io/")
    });
    let ours: Vec<_> = ours.map(|(name, _)| name.clone()).collect();
    if let (Value::Object(fields), false) = (&mut kept, ours.is_empty()) {
        fields.insert("annotations".to_owned(), json!(ours));
    }
    kept
}
