//! An object that should exist.

use crate::api::fingerprint::{Fingerprint, of_object};
use crate::api::kind::Kind;
use crate::api::owner::{OWNER, PEER, managed_by};
use serde_json::{Value, json};

/// An object that should exist.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Desired {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// All fields that we set: `apiVersion`, `kind`, `metadata`, and the content.
    pub body: Value,
    /// The fingerprint of `body`.
    pub fingerprint: Fingerprint,
}

/// The name and labels of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The namespace of the fedgate that writes it.
    pub owner: &'a str,
    /// The peer that it belongs to.
    pub peer: Option<&'a str>,
}

impl Desired {
    /// An object with this content: the fields other than `metadata`, such as `spec`.
    pub(crate) fn new(head: Head<'_>, content: Value) -> Self {
        Self::labelled(head, content, &[])
    }

    /// The same with additional labels.
    pub(crate) fn labelled(head: Head<'_>, mut content: Value, more: &[(&str, &str)]) -> Self {
        let (managed, by) = managed_by();
        let mut labels = json!({ OWNER: head.owner, managed: by });
        for (key, value) in more {
            labels[*key] = (*value).into();
        }
        let mut metadata =
            json!({ "name": head.name, "namespace": head.namespace, "labels": labels });
        if let Some(peer) = head.peer {
            metadata["annotations"] = json!({ PEER: peer });
        }
        content["apiVersion"] = head.kind.api_version().into();
        content["kind"] = head.kind.name().into();
        content["metadata"] = metadata;
        Self {
            kind: head.kind,
            namespace: head.namespace.to_owned(),
            name: head.name.to_owned(),
            fingerprint: of_object(&content),
            body: content,
        }
    }

    /// Adds an annotation, which must be one of ours (`fedgate.dev/…`).
    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.body["metadata"]["annotations"][key] = value.into();
        self.fingerprint = of_object(&self.body);
        self
    }
}
