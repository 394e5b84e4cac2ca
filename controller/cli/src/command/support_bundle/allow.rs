//! Keeps the listed fields of a document, and nothing else.

use super::Removal;
use serde_json::{Map, Value};

/// The longest text of a field.
const LONGEST: usize = 1024;

/// Fields by their paths from the top: names with dots between them. Lists count as their items,
/// `*` is any name, and a name with dots of its own comes last after `labels`. A path ends at a
/// scalar; what is below one that is not is left out.
pub(super) type Rules = &'static [&'static str];

/// The listed fields.
pub(super) fn by_path(value: &Value, rules: Rules, removal: Removal) -> Value {
    if removal != Removal::On {
        return value.clone();
    }
    let rules: Vec<_> = rules.iter().map(|rule| names(rule)).collect();
    let rules: Vec<&[&str]> = rules.iter().map(Vec::as_slice).collect();
    below(value, &rules).unwrap_or(Value::Null)
}

fn names(rule: &str) -> Vec<&str> {
    match rule.split_once("labels.") {
        Some((before, label)) => {
            before.split('.').filter(|name| !name.is_empty()).chain(["labels", label]).collect()
        }
        None => rule.split('.').collect(),
    }
}

fn below(value: &Value, rules: &[&[&str]]) -> Option<Value> {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(|item| below(item, rules)).collect();
            Some(Value::Array(items))
        }
        Value::Object(fields) => {
            let kept: Map<_, _> = fields
                .iter()
                .filter_map(|(name, value)| {
                    let rest = rules.iter().filter_map(|rule| match rule.split_first() {
                        Some((first, rest)) if *first == name || *first == "*" => Some(rest),
                        _ => None,
                    });
                    let rest: Vec<_> = rest.collect();
                    let kept = if rest.is_empty() { None } else { below(value, &rest) };
                    kept.map(|value| (name.clone(), value))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        scalar => rules.iter().any(|rule| rule.is_empty()).then(|| self::scalar(scalar)),
    }
}

/// The fields with these names, at any depth below fields with the names of `through`.
pub(super) fn by_name(value: &Value, through: Rules, fields: Rules, removal: Removal) -> Value {
    if removal != Removal::On {
        return value.clone();
    }
    named(value, through, fields, false).unwrap_or(Value::Null)
}

fn named(value: &Value, through: Rules, fields: Rules, is_field: bool) -> Option<Value> {
    match value {
        Value::Array(items) => {
            let items = items.iter().filter_map(|item| named(item, through, fields, is_field));
            let items: Vec<_> = items.collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(all) => {
            let kept = all.iter().filter_map(|(name, value)| {
                let is = |list: Rules| list.contains(&name.as_str());
                let kept = match value {
                    Value::Object(_) if !is(through) => None,
                    Value::Array(_) if !is(through) && !is(fields) => None,
                    value => named(value, through, fields, is(fields)),
                };
                kept.map(|value| (name.clone(), value))
            });
            let kept: Map<_, _> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        scalar => is_field.then(|| self::scalar(scalar)),
    }
}

/// A URL without its login, query and fragment; other texts as they are.
fn scalar(value: &Value) -> Value {
    let Value::String(text) = value else { return value.clone() };
    let text = match url::Url::parse(text) {
        Ok(url) if url.has_host() => without_login(url),
        _ => text.clone(),
    };
    Value::String(text.chars().take(LONGEST).collect())
}

fn without_login(mut url: url::Url) -> String {
    // These fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// A message without what it quotes: fedgate's messages quote what they found in double quotes, and
/// that may be anything.
pub(super) fn unquoted(text: &str, removal: Removal) -> String {
    if removal != Removal::On {
        return text.to_owned();
    }
    let mut out = String::new();
    for (number, part) in text.split('"').enumerate() {
        out += if number % 2 == 0 { part } else { "\"…\"" };
    }
    out
}

/// All texts in a value as [`unquoted`].
pub(super) fn unquoted_value(value: &mut Value, removal: Removal) {
    match value {
        Value::String(text) => *text = unquoted(text, removal),
        Value::Array(items) => items.iter_mut().for_each(|item| unquoted_value(item, removal)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| unquoted_value(value, removal));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_listed_paths_are_kept() {
        let value = json!({
            "kind": "Service",
            "data": { "password": "secret" },
            "spec": { "ports": [{ "port": 80, "secret": "secret" }], "type": { "secret": 1 } },
            "metadata": { "name": "web", "annotations": { "a": "secret" }, "labels": { "app": "web" } },
        });
        let rules: Rules =
            &["kind", "spec.ports.port", "spec.type", "metadata.name", "metadata.labels.*"];
        let kept = json!({
            "kind": "Service",
            "spec": { "ports": [{ "port": 80 }] },
            "metadata": { "name": "web", "labels": { "app": "web" } },
        });
        assert_eq!(by_path(&value, rules, Removal::On), kept);
        assert_eq!(by_path(&value, rules, Removal::Off), value);
    }

    #[test]
    fn only_listed_names_are_kept_below_listed_names() {
        let value = json!({ "configs": [{
            "@type": "a",
            "listener": { "name": "b", "inline_string": "secret", "typed_config": { "@type": "c", "token": "secret" } },
            "secret": { "name": "secret" },
        }] });
        let kept = json!({ "configs": [{ "@type": "a", "listener": { "name": "b", "typed_config": { "@type": "c" } } }] });
        let through: Rules = &["configs", "listener", "typed_config"];
        assert_eq!(by_name(&value, through, &["@type", "name"], Removal::On), kept);
    }

    #[test]
    fn urls_have_no_logins_and_messages_no_quotes() {
        let login = json!("https://user:secret@meta.example:8443/m?token=secret#secret");
        assert_eq!(scalar(&login), json!("https://meta.example:8443/m"));
        let message = "expected Keep, Drain or Drop, found \"secret\"; correct it";
        assert_eq!(
            unquoted(message, Removal::On),
            "expected Keep, Drain or Drop, found \"…\"; correct it"
        );
        assert_eq!(unquoted("found \"secret", Removal::On), "found \"…\"");
    }
}
