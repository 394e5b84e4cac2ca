//! Helpers for reading untyped objects.

use ipnet::IpNet;
use serde_json::Value;

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

pub(super) fn is_true(conditions: &Value, kind: &str) -> bool {
    list(conditions).any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// The valid CIDRs in a list.
pub(super) fn cidrs(list: Option<&Value>) -> Vec<IpNet> {
    let texts = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(|text| text.parse().ok()).collect()
}
