//! Writes single objects by server-side apply with our field manager. An object must be ours, or
//! not exist yet.

use super::object::Desired;
use super::outputs::{Existing, Output};
use crate::api::client::describe;
use crate::api::fingerprint::{is_own_key, of_object};
use crate::api::owner::{FIELD_MANAGER, is_ours};
use crate::api::watch::{Key, Sent};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};

/// The result of a write.
#[derive(Debug)]
pub(crate) enum Applied {
    /// The object did not exist, and is now as wanted.
    Created,
    /// The object differed, and is now as wanted.
    Corrected,
    /// The name belongs to someone else's object.
    Conflict(Finding),
}

/// The reference to the object in findings.
pub(crate) fn object_ref(desired: &Desired) -> ObjectRef {
    let namespace = Some(desired.namespace.clone());
    ObjectRef { namespace, ..ObjectRef::new(desired.kind.name(), desired.name.as_str()) }
}

/// The finding about someone else's object with a name that we need.
pub(crate) fn conflict(desired: &Desired, why: &str) -> Finding {
    let message =
        format!("{why}, so it is not changed and ours is not written; rename or delete it");
    Finding::error(FindingReason::Conflict, object_ref(desired), "metadata.name", message)
}

/// Creates the object, unless someone else's object has the name.
///
/// # Errors
/// The API server's error.
pub(crate) async fn create(
    output: &Output,
    desired: &Desired,
    owner: &str,
) -> kube::Result<Applied> {
    let there = match output.sees_ours_only {
        true => output.api.get_metadata_opt(&desired.name).await?,
        false => None,
    };
    match there {
        // It is ours, but the watch has not shown it yet: the answer to an earlier write was lost.
        Some(there) if is_ours(&there, owner) => {
            return update(output, desired, &there.uid().unwrap_or_default()).await;
        }
        Some(_) => {
            return Ok(Applied::Conflict(conflict(
                desired,
                "an object with this name exists without fedgate's label",
            )));
        }
        None => {}
    }
    let sent = output.watched.sending();
    // Without force: if someone else creates the object at this moment, the fields are theirs.
    let parameters = PatchParams::apply(FIELD_MANAGER);
    match output.api.patch(&desired.name, &parameters, &Patch::Apply(&desired.body)).await {
        Ok(object) => {
            written(output, desired, sent, object);
            Ok(Applied::Created)
        }
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Applied::Conflict(conflict(
            desired,
            "someone else has just created an object with this name",
        ))),
        Err(error) => Err(error),
    }
}

/// Corrects an object of ours: overwrites our fields whoever changed them, and removes what others
/// added.
///
/// # Errors
/// The API server's error; a conflict if the name belongs to another object by now.
pub(crate) async fn update(output: &Output, desired: &Desired, uid: &str) -> kube::Result<Applied> {
    let mut body = desired.body.clone();
    body["metadata"]["uid"] = uid.into();
    let sent = output.watched.sending();
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let object = output.api.patch(&desired.name, &parameters, &Patch::Apply(&body)).await?;
    let json = serde_json::to_value(&object).unwrap_or_default();
    let is_right = of_object(&json) == desired.fingerprint;
    let Some(mut patch) = removal(&json, &desired.body).filter(|_| !is_right) else {
        written(output, desired, sent, object);
        return Ok(Applied::Corrected);
    };
    patch["metadata"]["uid"] = uid.into();
    let parameters =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let object = output.api.patch(&desired.name, &parameters, &Patch::Merge(&patch)).await?;
    written(output, desired, sent, object);
    Ok(Applied::Corrected)
}

/// Deletes an object of ours, but no other object of the same name.
///
/// # Errors
/// The API server's error. An object that is already gone is not an error.
pub(crate) async fn delete(output: &Output, key: &Key, found: &Existing) -> kube::Result<()> {
    let preconditions = Preconditions { uid: Some(found.uid.clone()), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match output.api.delete(&key.name, &parameters).await {
        // It stays until its finalizers are removed; the watch reports that.
        Ok(answer) if answer.is_left() => return Ok(()),
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(error) => return Err(error),
    }
    output.watched.deleted(key, |there| there.uid == found.uid);
    Ok(())
}

/// Stores the object that the API server returned, so that its echo in the watch triggers nothing.
fn written(output: &Output, desired: &Desired, sent: Sent, object: DynamicObject) {
    output.watched.wrote(sent, object, |found| found.fingerprint == desired.fingerprint);
}

/// The finding about an object of ours that someone else keeps changing.
pub(crate) fn contested(desired: &Desired) -> Finding {
    let message = "someone else keeps changing it, so it is corrected with growing delays; find out who with \
                   `kubectl get --show-managed-fields`";
    Finding::warning(FindingReason::Contested, object_ref(desired), "", message)
}

/// The merge patch (RFC 7396) that removes additions to our fields, and added labels and
/// annotations that only we may write; `None` if there are none.
///
/// Server-side apply keeps fields that another manager added, and an addition can widen what we
/// allow.
fn removal(is: &Value, wanted: &Value) -> Option<Value> {
    let mut patch = Map::new();
    let metadata: Map<_, _> = ["labels", "annotations"]
        .into_iter()
        .filter_map(|place| added_keys(is, wanted, place))
        .collect();
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), metadata.into());
    }
    for (key, value) in is.as_object()? {
        if ["apiVersion", "kind", "metadata", "status"].contains(&key.as_str()) {
            continue;
        }
        match wanted.get(key) {
            None => drop(patch.insert(key.clone(), Value::Null)),
            Some(wanted) => {
                patch.extend(difference(value, wanted).map(|difference| (key.clone(), difference)))
            }
        }
    }
    (!patch.is_empty()).then(|| json!(patch))
}

/// The part of the patch that removes added labels or annotations that only we may write.
fn added_keys(is: &Value, wanted: &Value, place: &str) -> Option<(String, Value)> {
    let pairs = is["metadata"][place].as_object()?;
    let added = pairs
        .keys()
        .filter(|key| is_own_key(is, key) && wanted["metadata"][place].get(*key).is_none());
    let patch: Map<_, _> = added.map(|key| (key.clone(), Value::Null)).collect();
    (!patch.is_empty()).then(|| (place.to_owned(), patch.into()))
}

fn difference(is: &Value, wanted: &Value) -> Option<Value> {
    match (is, wanted) {
        (Value::Object(is), Value::Object(wanted)) => {
            let changed = |(key, value): (&String, &Value)| match wanted.get(key) {
                None => Some((key.clone(), Value::Null)),
                Some(wanted) => {
                    difference(value, wanted).map(|difference| (key.clone(), difference))
                }
            };
            let patch: Map<_, _> = is.iter().filter_map(changed).collect();
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (is, wanted) if is == wanted => None,
        (_, wanted) => Some(wanted.clone()),
    }
}

/// The finding about an object that cannot be written.
pub(crate) fn failed(desired: &ObjectRef, error: &kube::Error) -> Finding {
    let message = format!("it cannot be written, trying again: {}", describe(error));
    Finding::error(FindingReason::NotWritten, desired.clone(), "", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_that_others_added_are_removed() {
        let wanted = json!({ "spec": { "hosts": ["a"], "tls": { "mode": "X" } } });
        let is = json!({
            "metadata": { "labels": { "team": "a" } },
            "spec": { "hosts": ["a", "b"], "tls": { "mode": "X", "more": 1 }, "exportTo": ["*"] },
            "extra": {},
        });
        let patch = removal(&is, &wanted).unwrap();
        let expected = json!({ "spec": { "hosts": ["a"], "tls": { "more": null }, "exportTo": null }, "extra": null });
        assert_eq!(patch, expected);
        assert_eq!(removal(&wanted, &wanted), None);
    }

    #[test]
    fn added_labels_of_our_prefix_are_removed_and_others_stay() {
        let wanted = json!({ "metadata": { "labels": { "fedgate.dev/owner": "a" } }, "spec": {} });
        let is = json!({
            "metadata": {
                "labels": { "fedgate.dev/owner": "a", "fedgate.dev/theirs": "b", "team": "c" },
                "annotations": { "fedgate.dev/note": "d", "note": "e" },
            },
            "spec": {},
        });
        let metadata = json!({ "labels": { "fedgate.dev/theirs": null }, "annotations": { "fedgate.dev/note": null } });
        assert_eq!(removal(&is, &wanted), Some(json!({ "metadata": metadata })));
        let others = json!({ "metadata": { "labels": { "fedgate.dev/owner": "a", "team": "c" } }, "spec": {} });
        assert_eq!(removal(&others, &wanted), None);
    }
}
