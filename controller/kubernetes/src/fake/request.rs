//! Requests to the fake server.

use super::store::{ObjectKey, Resource};
use hyper::Method;
use hyper::http::request::Parts;
use serde_json::Value;
use std::collections::BTreeMap;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    /// Server-side apply.
    Apply,
    MergePatch,
    JsonPatch,
    Delete,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The name of the client that sent it.
    pub(crate) who: &'static str,
    pub(crate) verb: Verb,
    /// The kind's plural, such as `configmaps`.
    pub(crate) plural: String,
    pub(crate) namespace: String,
    /// Empty for a list.
    pub(crate) name: String,
    /// Whether it concerns only the status.
    pub(crate) of_status: bool,
    pub(super) resource: Resource,
    pub(super) metadata_only: bool,
    query: BTreeMap<String, String>,
}

impl Call {
    /// Parses a request; `None` if this server does not have what it asks for.
    pub(super) fn read(parts: &Parts, who: &'static str) -> Option<Self> {
        let mut path = parts.uri.path().trim_matches('/').split('/');
        let group = match path.next()? {
            "api" => "",
            "apis" => path.next()?,
            _ => return None,
        };
        let (_version, mut plural, mut namespace) = (path.next()?, path.next()?, "");
        if plural == "namespaces" {
            namespace = path.next()?;
            plural = path.next()?;
        }
        let (name, of_status) = (path.next().unwrap_or_default(), path.next() == Some("status"));
        let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query: BTreeMap<_, _> = query.into_owned().collect();
        let header = |name: &str| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        Some(Self {
            who,
            verb: verb(&parts.method, name, &query, header("content-type"))?,
            plural: plural.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            of_status,
            resource: Resource { group: group.to_owned(), plural: plural.to_owned() },
            metadata_only: header("accept").contains("PartialObjectMetadata"),
            query,
        })
    }

    /// Returns true if it changes something.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.verb, Verb::Get | Verb::List | Verb::Watch)
    }

    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(super) fn manager(&self) -> &str {
        match self.parameter("fieldManager") {
            "" => "unknown",
            manager => manager,
        }
    }

    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey {
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// Returns true if a list or watch selects this object of its kind.
    pub(super) fn selects(&self, key: &ObjectKey, object: &Value) -> bool {
        (self.namespace.is_empty() || self.namespace == key.namespace)
            && terms(self.parameter("fieldSelector")).all(|term| match term.split_once('=') {
                Some(("metadata.name", name)) => name.trim_start_matches('=') == key.name,
                other => panic!("a field selector that this server does not have: {other:?}"),
            })
            && terms(self.parameter("labelSelector"))
                .all(|term| matches(term, &object["metadata"]["labels"]))
    }
}

fn verb(
    method: &Method,
    name: &str,
    query: &BTreeMap<String, String>,
    content: &str,
) -> Option<Verb> {
    let watches = query.get("watch").is_some_and(|value| value == "true");
    Some(match (method.as_str(), content.split(';').next().unwrap_or_default()) {
        ("GET", _) if watches => Verb::Watch,
        ("GET", _) if name.is_empty() => Verb::List,
        ("GET", _) => Verb::Get,
        ("POST", _) => Verb::Create,
        ("PUT", _) => Verb::Replace,
        ("DELETE", _) => Verb::Delete,
        ("PATCH", "application/apply-patch+yaml") => Verb::Apply,
        ("PATCH", "application/merge-patch+json") => Verb::MergePatch,
        ("PATCH", "application/json-patch+json") => Verb::JsonPatch,
        _ => return None,
    })
}

fn terms(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').map(str::trim).filter(|term| !term.is_empty())
}

fn matches(term: &str, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key.trim()).and_then(Value::as_str);
    if let Some((key, value)) = term.split_once("!=") {
        return label(key) != Some(value.trim());
    }
    if let Some((key, value)) = term.split_once('=') {
        return label(key) == Some(value.trim_start_matches('=').trim());
    }
    match term.strip_prefix('!') {
        Some(key) => label(key).is_none(),
        None => label(term).is_some(),
    }
}
