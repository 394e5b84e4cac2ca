//! One file, whose documents are read independently of each other.

use super::folder::{Entry, Role};
use super::kind::mentions_policy;
use super::object::{self, Broken, Found, Object, Read};
use crate::yaml::{self, Document, Limits, YamlError};
use fedgate_federation::object::{PeerSelection, PolicyBody};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::words;
use std::io::Read as _;
use std::path::Path;

/// The content of a file.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) good: Vec<Found>,
    pub(super) broken: Vec<Broken>,
    pub(super) findings: Vec<Finding>,
}

/// The bytes of a file, or why they are missing.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Bytes {
    Read(Vec<u8>),
    /// It is too large.
    TooMany,
    /// It is a folder, a pipe or the like.
    NoFile,
    /// It is a link whose target (given here) is gone.
    Dangling(String),
    /// Why reading failed, in plain words.
    Failed(String),
}

impl Bytes {
    /// Returns true if the file has only white space and NUL bytes, as after a full disk or a crash
    /// during a write. To remove objects, a person deletes the file or leaves a comment.
    pub(super) fn are_blank(&self) -> bool {
        matches!(self, Self::Read(bytes) if bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0))
    }
}

/// The content of a blank file that had objects before.
pub(super) fn emptied(file: &str) -> Content {
    let message = "expected the objects that it had, found an empty file; write them again, or delete the file to take them back";
    unreadable(file, false, message.to_owned())
}

/// Reads a file; `None` if it does not exist (any more).
pub(super) fn bytes(path: &Path, limits: &Limits) -> Option<Bytes> {
    match try_bytes(path, limits) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let target = std::fs::read_link(path).ok()?;
            Some(Bytes::Dangling(fedgate_federation::shown(&target.to_string_lossy()).to_string()))
        }
        Err(error) => Some(Bytes::Failed(words::io(&error))),
    }
}

fn try_bytes(path: &Path, limits: &Limits) -> std::io::Result<Bytes> {
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(Bytes::NoFile);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limits.bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > limits.bytes { Bytes::TooMany } else { Bytes::Read(bytes) })
}

/// Parses the content of a file. `file` is its name in findings.
pub(super) fn content(bytes: &Bytes, file: &str, limits: &Limits) -> Content {
    let text = match text(bytes, limits) {
        Ok(text) => text,
        Err((policy, message)) => return unreadable(file, policy, message),
    };
    match yaml::documents(text, limits) {
        Ok(documents) => of_documents(&documents, file, limits),
        Err(error) => unreadable(file, mentions_policy(text), error.message),
    }
}

/// The text of a file. The error says whether the file may contain a policy, and what is wrong.
fn text<'a>(bytes: &'a Bytes, limits: &Limits) -> Result<&'a str, (bool, String)> {
    match bytes {
        Bytes::Failed(error) => {
            Err((true, format!("it cannot be read: {error}; fix that, or remove the file")))
        }
        // A bind mount creates a folder for a file that does not exist.
        Bytes::NoFile => Err((
            true,
            "expected a file, found a folder or something else; replace or remove it".into(),
        )),
        Bytes::Dangling(target) => Err((
            true,
            format!(
                "it is a link to {target:?}, which is not there; restore that file, or remove the link"
            ),
        )),
        Bytes::TooMany => Err((
            true,
            format!("expected at most {} MiB, found more; split it", limits.bytes >> 20),
        )),
        Bytes::Read(bytes) => str::from_utf8(bytes).map_err(|error| {
            let policy = mentions_policy(&String::from_utf8_lossy(bytes));
            (policy, no_utf8(bytes, error.valid_up_to()))
        }),
    }
}

fn no_utf8(bytes: &[u8], offset: usize) -> String {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let line = 1 + bytes.iter().take(offset).filter(|byte| **byte == b'\n').count();
    let found = if utf16 { "UTF-16".to_owned() } else { format!("other bytes in line {line}") };
    format!("expected UTF-8, found {found}; save the file as UTF-8")
}

fn of_documents(documents: &[Document<'_>], file: &str, limits: &Limits) -> Content {
    let mut content = Content::default();
    for document in documents {
        let reads = match yaml::parse(*document, limits) {
            Ok(None) => Vec::new(),
            Ok(Some(node)) => object::read(&node, file),
            Err(error) => vec![Read::Broken(Box::new(no_yaml(*document, &error, file)))],
        };
        for read in reads {
            match read {
                Read::Good(found) => {
                    content.findings.extend(found.findings.iter().cloned());
                    content.good.push(*found);
                }
                Read::Broken(broken) => content.broken.push(*broken),
                Read::Unused(finding) => content.findings.push(finding),
            }
        }
    }
    content
}

fn no_yaml(document: Document<'_>, error: &YamlError, file: &str) -> Broken {
    let line = if error.line == 0 { document.line } else { error.line };
    let object = ObjectRef::new("File", file).with_source(Some(format!("{file}:{line}")));
    let finding = Finding::error(FindingReason::Unreadable, object, "", error.message.as_str());
    let policy = mentions_policy(document.text).then_some(PeerSelection::All);
    Broken { id: None, policy, finding }
}

/// The content of an unreadable file; `policy` if it may contain one.
fn unreadable(file: &str, policy: bool, message: String) -> Content {
    let object = ObjectRef::new("File", file).with_source(Some(file.to_owned()));
    let finding = Finding::error(FindingReason::Unreadable, object, "", message);
    let broken = Broken { id: None, policy: policy.then_some(PeerSelection::All), finding };
    Content { broken: vec![broken], ..Content::default() }
}

/// Reads a file whose name is not that of a manifest. Nothing in it is in force, but policies in it
/// close: they were meant to be in force.
pub(super) fn other_content(bytes: &Bytes, entry: &Entry, file: &str, limits: &Limits) -> Content {
    let Ok(text) = text(bytes, limits) else { return Content::default() };
    let object = ObjectRef::new("File", file).with_source(Some(file.to_owned()));
    let what_to_do = match entry.name.contains('/') {
        true => "files in folders below are not read; move it up, or away",
        false => {
            "its name does not end in .yaml, .yml or .json, so it is not read; rename it, or move it away"
        }
    };
    match (entry.role, mentions_policy(text)) {
        (Role::Other, true) => closing(bytes, &object, file, what_to_do, limits),
        (Role::Leftover, true) => {
            let message = "a FederationPolicy in it is not in force; rename the file if it should be, or move it away";
            let finding = Finding::warning(FindingReason::Unreadable, object, "", message);
            Content { findings: vec![finding], ..Content::default() }
        }
        (Role::Other, false) if text.contains("apiVersion") && text.contains("kind") => {
            let finding = Finding::warning(FindingReason::Unreadable, object, "", what_to_do);
            Content { findings: vec![finding], ..Content::default() }
        }
        _ => Content::default(),
    }
}

fn closing(
    bytes: &Bytes,
    object: &ObjectRef,
    file: &str,
    what_to_do: &str,
    limits: &Limits,
) -> Content {
    let content = content(bytes, file, limits);
    let good = content.good.iter().filter_map(|found| match &found.object {
        Object::Policy(policy) => Some(match &policy.body {
            PolicyBody::Spec(spec) => PeerSelection::readable(spec.peers.as_deref()),
            PolicyBody::Unreadable(selection) => selection.clone(),
        }),
        _ => None,
    });
    let broken = content.broken.iter().filter_map(|broken| broken.policy.clone());
    let finding = |_: &PeerSelection| {
        let message = format!("expected no policy in this file: {what_to_do}");
        Finding::error(FindingReason::Unreadable, object.clone(), "", message)
    };
    let closing = good.chain(broken).map(|policy| Broken {
        id: None,
        finding: finding(&policy),
        policy: Some(policy),
    });
    Content { broken: closing.collect(), ..Content::default() }
}
