//! Malformed objects, which are older than the rules or come under definitions that accept
//! everything. Each is reported where its author looks, and everything else goes on.

use crate::events::Events;
use crate::fixture::{
    Pair, exported, import_objects, peer, versions, wait_condition, wait_imported,
    wait_not_imported,
};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::objects::condition_with_reason;
use fedgate_e2e::kubernetes::{CONTROLLER, Key, KubernetesCluster, Request, SHOP};
use fedgate_e2e::manifest::EXPORT_LABEL;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::time::Duration;

const DKP: &str = include_str!("dkp-istiofederation.yaml");

/// Removes the admission policies and replaces our definitions by ones that accept any object.
async fn allow_everything(cluster: &KubernetesCluster) -> Result<()> {
    for name in [
        "exports.fedgate.dev",
        "peers.fedgate.dev",
        "policies.fedgate.dev",
        "federatedservices.fedgate.dev",
    ] {
        let binding = "ValidatingAdmissionPolicyBinding";
        cluster
            .objects()
            .delete(Key::cluster_scoped("admissionregistration.k8s.io/v1", binding, name))
            .await?;
    }
    let kinds = [
        ("deckhouse.io", "istiofederations", "IstioFederation"),
        ("fedgate.dev", "federationpolicies", "FederationPolicy"),
    ];
    for (group, plural, kind) in kinds {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group,
                "scope": "Cluster",
                "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List") },
                "versions": [{ "name": "v1alpha1", "served": true, "storage": true, "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": schema } }],
            },
        });
        cluster.objects().apply_one(&definition).await?;
    }
    Ok(())
}

/// Applies an object once the API server no longer enforces the rules that it breaks.
async fn put(cluster: &KubernetesCluster, object: &Value) -> Result<()> {
    let what = format!("{} to be taken", Key::of(object)?);
    wait::until(&what, SOON, async || cluster.objects().apply_one(object).await.map(Some))
        .await
        .map(drop)
}

fn service(name: &str, label: &str, spec: Value) -> Value {
    let metadata = json!({ "namespace": SHOP, "name": name, "labels": { EXPORT_LABEL: label } });
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
}

/// Services that must not be exported, with the reason in their Events.
fn services() -> Vec<(Value, &'static str)> {
    let ports = json!([{ "name": "http", "port": 80 }]);
    vec![
        (service("valued", "yes", json!({ "ports": ports })), "LabelNotEmpty"),
        (service("unnamed", "", json!({ "ports": [{ "port": 80 }] })), "UnnamedPort"),
        (service("portless", "", json!({ "clusterIP": "None" })), "NoPorts"),
        (
            service(
                "elsewhere",
                "",
                json!({ "type": "ExternalName", "externalName": "a.example", "ports": ports }),
            ),
            "ExternalName",
        ),
    ]
}

/// Objects that are not valid peers, with the reason in their condition.
fn federations() -> Vec<(&'static str, Value, &'static str)> {
    let (domain, endpoint) = ("delta.example", "https://delta.example/metadata");
    vec![
        ("number", json!({ "trustDomain": 7, "metadataEndpoint": endpoint }), "InvalidObject"),
        ("nothing", Value::Null, "InvalidObject"),
        ("no-endpoint", json!({ "trustDomain": domain }), "InvalidObject"),
        (
            "plain",
            json!({ "trustDomain": domain, "metadataEndpoint": "http://delta.example" }),
            "InvalidEndpoint",
        ),
        (
            "spaces",
            json!({ "trustDomain": "delta example", "metadataEndpoint": endpoint }),
            "InvalidTrustDomain",
        ),
        (
            "ca",
            json!({ "trustDomain": domain, "metadataEndpoint": endpoint, "metadata": { "ca": "-----BEGIN CERTIFICATE-----\nnonsense" } }),
            "InvalidCa",
        ),
    ]
}

/// Checks that the pair still works in both directions: new exports are imported.
async fn goes_on(pair: &Pair, name: &str) -> Result<()> {
    let [alpha, beta] = &pair.federation.clusters;
    let service = exported(name);
    for (from, to) in [(alpha, beta), (beta, alpha)] {
        from.put_service(&service).await?;
        wait_imported(to, &service.host(&from.trust_domain())).await?;
    }
    pair.wait_imported().await
}

async fn bad_services(pair: &Pair) -> Result<()> {
    let [alpha, beta] = &pair.federation.clusters;
    for (object, reason) in services() {
        put(alpha, &object).await?;
        Events::of(alpha, Key::of(&object)?).await?.wait_event("Warning", reason, "").await?;
    }
    goes_on(pair, "beside-bad-services").await?;
    for (object, _) in services() {
        let host = format!(
            "{}.{SHOP}.svc.{}",
            object["metadata"]["name"].as_str().unwrap_or_default(),
            alpha.trust_domain()
        );
        for key in import_objects(&host) {
            ensure!(beta.objects().get(key).await?.is_none(), "{key} was imported");
        }
    }
    Ok(())
}

async fn bad_peers(pair: &Pair) -> Result<()> {
    let [alpha, _] = &pair.federation.clusters;
    for (name, spec, reason) in federations() {
        let mut object = json!({ "apiVersion": "deckhouse.io/v1alpha1", "kind": "IstioFederation", "metadata": { "name": name } });
        if !spec.is_null() {
            object["spec"] = spec;
        }
        put(alpha, &object).await?;
        wait_condition(alpha, name, "Accepted", ("False", reason)).await?;
        Events::of(alpha, peer(name)).await?.wait_event("Warning", reason, "").await?;
    }
    goes_on(pair, "beside-bad-peers").await
}

/// A mistake in the object of an established peer removes nothing, and new exports are still
/// exchanged.
async fn established_peer(pair: &Pair) -> Result<()> {
    let alpha = pair.alpha();
    let before = versions(alpha, &import_objects(&pair.web)).await?;
    let good = alpha.objects().get(peer("beta")).await?.context("the peer")?["spec"].clone();
    let ca = good["metadata"]["ca"].as_str().context("its CA")?.to_owned();
    let plain =
        good["metadataEndpoint"].as_str().context("its endpoint")?.replace("https://", "http://");
    let wrong = [
        (json!({ "metadataEndpoint": plain }), "InvalidEndpoint"),
        (json!({ "metadata": { "ca": ca.replacen("MII", "MIJ", 1) } }), "InvalidCa"),
        (json!({ "trustDomain": "beta example" }), "InvalidTrustDomain"),
        (json!({ "trustDomain": 7 }), "InvalidObject"),
    ];
    for (number, (spec, reason)) in wrong.into_iter().enumerate() {
        alpha.objects().patch(peer("beta"), &json!({ "spec": spec })).await?;
        let object = wait_condition(alpha, "beta", "Accepted", ("False", reason)).await?;
        ensure!(
            object.to_string().contains("the last valid version of the object stays in force"),
            "{object:#}"
        );
        goes_on(pair, &format!("beside-a-mistake-{number}")).await?;
        alpha.objects().patch(peer("beta"), &json!({ "spec": good })).await?;
        wait_condition(alpha, "beta", "Accepted", ("True", "Accepted")).await?;
    }
    ensure!(
        versions(alpha, &import_objects(&pair.web)).await? == before,
        "the imports were written"
    );
    Ok(())
}

/// An invalid policy closes access for the peers that it names.
async fn bad_policies(pair: &Pair) -> Result<()> {
    let [alpha, beta] = &pair.federation.clusters;
    let service = exported("policed");
    let host = service.host(&alpha.trust_domain());
    alpha.put_service(&service).await?;
    wait_imported(beta, &host).await?;
    for spec in
        [json!({ "peers": "beta" }), json!({ "peers": ["beta"], "typo": 1 }), json!(["beta"])]
    {
        let object = json!({
            "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederationPolicy", "metadata": { "name": "bad" }, "spec": spec,
        });
        put(alpha, &object).await?;
        Events::of(alpha, Key::of(&object)?)
            .await?
            .wait_event("Warning", "InvalidPolicy", "")
            .await?;
        wait_not_imported(beta, &host).await?;
        alpha.objects().delete(Key::of(&object)?).await?;
        wait_imported(beta, &host).await?;
    }
    goes_on(pair, "beside-bad-policies").await
}

/// With a definition that drops fields, the status is written once, not again and again for the
/// dropped fields.
async fn dropped_fields(pair: &Pair) -> Result<()> {
    let [alpha, beta] = &pair.federation.clusters;
    alpha.objects().apply(DKP).await?;
    // The API server drops unknown fields only when it stores or reads an object.
    let dropped = |object: &Value| {
        object["status"]["observedGeneration"].is_null()
            && condition_with_reason(object, "Accepted").is_some()
    };
    let patch = json!({ "metadata": { "annotations": { "example.com/a": "b" } } });
    let what = "to have lost observedGeneration";
    wait::until(what, SOON, async || {
        let object = alpha.objects().patch(peer("beta"), &patch).await?;
        Ok(dropped(&object).then_some(()))
    })
    .await?;
    // News is still written.
    goes_on(pair, "under-another-definition").await?;
    let listed = exported("under-another-definition").host(&beta.trust_domain());
    let private =
        |object: &Value| object["status"]["metadataCache"]["private"].to_string().contains(&listed);
    let object = alpha.objects().wait_for(peer("beta"), "to list what is new", private).await?;
    ensure!(dropped(&object), "the definition is in force: {object:#}");

    // Some time after a definition changes, the API server ends all watches. The next list lacks
    // the dropped fields, so each status is written once more, and then never again.
    let quiet = async || {
        let audit = alpha.plane().audit();
        let of_statuses = |request: &Request| {
            request.user == CONTROLLER && request.writes() && request.resource == "istiofederations"
        };
        let is_quiet = async || Ok(audit.matching(of_statuses).is_empty());
        wait::stays("no status is written", Duration::from_secs(4), is_quiet).await.map(Some)
    };
    wait::until("statuses to be written no more", SOON, quiet).await
}

#[test]
fn malformed_objects_are_reported_and_the_rest_still_works() {
    scenario("malformed", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        allow_everything(pair.alpha()).await?;
        bad_services(&pair).await?;
        bad_peers(&pair).await?;
        established_peer(&pair).await?;
        bad_policies(&pair).await?;
        dropped_fields(&pair).await
    });
}
