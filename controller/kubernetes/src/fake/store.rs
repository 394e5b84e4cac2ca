//! Objects, versions and their history.

use super::merge::{self, Managers};
use crate::api::kind::Kind;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A kind, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(super) group: String,
    pub(super) plural: String,
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let resource =
            Resource { group: kind.group().to_owned(), plural: kind.plural().to_owned() };
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// A refused request: code, reason, message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str, pub(super) String);

/// The result of a write.
pub(super) type Written = Result<Value, Refusal>;

/// The kinds with a status subresource.
const WITH_STATUS: [&str; 1] = ["istiofederations"];

#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    objects: BTreeMap<ObjectKey, Stored>,
    revision: u64,
    history: Vec<Change>,
    compacted: u64,
    uids: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    object: Value,
    managers: Managers,
}

/// A write that changed something.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) key: ObjectKey,
    pub(super) before: Option<Value>,
    /// The object after the write; a deleted object has the version of its deletion.
    pub(super) after: Value,
    pub(super) is_deletion: bool,
}

impl Store {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.history.clear();
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(key).map(|stored| &stored.object)
    }

    pub(super) fn of(&self, resource: &Resource) -> impl Iterator<Item = (&ObjectKey, &Value)> {
        let all = self.objects.iter().filter(move |(key, _)| key.resource == *resource);
        all.map(|(key, stored)| (key, &stored.object))
    }

    /// The changes after a version; `None` if the server has forgotten them.
    pub(super) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        let since = self.history.iter().filter(move |change| change.revision > revision);
        (revision >= self.compacted).then_some(since)
    }

    pub(super) fn create(&mut self, key: &ObjectKey, object: Value, manager: &str) -> Written {
        if self.objects.contains_key(key) {
            return Err(Refusal(409, "AlreadyExists", format!("{:?} already exists", key.name)));
        }
        self.uids += 1;
        let mut object = object;
        object["metadata"]["uid"] = format!("uid-{}", self.uids).into();
        object["metadata"]["generation"] = 1.into();
        let mut managers = Managers::new();
        merge::changed(&json!({}), &merge::content(&object), &mut managers, manager);
        Ok(self.store(key, Stored { object, managers }))
    }

    /// Replaces or creates an object; without a version in it, replaces whatever exists.
    pub(super) fn put(&mut self, key: &ObjectKey, object: Value, manager: &str) -> Written {
        match self.objects.contains_key(key) {
            true => self.replace(key, object, manager),
            false => self.create(key, object, manager),
        }
    }

    pub(super) fn replace(&mut self, key: &ObjectKey, mut object: Value, manager: &str) -> Written {
        self.check(key, &object)?;
        if let Some(status) = self.existing(key)?.object.get("status").filter(|_| has_status(key)) {
            object["status"] = status.clone();
        }
        self.change(key, manager, |is| {
            object["metadata"]["uid"] = is["metadata"]["uid"].clone();
            *is = object;
            Ok(())
        })
    }

    pub(super) fn merge(&mut self, key: &ObjectKey, patch: &Value, manager: &str) -> Written {
        self.check(key, patch)?;
        self.change(key, manager, |is| {
            merge::merge(is, patch);
            Ok(())
        })
    }

    /// A patch of the status alone, or of everything else.
    pub(super) fn patch(
        &mut self,
        key: &ObjectKey,
        of_status: bool,
        manager: &str,
        patch: impl FnOnce(&mut Value) -> Result<(), String>,
    ) -> Written {
        self.change(key, manager, |is| {
            let mut patched = is.clone();
            patch(&mut patched).map_err(|why| Refusal(422, "Invalid", why))?;
            let part = |object: &Value| object.get("status").cloned().unwrap_or(Value::Null);
            match of_status {
                true => is["status"] = part(&patched),
                false if has_status(key) => {
                    let status = part(is);
                    *is = patched;
                    is["status"] = status;
                }
                false => *is = patched,
            }
            Ok(())
        })
    }

    pub(super) fn apply(
        &mut self,
        key: &ObjectKey,
        body: &Value,
        manager: &str,
        force: bool,
    ) -> Written {
        self.check(key, body)?;
        let content = merge::content(body);
        let conflict = |fields: Vec<String>| {
            Refusal(409, "Conflict", format!("Apply failed: {}", fields.join(", ")))
        };
        if let Some(stored) = self.objects.get(key) {
            let mut stored = stored.clone();
            merge::apply(&mut stored.object, &mut stored.managers, manager, &content, force)
                .map_err(conflict)?;
            return Ok(self.store(key, stored));
        }
        self.uids += 1;
        let mut object = body.clone();
        object["metadata"]["uid"] = format!("uid-{}", self.uids).into();
        object["metadata"]["generation"] = 1.into();
        Ok(self.store(
            key,
            Stored { object, managers: Managers::from([(manager.to_owned(), content)]) },
        ))
    }

    /// Deletes an object; one with finalizers is marked as deleted and returned.
    pub(super) fn delete(&mut self, key: &ObjectKey, options: &Value) -> Written {
        let is = self.existing(key)?.object.clone();
        for field in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][field];
            if !wanted.is_null() && *wanted != is["metadata"][field] {
                return Err(Refusal(
                    409,
                    "Conflict",
                    format!("Precondition failed: {field} in precondition: {wanted}"),
                ));
            }
        }
        if is["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
        {
            return self.change(key, "kubectl", |is| {
                is["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                Ok(())
            });
        }
        self.remove(key);
        Ok(
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200 }),
        )
    }

    fn existing(&self, key: &ObjectKey) -> Result<&Stored, Refusal> {
        let not_found = || {
            Refusal(404, "NotFound", format!("{} {:?} not found", key.resource.plural, key.name))
        };
        self.objects.get(key).ok_or_else(not_found)
    }

    /// Checks the UID and version in a write against the object.
    fn check(&self, key: &ObjectKey, body: &Value) -> Result<(), Refusal> {
        let is = self.objects.get(key).map(|stored| &stored.object["metadata"]);
        for field in ["uid", "resourceVersion"] {
            let wanted = &body["metadata"][field];
            if wanted.as_str().is_some_and(|wanted| !wanted.is_empty())
                && is.map(|is| &is[field]) != Some(wanted)
            {
                let message = format!("Operation cannot be fulfilled: {field} is not {wanted}");
                return Err(Refusal(409, "Conflict", message));
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        key: &ObjectKey,
        manager: &str,
        change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
    ) -> Written {
        let mut stored = self.existing(key)?.clone();
        let before = merge::content(&stored.object);
        change(&mut stored.object)?;
        merge::changed(&before, &merge::content(&stored.object), &mut stored.managers, manager);
        Ok(self.store(key, stored))
    }

    /// Stores the result of a write, under a new version if it differs from before.
    fn store(&mut self, key: &ObjectKey, mut stored: Stored) -> Value {
        let before = self.objects.get(key).map(|before| before.object.clone());
        let object = &mut stored.object;
        if object["status"].is_null()
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        for (field, value) in [("name", &key.name), ("namespace", &key.namespace)] {
            if !value.is_empty() {
                object["metadata"][field] = value.as_str().into();
            }
        }
        if let Some(before) = &before {
            for field in ["resourceVersion", "generation"] {
                object["metadata"][field] = before["metadata"][field].clone();
            }
            if object == before {
                let same = object.clone();
                self.objects.insert(key.clone(), stored);
                return same;
            }
            if spec(before) != spec(object) {
                let generation = before["metadata"]["generation"].as_u64().unwrap_or_default();
                object["metadata"]["generation"] = (generation + 1).into();
            }
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let after = object.clone();
        let is_over = !after["metadata"]["deletionTimestamp"].is_null()
            && after["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        self.objects.insert(key.clone(), stored);
        let (key, revision) = (key.clone(), self.revision);
        if is_over {
            self.remove(&key);
        } else {
            self.history.push(Change {
                revision,
                key,
                before,
                after: after.clone(),
                is_deletion: false,
            });
        }
        after
    }

    fn remove(&mut self, key: &ObjectKey) {
        let Some(Stored { object: before, .. }) = self.objects.remove(key) else { return };
        self.revision += 1;
        let mut after = before.clone();
        after["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let (key, revision) = (key.clone(), self.revision);
        self.history.push(Change { revision, key, before: Some(before), after, is_deletion: true });
    }
}

fn has_status(key: &ObjectKey) -> bool {
    WITH_STATUS.contains(&key.resource.plural.as_str())
}

/// The part of an object whose changes increase its generation.
fn spec(object: &Value) -> Value {
    let mut spec = object.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("metadata");
        fields.remove("status");
    }
    spec
}
