//! Applies patches to objects, and tracks which manager owns which field.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What each field manager has set. Objects are tracked field by field; all other values have one
/// owner as a whole.
pub(super) type Managers = BTreeMap<String, Value>;

/// Fields that are not part of the object's content.
const IDENTITY: [&str; 2] = ["apiVersion", "kind"];
const OWN_METADATA: [&str; 6] =
    ["name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"];

/// The content of an object: everything that a manager can own.
pub(super) fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(fields) = content.as_object_mut() {
        IDENTITY.iter().for_each(|field| drop(fields.remove(*field)));
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            OWN_METADATA.iter().for_each(|field| drop(metadata.remove(*field)));
        }
    }
    content
}

/// A merge patch (RFC 7396).
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (key, value) in patch {
        match value {
            Value::Null => drop(fields.remove(key)),
            value => merge(fields.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// A JSON patch (RFC 6902), limited to `add`, `replace` and `remove` in objects.
pub(super) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), String> {
    for step in patch.as_array().into_iter().flatten() {
        let path = step["path"].as_str().unwrap_or_default();
        let (parent, key) =
            path.rsplit_once('/').ok_or_else(|| format!("a path of another form: {path:?}"))?;
        let parent = target.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.ok_or_else(|| format!("there is nothing at {path:?}"))?;
        match step["op"].as_str() {
            Some("add") | Some("replace") => {
                drop(parent.insert(key.to_owned(), step["value"].clone()))
            }
            Some("remove") => drop(parent.remove(key)),
            other => return Err(format!("a step that this server does not have: {other:?}")),
        }
    }
    Ok(())
}

/// Server-side apply: what `manager` sets from now on. Without force, returns the fields that
/// others own.
pub(super) fn apply(
    object: &mut Value,
    managers: &mut Managers,
    manager: &str,
    applied: &Value,
    force: bool,
) -> Result<(), Vec<String>> {
    let mut conflicts = Vec::new();
    for (other, theirs) in managers.iter().filter(|(other, _)| *other != manager) {
        leaves(applied, &mut |path, value| {
            if at(theirs, path).is_some() && at(object, path) != Some(value) {
                conflicts.push(format!("conflict with {other:?}: .{}", path.join(".")));
            }
        });
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    let before = managers.remove(manager).unwrap_or_default();
    leaves(&before, &mut |path, _| {
        let is_others = managers.values().any(|theirs| at(theirs, path).is_some());
        if at(applied, path).is_none() && !is_others {
            remove(object, path);
        }
    });
    if force {
        take(managers, applied, Some(object));
    }
    overlay(object, applied);
    managers.insert(manager.to_owned(), applied.clone());
    Ok(())
}

/// Any other write: its manager owns what it changed.
pub(super) fn changed(before: &Value, after: &Value, managers: &mut Managers, manager: &str) {
    let mut own = json!({});
    leaves(after, &mut |path, value| {
        if at(before, path) != Some(value) {
            put(&mut own, path, value.clone());
        }
    });
    take(managers, &own, None);
    overlay(managers.entry(manager.to_owned()).or_insert_with(|| json!({})), &own);
    for theirs in managers.values_mut() {
        let (mut gone, applied) = (Vec::new(), theirs.clone());
        leaves(&applied, &mut |path, _| {
            gone.extend(at(after, path).is_none().then(|| path.to_vec()))
        });
        gone.iter().for_each(|path| remove(theirs, path));
    }
}

/// Takes these fields from their owners; with `object`, only those that have another value in it.
fn take(managers: &mut Managers, applied: &Value, object: Option<&Value>) {
    for theirs in managers.values_mut() {
        leaves(applied, &mut |path, value| {
            if object.is_none_or(|object| at(object, path) != Some(value)) {
                remove(theirs, path);
            }
        });
    }
}

/// Merges an object into another; removes nothing.
fn overlay(target: &mut Value, over: &Value) {
    match (target, over) {
        (Value::Object(target), Value::Object(over)) => {
            for (key, value) in over {
                match target.get_mut(key) {
                    Some(there) => overlay(there, value),
                    None => drop(target.insert(key.clone(), value.clone())),
                }
            }
        }
        (target, over) => *target = over.clone(),
    }
}

fn leaves<'a>(value: &'a Value, take: &mut dyn FnMut(&[&'a str], &'a Value)) {
    fn walk<'a>(
        value: &'a Value,
        path: &mut Vec<&'a str>,
        take: &mut dyn FnMut(&[&'a str], &'a Value),
    ) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    path.push(key);
                    walk(value, path, take);
                    path.pop();
                }
            }
            value => take(path, value),
        }
    }
    walk(value, &mut Vec::new(), take);
}

fn at<'v>(value: &'v Value, path: &[impl AsRef<str>]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.as_object()?.get(key.as_ref()))
}

fn put(target: &mut Value, path: &[&str], value: Value) {
    let mut node = target;
    for key in path {
        if !node.is_object() {
            *node = json!({});
        }
        node = &mut node[*key];
    }
    *node = value;
}

fn remove(target: &mut Value, path: &[impl AsRef<str>]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent =
        parents.iter().try_fold(target, |value, key| value.as_object_mut()?.get_mut(key.as_ref()));
    let fields: Option<&mut Map<_, _>> = parent.and_then(Value::as_object_mut);
    if let Some(fields) = fields {
        fields.remove(last.as_ref());
    }
}
