//! An object that there must be.

use crate::api::fingerprint::{Fingerprint, of_object};
use crate::api::kind::Kind;
use crate::api::owner::{OWNER, PEER, managed_by};
use serde_json::{Value, json};

/// An object that there must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Desired {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// All that we say of it: `apiVersion`, `kind`, `metadata`, and its content.
    pub body: Value,
    /// Of the body.
    pub fingerprint: Fingerprint,
}

/// How an object is named and labelled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The namespace of the fedgate that writes it.
    pub owner: &'a str,
    /// The peer that it is there for.
    pub peer: Option<&'a str>,
}

impl Desired {
    /// An object with this content: fields beside `metadata`, such as `spec`.
    pub(crate) fn new(head: Head<'_>, content: Value) -> Self {
        Self::labelled(head, content, &[])
    }

    /// The same with further labels.
    pub(crate) fn labelled(head: Head<'_>, mut content: Value, more: &[(&str, &str)]) -> Self {
        let (managed, by) = managed_by();
        let mut labels = json!({ OWNER: head.owner, managed: by });
        for (key, value) in more {
            labels[*key] = (*value).into();
        }
        let mut metadata = json!({ "name": head.name, "namespace": head.namespace, "labels": labels });
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

    /// The same with one more annotation, which must be one of ours (`fedgate.dev/…`).
    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.body["metadata"]["annotations"][key] = value.into();
        self.fingerprint = of_object(&self.body);
        self
    }
}
