use super::{definitions, yaml};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) fn checked_in(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn schema(definition: &CustomResourceDefinition) -> Value {
    let version = definition.spec.versions.first().unwrap();
    serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
        .unwrap()
}

/// Visits each schema within a schema, with its field.
fn walk(field: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(field, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{field}.{name}"), property, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{field}[]"), &schema["items"], visit);
    }
}

fn each_schema(mut visit: impl FnMut(&str, &Value)) {
    for definition in definitions() {
        walk(&definition.spec.names.kind, &schema(&definition), &mut visit);
    }
}

#[test]
fn the_files_are_generated_from_the_types() {
    for definition in definitions() {
        let file = format!("crds/{}.yaml", definition.spec.names.plural);
        assert!(
            yaml(&definition).unwrap() == checked_in(&file),
            "deploy/kubernetes/{file} is not what the Rust types say; run `cargo xtask generate` and commit what it writes"
        );
    }
}

#[test]
fn the_files_can_be_read_back() {
    for definition in definitions() {
        let read: CustomResourceDefinition =
            serde_saphyr::from_str(&yaml(&definition).unwrap()).unwrap();
        assert_eq!(read, definition);
    }
}

/// The definition of a DKP cluster: what it has is in ours, so that either can be replaced by the
/// other.
#[test]
fn every_field_of_dkps_definition_is_in_ours() {
    let dkp: CustomResourceDefinition = serde_saphyr::from_str(include_str!(
        "../../../../e2e/tests/kubernetes/dkp-istiofederation.yaml"
    ))
    .unwrap();
    let [_, _, ours] = definitions();
    let named = |definition: &CustomResourceDefinition| {
        let (spec, version) = (&definition.spec, &definition.spec.versions[0]);
        let status = version.subresources.as_ref().is_some_and(|all| all.status.is_some());
        json!([spec.group, spec.scope, spec.names.plural, spec.names.kind, version.name, status])
    };
    assert_eq!(named(&dkp), named(&ours));
    let fields = |definition: &CustomResourceDefinition| {
        let mut fields = BTreeMap::new();
        walk("", &schema(definition), &mut |field, schema| {
            fields.insert(field.to_owned(), (schema["type"].clone(), schema["default"].clone()));
        });
        fields
    };
    let own = fields(&ours);
    assert_eq!(schema(&dkp)["properties"]["spec"]["required"].as_array().map(Vec::len), Some(2));
    for (field, form) in fields(&dkp) {
        assert_eq!(own.get(&field), Some(&form), "{field}");
    }
    let conditions = super::schema::pointer("status.conditions");
    let key = |definition: &CustomResourceDefinition| {
        schema(definition).pointer(&conditions).unwrap()["x-kubernetes-list-map-keys"].clone()
    };
    assert_eq!((key(&dkp), key(&ours)), (json!(["type"]), json!(["type"])));
}

#[test]
fn every_field_has_a_description() {
    let mut fields = 0;
    each_schema(|field, schema| {
        // `kubectl explain` does not show descriptions of texts or numbers in a list.
        if field.ends_with("[]") && schema["type"] != "object" {
            return;
        }
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{field}: expected a sentence, found {description:?}");
        assert!(
            !description.contains("::") && !description.contains("[`"),
            "{field}: Rust in {description:?}"
        );
        fields += 1;
    });
    assert!(fields > 40, "{fields}");
}

#[test]
fn every_field_of_a_spec_is_bounded() {
    each_schema(|field, schema| {
        let bound = match schema["type"].as_str() {
            Some("string") if schema["enum"].is_null() => "maxLength",
            Some("array") => "maxItems",
            None => "maxLength",
            _ => return,
        };
        assert!(field.contains(".status") || schema[bound].is_u64(), "{field} has no {bound}");
    });
}

#[test]
fn every_rule_says_what_to_do() {
    let mut rules = 0;
    each_schema(|field, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            assert!(
                rule["message"].as_str().is_some_and(|message| message.len() > 20),
                "{field}: {rule}"
            );
            rules += 1;
        }
    });
    let all = [
        super::rules::ISTIO_FEDERATION,
        super::rules::FEDERATION_POLICY,
        super::rules::FEDERATED_SERVICE,
    ];
    assert_eq!(rules, all.map(<[_]>::len).iter().sum::<usize>());
}

#[test]
#[should_panic(expected = "no field spec.typo in the schema")]
fn a_rule_for_a_missing_field_is_an_error() {
    let rule = super::rules::Rule { field: "spec.typo", rule: "true", message: "" };
    super::schema::of::<super::FederationPolicy>(&[rule]);
}

#[test]
fn unknown_fields_are_kept_for_admission_and_pruned_in_a_peer() {
    each_schema(|field, schema| {
        let kept = schema["x-kubernetes-preserve-unknown-fields"] == true;
        let is_struct = schema["type"] == "object" && schema["additionalProperties"].is_null();
        let is_strict = !field.starts_with("IstioFederation") && !field.contains(".status");
        assert_eq!(kept, is_struct && is_strict, "{field}");
    });
}

#[test]
fn null_fields_are_kept_in_a_policy_and_dropped_in_a_peer() {
    each_schema(|field, schema| {
        if field.starts_with("FederatedService") {
            return;
        }
        let required = ["FederationPolicy", "FederationPolicy.spec"].contains(&field)
            || schema["default"].is_string();
        let needed =
            field.ends_with("[]") || field.ends_with(".key") || field.ends_with(".operator");
        let kept = field.starts_with("FederationPolicy") && !required && !needed;
        assert_eq!(schema["nullable"] == true, kept, "{field}: {schema}");
    });
    let [_, policies, _] = definitions();
    let [names, ..] = definitions();
    for field in ["spec.host", "spec.members[].local", "spec.members[].service.name"] {
        let pointer = super::schema::pointer(field);
        assert_eq!(schema(&names).pointer(&pointer).unwrap()["nullable"], true, "{field}");
    }
    let labels = super::schema::pointer("spec.services[].selector.matchLabels");
    assert_eq!(
        schema(&policies).pointer(&labels).unwrap()["additionalProperties"]["nullable"],
        true
    );
}

#[test]
fn a_port_may_be_a_number_or_a_name() {
    let [_, policies, _] = definitions();
    let ports = super::schema::pointer("spec.services[].ports[]");
    let schema = schema(&policies);
    let port = schema.pointer(&ports).unwrap();
    assert_eq!((&port["x-kubernetes-int-or-string"], &port["anyOf"]), (&json!(true), &Value::Null));
    assert_eq!((port["minimum"].as_f64(), port["maximum"].as_f64()), (Some(1.0), Some(65535.0)));
    assert_eq!(port["maxLength"], 63);
}

#[test]
fn the_enum_values_are_those_that_are_parsed() {
    let [_, policies, federations] = definitions();
    let mode = schema(&policies).pointer(&super::schema::pointer("spec.mode")).unwrap().clone();
    assert_eq!(
        (&mode["enum"], &mode["default"]),
        (&json!(["Enforce", "Audit"]), &json!("Enforce"))
    );
    let status = super::schema::pointer("status.conditions[].status");
    assert_eq!(
        schema(&federations).pointer(&status).unwrap()["enum"],
        json!(["True", "False", "Unknown"])
    );
}

/// Because of defaults that the API server adds to a status, the controller would write it again
/// and again.
#[test]
fn a_status_has_no_defaults() {
    each_schema(|field, schema| {
        assert!(!field.contains(".status") || schema["default"].is_null(), "{field}")
    });
}
