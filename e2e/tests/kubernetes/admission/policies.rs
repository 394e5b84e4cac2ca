use super::server::{POLICIES, Server, Unknown, policy};
use anyhow::ensure;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};

fn with_service(service: Value) -> Value {
    policy(&json!({ "services": [service] }))
}

fn with_requirement(requirement: Value) -> Value {
    with_service(json!({ "selector": { "matchExpressions": [requirement] } }))
}

#[test]
fn an_invalid_policy_is_refused() {
    scenario("policies", async |run: &RunFolder| {
        let server = Server::with_admission(run).await?;
        let full = json!({
            "peers": ["beta", "gamma.eu"],
            "services": [{
                "namespaces": ["shop", "team-*"],
                "selector": {
                    "matchLabels": { "tier": "front" },
                    "matchExpressions": [{ "key": "a", "operator": "In", "values": ["b"] }, { "key": "c", "operator": "Exists" }],
                },
                "ports": [80, "http-web", 65535],
            }],
            "callers": [{ "namespace": "shop", "serviceAccount": "cart-*" }, {}],
            "mode": "Audit",
        });
        let nothing = policy(&json!({ "services": [] }));
        server.takes(POLICIES, [policy(&json!({})), policy(&full), nothing]).await?;

        let one_entry = "expected at least one entry, found an empty list; add an entry";
        let one_peer = "expected at least one peer, found an empty list";
        let many: Vec<_> = (0..1001).map(|_| json!({})).collect();
        server
            .refuses(
                POLICIES,
                [
                    (policy(&Value::Null), "spec: Required value"),
                    (policy(&json!({ "peers": [] })), one_peer),
                    (policy(&json!({ "callers": [] })), one_entry),
                    (with_service(json!({ "namespaces": [] })), one_entry),
                    (with_service(json!({ "ports": [] })), one_entry),
                    (policy(&json!({ "peers": "beta" })), "must be of type array"),
                    (
                        policy(&json!({ "peers": ["bet*"] })),
                        "expected the name of an IstioFederation object",
                    ),
                    (
                        policy(&json!({ "callers": [{ "namespace": "Shop" }] })),
                        "expected a pattern of lower-case letters",
                    ),
                    (
                        policy(&json!({ "callers": [{ "serviceAccount": "" }] })),
                        "expected a pattern of lower-case letters",
                    ),
                    (
                        with_service(json!({ "namespaces": ["a_b"] })),
                        "expected a pattern of lower-case letters",
                    ),
                    (policy(&json!({ "callers": many })), "Too many"),
                    (
                        policy(&json!({ "mode": "audit" })),
                        r#"supported values: "Enforce", "Audit""#,
                    ),
                ],
            )
            .await?;
        server
            .refuses(
                POLICIES,
                [
                    (with_service(json!({ "ports": [0] })), "should be greater than or equal to 1"),
                    (
                        with_service(json!({ "ports": [65536] })),
                        "should be less than or equal to 65535",
                    ),
                    (with_service(json!({ "ports": ["80"] })), "should match"),
                    (with_service(json!({ "ports": [true] })), "must be of type integer,string"),
                    (
                        with_requirement(json!({ "key": "a", "operator": "In" })),
                        "In and NotIn need one value at least",
                    ),
                    (
                        with_requirement(
                            json!({ "key": "a", "operator": "Exists", "values": ["b"] }),
                        ),
                        "Exists and DoesNotExist take none",
                    ),
                    (
                        with_service(json!({ "selector": { "matchLabels": { "": "b" } } })),
                        "expected the names of labels",
                    ),
                ],
            )
            .await
    });
}

#[test]
fn an_unknown_field_of_a_policy_is_refused_whatever_the_client_asks_for() {
    scenario("typing-errors", async |run: &RunFolder| {
        let server = Server::with_definitions(run).await?;
        let mut beside = policy(&json!({ "peers": ["beta"] }));
        beside["callers"] = json!([{ "namespace": "shop" }]);
        let errors = [
            (beside, "unknown field callers; what a policy says belongs under spec"),
            (
                policy(&json!({ "peer": ["beta"] })),
                "unknown field spec.peer; expected some of callers, mode, peers, services",
            ),
            (
                with_service(json!({ "namespace": ["shop"] })),
                "unknown field in spec.services: namespace; expected some of namespaces, ports, selector",
            ),
            (
                with_service(json!({ "selector": { "matchlabels": {} } })),
                "in a selector of spec.services: matchlabels; expected some of matchExpressions, matchLabels",
            ),
            (
                with_requirement(json!({ "key": "a", "operator": "Exists", "value": "b" })),
                "in matchExpressions of a selector of spec.services; expected some of key, operator, values",
            ),
            (
                policy(&json!({ "callers": [{}, { "serviceaccount": "cart" }] })),
                "unknown field in spec.callers: serviceaccount; expected some of namespace, serviceAccount",
            ),
        ];
        // Without the admission policy the API server keeps the wrong field, so that the controller
        // sees it.
        for (object, _) in &errors {
            let stored = server
                .attempt(POLICIES, object, Unknown::Warn)
                .await
                .map_err(anyhow::Error::msg)?;
            ensure!(!lost_something(object, &stored), "{object}\n{stored}");
        }
        server.admit().await?;
        server.refuses(POLICIES, errors).await
    });
}

#[test]
fn a_policy_field_without_a_value_is_refused_and_never_dropped() {
    scenario("without-value", async |run: &RunFolder| {
        let server = Server::with_definitions(run).await?;
        let no_value = [
            (json!({ "services": null }), "spec.services"),
            (json!({ "peers": null }), "spec.peers"),
            (json!({ "peers": ["beta"], "callers": null }), "spec.callers"),
            (json!({ "services": [{}, { "namespaces": null }] }), "spec.services[].namespaces"),
            (json!({ "services": [{ "ports": null }] }), "spec.services[].ports"),
            (json!({ "services": [{ "selector": null }] }), "spec.services[].selector"),
            (
                json!({ "services": [{ "selector": { "matchLabels": null } }] }),
                "spec.services[].selector.matchLabels",
            ),
            (
                json!({ "services": [{ "selector": { "matchExpressions": null } }] }),
                "spec.services[].selector.matchExpressions",
            ),
            (
                json!({ "services": [{ "selector": { "matchLabels": { "app": null } } }] }),
                "a label of spec.services[].selector.matchLabels",
            ),
            (
                json!({ "services": [{ "selector": { "matchExpressions": [{ "key": "a", "operator": "Exists", "values": null }] } }] }),
                "spec.services[].selector.matchExpressions[].values",
            ),
            (json!({ "callers": [{ "namespace": null }] }), "spec.callers[].namespace"),
            (json!({ "callers": [{ "serviceAccount": null }] }), "spec.callers[].serviceAccount"),
        ];
        for (spec, _) in &no_value {
            let object = policy(spec);
            // It is refused, or kept for the controller to see. It is never stored as a policy that
            // allows more.
            if let Ok(stored) = server.attempt(POLICIES, &object, Unknown::Warn).await {
                ensure!(!lost_something(&object, &stored), "{object}\n{stored}");
            }
        }
        server.admit().await?;
        let refused =
            no_value.map(|(spec, field)| (policy(&spec), format!("no value in {field}: ")));
        server
            .refuses(
                POLICIES,
                refused.iter().map(|(object, words)| (object.clone(), words.as_str())),
            )
            .await?;
        // Lists must not contain null: the definition itself refuses it.
        for spec in [
            json!({ "services": [null] }),
            json!({ "callers": [null] }),
            json!({ "peers": [null] }),
        ] {
            server.refuses(POLICIES, [(policy(&spec), "must be of type")]).await?;
        }
        server
            .takes(
                POLICIES,
                [policy(&json!({ "services": [] })), policy(&json!({ "services": [{}] }))],
            )
            .await
    });
}

/// Returns true if `stored` lacks something that `object` has.
fn lost_something(object: &Value, stored: &Value) -> bool {
    match (object, stored) {
        (Value::Object(object), Value::Object(stored)) => object
            .iter()
            .any(|(key, value)| stored.get(key).is_none_or(|stored| lost_something(value, stored))),
        (Value::Array(object), Value::Array(stored)) => {
            object.len() != stored.len()
                || object.iter().zip(stored).any(|(object, stored)| lost_something(object, stored))
        }
        _ => object != stored,
    }
}
