//! Finding the filter's configuration where it is kept: in a file of Envoy's, in an object of Istio's, or by itself.

use fedgate_core::PluginConfiguration;
use serde_json::Value;

/// The first plugin configuration in a JSON document, itself or as a text.
pub fn find_configuration(json: &Value) -> Option<String> {
    match json {
        Value::Object(fields) if fields.contains_key("table") && fields.contains_key("contentHash") => {
            Some(json.to_string())
        }
        Value::Object(fields) => fields.values().find_map(find_configuration),
        Value::Array(items) => items.iter().find_map(find_configuration),
        Value::String(text) if text.starts_with('{') => {
            serde_json::from_str::<PluginConfiguration<'_>>(text).is_ok().then(|| text.clone())
        }
        _ => None,
    }
}
