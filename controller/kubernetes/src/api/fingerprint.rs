//! Compares objects by hash: with fifty thousand imports, the objects themselves would fill the
//! memory.

use fedgate_core::Hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The hash of a JSON value; the order of keys does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fingerprint([u8; 16]);

/// The first eight bytes in hexadecimal: enough for a name.
impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Hex(&self.0[..8]).fmt(f)
    }
}

/// The labels and annotations that we own. Others may exist next to them.
const OURS: [&str; 2] = ["fedgate.dev/", "app.kubernetes.io/managed-by"];
/// A label that we own on a ServiceEntry: the waypoint that calls its hosts instead of an ambient
/// Pod's ztunnel.
pub(crate) const USE_WAYPOINT: &str = "istio.io/use-waypoint";

/// The fingerprint of a value.
pub(crate) fn fingerprint(value: &Value) -> Fingerprint {
    let mut hash = Sha256::new();
    add(&mut hash, value);
    finish(hash)
}

/// The fingerprint of what we write of an object: its content, and the labels and annotations that
/// we own.
pub(crate) fn of_object(object: &Value) -> Fingerprint {
    let mut hash = Sha256::new();
    let fields = object.as_object().into_iter().flatten();
    for (key, value) in fields
        .filter(|(key, _)| !["apiVersion", "kind", "metadata", "status"].contains(&key.as_str()))
    {
        add_text(&mut hash, b'f', key);
        add(&mut hash, value);
    }
    for place in ["labels", "annotations"] {
        let pairs = object["metadata"][place].as_object().into_iter().flatten();
        for (key, value) in pairs.filter(|(key, _)| is_own_key(object, key)) {
            add_text(&mut hash, b'm', key);
            add(&mut hash, value);
        }
    }
    finish(hash)
}

/// Returns true if we own this label or annotation of the object.
pub(crate) fn is_own_key(object: &Value, key: &str) -> bool {
    // Lists do not always include the kind of their items. No other kind that we write has this
    // field.
    let service_entry = object["spec"]["resolution"].is_string();
    OURS.iter().any(|ours| key.starts_with(ours)) || service_entry && key == USE_WAYPOINT
}

fn finish(hash: Sha256) -> Fingerprint {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Fingerprint(bytes)
}

/// Each value starts with a letter for its type and has its length in front, so different values
/// never produce the same bytes.
fn add(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"0"),
        Value::Bool(yes) => hash.update(if *yes { b"y" } else { b"n" }),
        Value::Number(number) => add_text(hash, b'#', &number.to_string()),
        Value::String(text) => add_text(hash, b's', text),
        Value::Array(items) => {
            add_text(hash, b'a', &items.len().to_string());
            items.iter().for_each(|item| add(hash, item));
        }
        Value::Object(fields) => {
            add_text(hash, b'o', &fields.len().to_string());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            for (key, value) in fields {
                add_text(hash, b'k', key);
                add(hash, value);
            }
        }
    }
}

fn add_text(hash: &mut Sha256, kind: u8, text: &str) {
    hash.update([kind]);
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn content_and_our_labels_are_part_of_the_fingerprint() {
        let object = |labels: Value, spec: Value| {
            of_object(
                &json!({ "kind": "X", "metadata": { "name": "x", "labels": labels, "uid": "1" }, "spec": spec, "status": 1 }),
            )
        };
        let ours = json!({ "fedgate.dev/owner": "a" });
        let first = object(ours.clone(), json!({ "b": [1, 2], "a": "x" }));
        assert_eq!(
            first,
            object(
                json!({ "fedgate.dev/owner": "a", "team": "x" }),
                json!({ "a": "x", "b": [1, 2] })
            )
        );
        assert_ne!(
            first,
            object(json!({ "fedgate.dev/owner": "b" }), json!({ "a": "x", "b": [1, 2] }))
        );
        assert_ne!(first, object(ours.clone(), json!({ "a": "x", "b": [2, 1] })));
        assert_ne!(first, object(ours.clone(), json!({ "a": "x", "b": [1, 2], "c": null })));
        assert_ne!(object(ours.clone(), json!({ "a": "1" })), object(ours, json!({ "a": 1 })));
    }

    #[test]
    fn the_waypoint_label_is_part_of_the_fingerprint() {
        let of = |waypoint: &str, spec: Value| {
            of_object(
                &json!({ "metadata": { "labels": { USE_WAYPOINT: waypoint } }, "spec": spec }),
            )
        };
        let entry = json!({ "hosts": ["web.shop.svc.beta.example"], "resolution": "STATIC" });
        assert_ne!(of("none", entry.clone()), of("theirs", entry));
        assert_eq!(of("none", json!({ "host": "x" })), of("theirs", json!({ "host": "x" })));
    }

    #[test]
    fn files_are_part_of_a_config_maps_fingerprint() {
        let of = |file: &str| {
            of_object(&json!({ "metadata": { "name": "x" }, "binaryData": { "a.wasm": file } }))
        };
        assert_eq!(of("AGFzbQ=="), of("AGFzbQ=="));
        assert_ne!(of("AGFzbQ=="), of("AGFzbQE="));
        assert_ne!(of("AGFzbQ==").to_string(), of("AGFzbQE=").to_string());
    }
}
