//! Turns a Rust type into the structural schema that the API server needs.

use super::rules::Rule;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::transform::{AddNullable, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// The schema of an object with the fields of `T` and additional rules.
///
/// # Panics
/// If a rule is for a field that does not exist, or the schema cannot be made structural. Then the
/// types are wrong; the tests generate all schemas.
pub(super) fn of<T: JsonSchema>(rules: &[Rule]) -> JSONSchemaProps {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let settings = settings
        .with_transform(AddNullable::default())
        .with_transform(keep_unknown_fields)
        .with_transform(int_or_string)
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(tidy);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    for rule in rules {
        let place = schema.pointer_mut(&pointer(rule.field));
        let place = place
            .and_then(Value::as_object_mut)
            .unwrap_or_else(|| panic!("no field {} in the schema", rule.field));
        let rules = place.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(json!({ "rule": rule.rule, "message": rule.message }));
        }
    }
    serde_json::from_value(schema).expect("a structural schema")
}

/// The JSON pointer to a field's schema:
/// `/properties/spec/properties/services/items/properties/ports` for `spec.services[].ports`.
pub(super) fn pointer(field: &str) -> String {
    field.split('.').map(|part| format!("/properties/{}", part.replace("[]", "/items"))).collect()
}

/// Types that refuse unknown fields must get to see them. The API server would drop them silently,
/// and a policy with a typing error would allow more than intended.
fn keep_unknown_fields(schema: &mut Schema) {
    transform_subschemas(&mut keep_unknown_fields, schema);
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
        schema.insert("x-kubernetes-preserve-unknown-fields".to_owned(), Value::Bool(true));
        keep_nulls(schema);
    }
}

/// The fields of such a type keep a null, which the API server would drop silently as well. A
/// policy with an empty `services:` would then allow everything.
fn keep_nulls(schema: &mut Schema) {
    let fields = schema
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut);
    for field in
        fields.filter_map(Value::as_object_mut).filter(|field| field.contains_key("nullable"))
    {
        field.insert(KEPT.to_owned(), Value::Bool(true));
        // The values of labels as well.
        if let Some(values) = field.get_mut("additionalProperties").and_then(Value::as_object_mut) {
            values.extend(["nullable", KEPT].map(|key| (key.to_owned(), Value::Bool(true))));
        }
    }
}

/// Marks a `nullable` that must stay.
const KEPT: &str = "x-keep-nullable";

/// Kubernetes has its own form for a value that is a number or a text; it holds the bounds of both.
fn int_or_string(schema: &mut Schema) {
    const BOUNDS: [&str; 4] = ["minimum", "maximum", "maxLength", "pattern"];
    transform_subschemas(&mut int_or_string, schema);
    let Some(Value::Array(variants)) = schema.get("anyOf").cloned() else { return };
    let types: Vec<_> = variants.iter().map(|variant| variant["type"].as_str()).collect();
    if types == [Some("integer"), Some("string")] {
        schema.remove("anyOf");
        schema.insert("x-kubernetes-int-or-string".to_owned(), Value::Bool(true));
        let bounds =
            variants.iter().flat_map(|variant| BOUNDS.map(|bound| (bound, variant[bound].clone())));
        for (bound, value) in bounds.filter(|(_, value)| !value.is_null()) {
            schema.insert(bound.to_owned(), value);
        }
    }
}

/// Removes what means nothing to an API server, or what it would warn about.
fn tidy(schema: &mut Schema) {
    transform_subschemas(&mut tidy, schema);
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("title");
    // For all other fields, the API server treats null as absent, so no reader has to handle it.
    if schema.remove(KEPT).is_none() {
        schema.remove("nullable");
    }
    // The type implies the bounds; Kubernetes knows only two of the number formats.
    schema.retain(|key, value| {
        key != "format" || !value.as_str().is_some_and(|format| format.starts_with("uint"))
    });
    // The API server writes defaults into objects. That is useful for a single word, but whole
    // objects would only be noise.
    schema.retain(|key, value| {
        key != "default" || !matches!(value, Value::Null | Value::Array(_) | Value::Object(_))
    });
    one_line_for_each_paragraph(schema);
}

/// Whoever shows a description wraps it; the line breaks of the Rust comment mean nothing.
fn one_line_for_each_paragraph(schema: &mut Map<String, Value>) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs: Vec<_> =
            description.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
}
