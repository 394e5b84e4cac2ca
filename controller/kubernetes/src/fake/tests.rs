//! Tests the behaviour of the fake server that other tests rely on.

use super::{FakeApi, Fault};
use crate::api::kind::Kind;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

fn rig() -> (FakeApi, Api<DynamicObject>) {
    let server = FakeApi::new();
    let api = Kind::ConfigMap.within(&server.client(), "a");
    (server, api)
}

fn config_map(data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "namespace": "a" }, "data": data })
}

fn apply(manager: &str) -> PatchParams {
    PatchParams::apply(manager)
}

fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn only_changes_increase_versions() {
    let (server, api) = rig();
    let first = api
        .patch("x", &apply("us"), &Patch::Apply(config_map(&json!({ "a": "1" }))))
        .await
        .unwrap();
    let same = api
        .patch("x", &apply("us"), &Patch::Apply(config_map(&json!({ "a": "1" }))))
        .await
        .unwrap();
    assert_eq!(first.resource_version(), same.resource_version());
    let other = api
        .patch("x", &apply("us"), &Patch::Apply(config_map(&json!({ "a": "2" }))))
        .await
        .unwrap();
    assert!(other.resource_version() > same.resource_version());
    assert_eq!((other.metadata.generation, other.uid()), (Some(2), first.uid()));
    assert_eq!(server.revision(), 2);
}

#[tokio::test]
async fn apply_keeps_others_fields_and_removes_its_own_former_ones() {
    let (server, api) = rig();
    api.patch("x", &apply("us"), &Patch::Apply(config_map(&json!({ "a": "1", "b": "1" }))))
        .await
        .unwrap();
    server.patch(Kind::ConfigMap, "a", "x", &json!({ "data": { "b": "theirs", "c": "theirs" } }));
    let applied = Patch::Apply(config_map(&json!({ "b": "2" })));
    assert_eq!(code(api.patch("x", &apply("us"), &applied).await.unwrap_err()), 409, "b is theirs");
    let forced = api.patch("x", &apply("us").force(), &applied).await.unwrap();
    assert_eq!(forced.data["data"], json!({ "b": "2", "c": "theirs" }));
}

#[tokio::test]
async fn another_version_or_uid_is_a_conflict() {
    let (server, api) = rig();
    let object = server.put(Kind::ConfigMap, config_map(&json!({ "a": "1" })));
    server.patch(Kind::ConfigMap, "a", "x", &json!({ "data": { "a": "2" } }));
    let stale: DynamicObject = serde_json::from_value(object).unwrap();
    assert_eq!(code(api.replace("x", &PostParams::default(), &stale).await.unwrap_err()), 409);
    let mut applied = config_map(&json!({ "a": "3" }));
    applied["metadata"]["uid"] = "another".into();
    assert_eq!(
        code(api.patch("x", &apply("us").force(), &Patch::Apply(&applied)).await.unwrap_err()),
        409
    );
    let other = Preconditions { uid: Some("another".into()), resource_version: None };
    let options = DeleteParams { preconditions: Some(other), ..DeleteParams::default() };
    assert_eq!(code(api.delete("x", &options).await.unwrap_err()), 409);
    assert!(api.delete("x", &DeleteParams::default()).await.unwrap().is_right());
    assert!(api.get_opt("x").await.unwrap().is_none());
}

#[tokio::test]
async fn the_status_is_written_separately() {
    let server = FakeApi::new();
    let api = Kind::IstioFederation.everywhere(&server.client());
    server
        .put(Kind::IstioFederation, json!({ "metadata": { "name": "beta" }, "spec": { "a": 1 } }));
    let patch: Patch<()> = Patch::Json(
        serde_json::from_value(
            json!([{ "op": "add", "path": "/status", "value": { "known": 1 } }]),
        )
        .unwrap(),
    );
    let patched = api.patch_status("beta", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(
        (patched.data["status"].clone(), patched.metadata.generation),
        (json!({ "known": 1 }), Some(1))
    );
    let edited = server
        .put(Kind::IstioFederation, json!({ "metadata": { "name": "beta" }, "spec": { "a": 2 } }));
    assert_eq!(
        (&edited["status"], &edited["metadata"]["generation"]),
        (&json!({ "known": 1 }), &json!(2))
    );
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let (server, api) = rig();
    let mut object = config_map(&json!({}));
    object["metadata"]["finalizers"] = json!(["held"]);
    server.put(Kind::ConfigMap, object);
    assert!(api.delete("x", &DeleteParams::default()).await.unwrap().is_left());
    assert!(api.get("x").await.unwrap().metadata.deletion_timestamp.is_some());
    server.patch(Kind::ConfigMap, "a", "x", &json!({ "metadata": { "finalizers": null } }));
    assert!(api.get_opt("x").await.unwrap().is_none());
}

#[tokio::test]
async fn selectors_and_pages() {
    let (server, api) = rig();
    for (name, label) in [("x", "1"), ("y", "2"), ("z", "1")] {
        let metadata = json!({ "name": name, "namespace": "a", "labels": { "l": label } });
        server.put(Kind::ConfigMap, json!({ "metadata": metadata }));
    }
    let names = async |parameters: ListParams| -> Vec<_> {
        api.list(&parameters).await.unwrap().items.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(names(ListParams::default().labels("l=1")).await, ["x", "z"]);
    assert_eq!(names(ListParams::default().labels("l!=1")).await, ["y"]);
    assert_eq!(names(ListParams::default().labels("l,!m")).await.len(), 3);
    assert_eq!(names(ListParams::default().fields("metadata.name=y")).await, ["y"]);
    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    let token = page.metadata.continue_.unwrap();
    assert_eq!(names(ListParams::default().limit(2).continue_token(&token)).await, ["z"]);
    server.delete(Kind::ConfigMap, "a", "x");
    let expired =
        api.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap_err();
    assert_eq!(code(expired), 410);
}

#[tokio::test]
async fn a_lost_answer_is_an_error_though_the_write_happened() {
    let (server, api) = rig();
    server.fail(1, Fault::LostAnswer, |call| call.name == "x");
    assert!(api.patch("x", &apply("us"), &Patch::Apply(config_map(&json!({})))).await.is_err());
    assert!(api.get("x").await.is_ok());
    server.fail(1, Fault::Refused(500, "no"), |_| true);
    assert_eq!(code(api.get("x").await.unwrap_err()), 500);
    server.fail(5, Fault::Refused(500, "no"), |_| true);
    server.mend();
    assert!(api.get("x").await.is_ok());
}
