//! The objects of the Multi-Cluster Services API (`multicluster.x-k8s.io`). A `ServiceExport` with the
//! name of a Service in its namespace has the same effect as the export label on that Service. Of
//! `ServiceImport`s, which the controller writes, only the status is read.
//!
//! Of a `ServiceExport` only its name counts: its labels, annotations and spec change nothing, so a
//! malformed one can do no harm.

use super::federation::conditions;
use super::{federated, service};
use crate::api::fingerprint::{Fingerprint, fingerprint};
use crate::api::watch::Key;
use crate::crd::status::PeerCondition;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A `ServiceExport` or a `ServiceImport`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct McsObject {
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// Whether it was deleted, and exists only until its finalizers are removed.
    pub(crate) is_ending: bool,
    /// Its conditions.
    pub(crate) conditions: Vec<PeerCondition>,
    /// The fingerprint of the whole status.
    pub(crate) status: Fingerprint,
}

/// Extracts what is needed from an object.
pub(crate) fn keep(object: DynamicObject) -> McsObject {
    let status = object.data.get("status").cloned().unwrap_or(Value::Null);
    McsObject {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation,
        is_ending: object.metadata.deletion_timestamp.is_some(),
        conditions: conditions(&status),
        status: fingerprint(&status),
    }
}

/// A changed status is not news for the compiler.
pub(crate) fn is_news(before: &McsObject, after: &McsObject) -> bool {
    (before.generation, before.is_ending, &before.uid)
        != (after.generation, after.is_ending, &after.uid)
}

/// The Services that exports and members of `FederatedService`s need.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// The exported Services, all with the label.
    pub(crate) exported: BTreeMap<Key, service::Read>,
    /// The others that are local members.
    pub(crate) local: BTreeMap<Key, federated::Local>,
}

/// Finds them among all Services.
pub(crate) fn split(
    services: BTreeMap<Key, service::Read>,
    exports: &BTreeMap<Key, McsObject>,
    local: &BTreeSet<Key>,
) -> Split {
    let mut split = Split::default();
    let is_named = |key: &Key| exports.get(key).is_some_and(|export| !export.is_ending);
    for (key, service) in services {
        if service.has_label || is_named(&key) {
            split.exported.insert(key, service.with_label());
        } else if local.contains(&key) {
            split.local.insert(key, federated::local(service));
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::object::PUBLIC_SERVICE_LABEL;
    use serde_json::json;

    fn read(metadata: Value) -> DynamicObject {
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into() }
    }

    fn service(name: &str, labels: Value) -> (Key, service::Read) {
        let metadata = json!({ "namespace": "shop", "name": name, "labels": labels });
        (key(name), service::keep(read(metadata)))
    }

    fn export(name: &str, deleted: Option<&str>) -> (Key, McsObject) {
        let metadata = json!({ "namespace": "shop", "name": name, "uid": "1", "generation": 1, "deletionTimestamp": deleted });
        (key(name), keep(read(metadata)))
    }

    /// The labels of a Service that is exported; `None` if it is not.
    fn label(split: &Split, name: &str) -> Option<String> {
        let service = split.exported.get(&key(name))?.service.as_ref().unwrap();
        Some(service.labels[PUBLIC_SERVICE_LABEL].clone())
    }

    #[test]
    fn an_export_object_is_the_same_as_the_label() {
        let services = [
            service("by-object", json!({})),
            service("by-label", json!({ PUBLIC_SERVICE_LABEL: "" })),
            service("by-both", json!({ PUBLIC_SERVICE_LABEL: "" })),
            service("by-neither", json!({})),
            service("ended", json!({})),
        ];
        let exports = [
            export("by-object", None),
            export("by-both", None),
            export("ended", Some("2026-01-01T00:00:00Z")),
            export("without-service", None),
        ];
        let split = split(services.into(), &exports.into(), &[key("ended")].into());
        for name in ["by-object", "by-label", "by-both"] {
            assert_eq!(label(&split, name).as_deref(), Some(""), "{name}");
        }
        assert_eq!(split.exported.len(), 3);
        assert_eq!(split.local.keys().collect::<Vec<_>>(), [&key("ended")]);
    }

    /// A label with a value is a mistake that exports nothing, and an object does not hide it.
    #[test]
    fn an_export_object_does_not_correct_a_label() {
        let services = [service("web", json!({ PUBLIC_SERVICE_LABEL: "false" }))];
        let split = split(services.into(), &[export("web", None)].into(), &BTreeSet::new());
        assert_eq!(label(&split, "web").as_deref(), Some("false"));
    }

    #[test]
    fn only_what_matters_for_exports_is_news() {
        let object = |generation: i64, status: Value| {
            let metadata = json!({ "namespace": "shop", "name": "web", "generation": generation });
            keep(serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap())
        };
        let before = object(1, Value::Null);
        let told = object(1, json!({ "conditions": [] }));
        assert!(before != told && !is_news(&before, &told));
        assert!(is_news(&before, &object(2, Value::Null)));
        assert!(is_news(&export("web", None).1, &export("web", Some("2026-01-01T00:00:00Z")).1));
    }
}
