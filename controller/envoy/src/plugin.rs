//! Finds the filter's configuration: on its own, in a file of Envoy's, or in an object of Istio's.

use anyhow::{Context, Result, anyhow, bail};
use fedgate_core::{PluginConfiguration, Table, read_configuration};
use serde_json::Value;
use std::path::Path;

/// Reads the table from a plugin configuration, or from any JSON that contains one as text, as
/// Envoy's files do.
///
/// # Errors
/// If the file cannot be read, or has no valid table.
pub fn table_of(file: &Path) -> Result<Table> {
    let bytes =
        crate::write::bytes(file).with_context(|| format!("cannot read {}", file.display()))?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| no_json(file, &error))?;
    let Some(configuration) = find_configuration(&json) else {
        bail!(
            "{} has no table in it: expected a plugin configuration, or Envoy's filter.json",
            file.display()
        );
    };
    let (table, _) = read_configuration(configuration.as_bytes())
        .with_context(|| format!("in {}", file.display()))?;
    Ok(table)
}

fn no_json(file: &Path, error: &serde_json::Error) -> anyhow::Error {
    let (file, line) = (file.display(), error.line().max(1));
    anyhow!(
        "{file}:{line}: expected JSON, found something else; give Envoy's filter.json, or an object of Istio's that `kubectl get -o json` printed"
    )
}

/// The first plugin configuration in a JSON document, as an object or as text.
pub fn find_configuration(json: &Value) -> Option<String> {
    match json {
        Value::Object(fields)
            if fields.contains_key("table") && fields.contains_key("contentHash") =>
        {
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
