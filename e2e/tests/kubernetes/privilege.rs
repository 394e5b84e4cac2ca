//! Least privilege: every granted verb is used, and nothing else is possible.

use crate::fixture::{Pair, exported, import_objects};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::objects::SOON;
use fedgate_e2e::kubernetes::{
    CONTROLLER, Key, NAMESPACE, Objects, SERVICE_ACCOUNT, SHOP, condition,
};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const WASM_PLUGIN: Key<'_> =
    Key::namespaced("extensions.istio.io/v1alpha1", "WasmPlugin", NAMESPACE, "fedgate");
const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");

/// The group, the resource (with its subresource) and the verb.
type Grant = (String, String, String);

/// Everything that the controller's roles grant, by namespace; cluster-wide grants have an empty
/// namespace.
async fn granted(objects: &Objects) -> Result<BTreeSet<(String, Grant)>> {
    let mut granted = BTreeSet::new();
    let cluster = objects.list((RBAC, "ClusterRole"), None, "").await?;
    let own = cluster.into_iter().filter(|role| role["metadata"]["name"] == "fedgate");
    let roles = objects.list((RBAC, "Role"), None, "").await?;
    let roles = roles.into_iter().filter(|role| {
        role["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("fedgate"))
    });
    for role in own.chain(roles) {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().context("a role has rules")? {
            for (group, resource, verb) in product(rule)? {
                ensure!(group != "*" && resource != "*" && verb != "*", "a wildcard in {rule}");
                granted.insert((namespace.to_owned(), (group, resource, verb)));
            }
        }
    }
    Ok(granted)
}

fn product(rule: &Value) -> Result<Vec<Grant>> {
    let texts =
        |field: &str| -> Result<Vec<String>> { Ok(serde_json::from_value(rule[field].clone())?) };
    let mut all = Vec::new();
    for group in texts("apiGroups")? {
        for resource in texts("resources")? {
            for verb in texts("verbs")? {
                all.push((group.clone(), resource.clone(), verb));
            }
        }
    }
    Ok(all)
}

/// How often an Event about two peers with the same trust domain was reported.
async fn same_trust_domain(objects: &Objects) -> Result<u64> {
    let events = objects.list(("events.k8s.io/v1", "Event"), None, "").await?;
    let matching = events.iter().filter(|event| event["reason"] == "SameTrustDomain");
    Ok(matching.map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum())
}

#[test]
fn every_verb_that_is_granted_is_used() {
    scenario("verbs", async |run: &RunFolder| {
        let mut federation =
            fedgate_e2e::kubernetes::KubernetesFederation::<2>::start(run, ["alpha", "beta"])
                .await?;
        let audit = federation.clusters[0].plane().audit();
        federation.pair().await?;
        let web = exported("web");
        federation.clusters[1].put_service(&web).await?;
        federation.start_controllers().await?;
        let [alpha, beta] = &mut federation.clusters;
        let imported = web.host(&beta.trust_domain());
        for object in import_objects(&imported) {
            alpha.objects().wait_present(object).await?;
        }
        // Change a table and a trust bundle, and tamper with an object.
        alpha.put_service(&exported("stock")).await?;
        let bundle = Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-trust-bundle");
        alpha.objects().patch(bundle, &json!({ "data": { "bundles.json": "{}" } })).await?;
        alpha
            .objects()
            .wait_for(bundle, "to be put right", |object| object["data"]["bundles.json"] != "{}")
            .await?;
        // The status of a name over several clusters, whose routes go with it.
        let shared = json!({
            "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederatedService",
            "metadata": { "name": "web", "namespace": SHOP },
            "spec": { "ports": [{ "name": "tcp", "port": 80 }], "members": [{ "local": {} }, { "peers": ["beta"], "priority": 0 }] },
        });
        alpha.objects().apply_one(&shared).await?;
        let named = Key::of(&shared)?;
        let accepted = |object: &Value| condition(object, "Accepted") == Some("True");
        alpha.objects().wait_for(named, "to be accepted", accepted).await?;
        // The same problem twice: the Event's series is counted up.
        let beta_again = json!({
            "apiVersion": "deckhouse.io/v1alpha1", "kind": "IstioFederation", "metadata": { "name": "beta-again" },
            "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" },
        });
        for _ in 0..2 {
            let before = same_trust_domain(alpha.objects()).await?;
            alpha.objects().apply_one(&beta_again).await?;
            let reported = async || Ok(same_trust_domain(alpha.objects()).await? > before);
            wait::until_true("the Event", SOON, reported).await?;
            let own = json!({ "spec": { "trustDomain": "delta.example" } });
            alpha.objects().patch(Key::of(&beta_again)?, &own).await?;
            // Wait for a table without this peer, so that the problem is new when it returns.
            alpha.put_service(&exported("marker")).await?;
            let marker = |table: &Value| table.to_string().contains("\\\"exports\\\":3");
            alpha.objects().wait_for(TABLE, "to have the marker", marker).await?;
            alpha.objects().delete(Key::namespaced("v1", "Service", SHOP, "marker")).await?;
            let gone = |table: &Value| table.to_string().contains("\\\"exports\\\":2");
            alpha.objects().wait_for(TABLE, "to be without the marker", gone).await?;
        }
        alpha.objects().delete(Key::of(&beta_again)?).await?;
        // Switch to the other delivery, and back.
        for (delivery, comes, goes) in
            [("WasmPlugin", WASM_PLUGIN, TABLE), ("EnvoyFilter", TABLE, WASM_PLUGIN)]
        {
            let leader = alpha.leader().await?;
            alpha.stop_replica(&leader).await?;
            alpha.settings().insert("FEDGATE_DELIVERY".into(), delivery.into());
            alpha.start_replica().await?;
            alpha.objects().wait_present(comes).await?;
            alpha.objects().wait_absent(goes).await?;
            if delivery == "WasmPlugin" {
                alpha
                    .objects()
                    .patch(WASM_PLUGIN, &json!({ "spec": { "failStrategy": "FAIL_OPEN" } }))
                    .await?;
                alpha
                    .objects()
                    .wait_for(WASM_PLUGIN, "to fail closed", |object| {
                        object["spec"]["failStrategy"] == "FAIL_RELOAD"
                    })
                    .await?;
            }
        }
        // Remove a peer.
        alpha.remove_peer("beta").await?;
        for object in import_objects(&imported) {
            alpha.objects().wait_absent(object).await?;
        }
        alpha
            .objects()
            .wait_absent(Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-peer-beta"))
            .await?;

        let requests = audit.matching(|request| request.user == CONTROLLER);
        let refused: Vec<_> = requests.iter().filter(|request| request.status == 403).collect();
        ensure!(refused.is_empty(), "{refused:#?}");
        // Only an uninstallation deletes some objects. It may not search everywhere, so it looks
        // where the controller writes.
        let leader = alpha.leader().await?;
        alpha.stop_replica(&leader).await?;
        let kubeconfig = alpha.settings()["KUBECONFIG"].clone();
        let output = alpha.fedgate(&["uninstall", "--kubeconfig", &kubeconfig]).await?;
        ensure!(output.status.success(), "{output:?}");
        let requests = audit.matching(|request| request.user == CONTROLLER);
        let unused: Vec<_> = granted(alpha.objects())
            .await?
            .into_iter()
            .filter(|(namespace, (group, resource, verb))| {
                !requests.iter().any(|request| {
                    let asked = match request.subresource.as_str() {
                        "" => request.resource.clone(),
                        subresource => format!("{}/{subresource}", request.resource),
                    };
                    (namespace.is_empty() || request.namespace == *namespace)
                        && (&request.group, &asked, &request.verb) == (group, resource, verb)
                })
            })
            .collect();
        // To create an object by server-side apply, a user needs the verb create, but the audit log
        // has the request as a patch.
        let unused: Vec<_> =
            unused.into_iter().filter(|(_, (_, _, verb))| verb != "create").collect();
        ensure!(unused.is_empty(), "granted and never used: {unused:#?}");
        Ok(())
    });
}

#[test]
fn other_secrets_and_other_namespaces_are_refused() {
    scenario("secrets", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let client =
            pair.alpha().plane().service_account_client(NAMESPACE, SERVICE_ACCOUNT).await?;
        let (admin, controller) = (pair.alpha().objects(), Objects::new(client));
        let secret = |namespace: &str, name: &str| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace }, "stringData": { "a": "b" } });
        for (namespace, name) in [(NAMESPACE, "another"), (SHOP, "fedgate-identity")] {
            admin.apply_one(&secret(namespace, name)).await?;
            let key = Key::namespaced("v1", "Secret", namespace, name);
            refused(controller.get(key).await.map(drop))?;
            refused(controller.patch(key, &json!({ "stringData": { "a": "c" } })).await.map(drop))?;
            refused(controller.delete(key).await)?;
        }
        refused(controller.list(("v1", "Secret"), Some(NAMESPACE), "").await.map(drop))?;
        let web = Key::namespaced("networking.istio.io/v1", "ServiceEntry", SHOP, "x");
        refused(controller.get(web).await.map(drop))?;
        refused(
            controller
                .patch(BETA, &json!({ "spec": { "trustDomain": "evil.example" } }))
                .await
                .map(drop),
        )?;
        // Its own Secret is readable, as it must be.
        let own =
            controller.get(Key::namespaced("v1", "Secret", NAMESPACE, "fedgate-identity")).await?;
        ensure!(own.is_some());
        Ok(())
    });
}

const BETA: Key<'_> = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "beta");

fn refused(result: Result<()>) -> Result<()> {
    let error = result.err().context("it was allowed")?;
    ensure!(format!("{error:#}").contains("forbidden"), "{error:#}");
    Ok(())
}
