//! One file: its documents, each for itself.

use super::object::{self, Broken, Found, Read, mentions_policy};
use crate::yaml::{self, Document, Limits, YamlError};
use fedgate_federation::object::PeerSelection;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use std::io::Read as _;
use std::path::Path;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) good: Vec<Found>,
    pub(super) broken: Vec<Broken>,
    pub(super) findings: Vec<Finding>,
}

/// The bytes of a file, or why there are none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Bytes {
    Read(Vec<u8>),
    /// It has more bytes than are read.
    TooMany,
    /// It is a folder, a pipe or the like.
    NoFile,
    /// The system's words.
    Failed(String),
}

/// Reads a file; `None` when it is not there (any more).
pub(super) fn bytes(path: &Path, limits: &Limits) -> Option<Bytes> {
    match try_bytes(path, limits) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Bytes::Failed(error.to_string())),
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

/// Reads what stands in a file. `file` is the file as findings name it.
pub(super) fn content(bytes: &Bytes, file: &str, limits: &Limits) -> Content {
    let text = match bytes {
        Bytes::Failed(error) => return unreadable(file, true, format!("it cannot be read: {error}")),
        Bytes::NoFile => return unreadable(file, false, "expected a file, found something else".into()),
        Bytes::TooMany => {
            return unreadable(
                file,
                true,
                format!("it has more than the {} bytes that are read; split it", limits.bytes),
            );
        }
        Bytes::Read(bytes) => match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                let policy = mentions_policy(&String::from_utf8_lossy(bytes));
                return unreadable(file, policy, "expected UTF-8, found other bytes".into());
            }
        },
    };
    match yaml::documents(text, limits) {
        Ok(documents) => of_documents(&documents, file, limits),
        Err(error) => unreadable(file, mentions_policy(text), error.message),
    }
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
                Read::Good(found) => content.good.push(*found),
                Read::Broken(broken) => content.broken.push(*broken),
                Read::Unused(finding) => content.findings.push(finding),
            }
        }
    }
    content
}

fn no_yaml(document: Document<'_>, error: &YamlError, file: &str) -> Broken {
    let line = if error.line == 0 { document.line } else { error.line };
    let object = ObjectRef::new("File", file).from_source(Some(format!("{file}:{line}")));
    let finding = Finding::error(FindingReason::Unreadable, object, "", format!("expected YAML: {}", error.message));
    let policy = mentions_policy(document.text).then_some(PeerSelection::All);
    Broken { id: None, policy, finding }
}

/// A file of which nothing can be read; `policy` when there may be one in it.
fn unreadable(file: &str, policy: bool, message: String) -> Content {
    let object = ObjectRef::new("File", file).from_source(Some(file.to_owned()));
    let finding = Finding::error(FindingReason::Unreadable, object, "", message);
    let broken = Broken { id: None, policy: policy.then_some(PeerSelection::All), finding };
    Content { broken: vec![broken], ..Content::default() }
}
