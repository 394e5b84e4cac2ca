//! `FederatedService`s on an API server: what is written for them, and what their status says.

use crate::events::Events;
use crate::fixture::{Pair, exported, import_objects, versions, wait_imported};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::objects::condition_with_reason;
use fedgate_e2e::kubernetes::{
    AuditLog, CONTROLLER, Key, KubernetesCluster, MESH_NAMESPACE, NAMESPACE, SHOP,
};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const HOST: &str = "web.shop.global";
const ENTRY: Key<'_> = Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, HOST);

const fn key(name: &str) -> Key<'_> {
    Key::namespaced("fedgate.dev/v1alpha1", "FederatedService", SHOP, name)
}

fn object(name: &str, spec: &Value) -> Value {
    let metadata = json!({ "namespace": SHOP, "name": name });
    json!({ "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederatedService", "metadata": metadata, "spec": spec })
}

fn of_beta(name: &str) -> Value {
    object(
        name,
        &json!({ "ports": [{ "name": "http", "port": 80 }], "members": [{ "peers": ["beta"] }] }),
    )
}

/// Waits until a condition has this status and reason; returns the object.
async fn wait_condition(
    cluster: &KubernetesCluster,
    name: &str,
    kind: &str,
    expected: (&str, &str),
) -> Result<Value> {
    let matches = |object: &Value| condition_with_reason(object, kind) == Some(expected);
    let what = format!("to have the condition {kind} {expected:?}");
    cluster.objects().wait_for(key(name), &what, matches).await
}

/// The EnvoyFilter with the patches for a host.
async fn filter(cluster: &KubernetesCluster, host: &str) -> Result<Option<Value>> {
    let kind = ("networking.istio.io/v1alpha3", "EnvoyFilter");
    let filters = cluster.objects().list(kind, Some(MESH_NAMESPACE), "").await?;
    Ok(filters.into_iter().find(|filter| {
        let name = filter["metadata"]["name"].as_str().unwrap_or_default();
        name.starts_with("fedgate-federated-") && filter.to_string().contains(&format!("{host:?}"))
    }))
}

/// The writes of FederatedServices' objects and statuses, without those that others cause.
fn writes(audit: &AuditLog) -> Vec<String> {
    let resources = [
        "serviceentries",
        "envoyfilters",
        "virtualservices",
        "destinationrules",
        "federatedservices",
    ];
    let writes = audit.writes_by(CONTROLLER).into_iter();
    let writes = writes.filter(|request| resources.contains(&request.resource.as_str()));
    let mut writes: Vec<_> = writes
        .map(|request| {
            format!(
                "{} {}/{} {}",
                request.verb, request.resource, request.subresource, request.name
            )
        })
        .collect();
    writes.sort();
    writes
}

/// Waits until nothing has been written for some time.
async fn quiet(cluster: &KubernetesCluster) -> Result<()> {
    wait::until_true("the writes to end", SOON, async || {
        let audit = cluster.plane().audit();
        let none = async || Ok(writes(&audit).is_empty());
        Ok(wait::stays("it is quiet", Duration::from_secs(2), none).await.is_ok())
    })
    .await
}

#[test]
fn a_name_has_its_objects_and_a_change_is_one_write() {
    scenario("federated", async |run: &RunFolder| {
        let pair = Pair::start_with(run, &[("FEDGATE_PROBE", "1s")]).await?;
        let _gateway = pair.beta().serve_gateway_certificate().await?;
        let (alpha, imports) = (pair.alpha(), import_objects(&pair.web));
        let objects = alpha.objects();
        objects.apply_one(&of_beta("web")).await?;
        objects.wait_present(ENTRY).await?;
        wait_condition(alpha, "web", "Accepted", ("True", "Accepted")).await?;
        let named = wait_condition(alpha, "web", "Ready", ("True", "MemberReady")).await?;
        ensure!(named["status"]["host"] == HOST, "{named:#}");
        ensure!(named["status"]["members"][0]["service"] == "web.shop.svc.beta.example:80");
        let patches = filter(alpha, HOST).await?.context("no patches for the name")?;
        ensure!(patches.to_string().contains("outbound|80||web.shop.svc.beta.example"));
        quiet(alpha).await?;
        let untouched = versions(alpha, &imports).await?;

        // Another member, which this cluster's own Service is: one write of what changes.
        let audit = alpha.plane().audit();
        let node = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 5), 8080));
        let local = fedgate_e2e::manifest::Service::new("web", "http", 80, node);
        alpha.put_service(&local).await?;
        let members = json!([{ "local": {} }, { "peers": ["beta"] }]);
        objects.patch(key("web"), &json!({ "spec": { "members": members } })).await?;
        objects
            .wait_for(key("web"), "to use both", |object| {
                object["status"]["current"] == json!(["local"])
            })
            .await?;
        quiet(alpha).await?;
        let name = patches["metadata"]["name"].as_str().context("a name")?;
        let expected = [
            format!("patch envoyfilters/ {name}"),
            "patch federatedservices/status web".to_owned(),
        ];
        ensure!(writes(&audit) == expected, "{:?}", writes(&audit));
        // The member follows its Service.
        objects.delete(Key::namespaced("v1", "Service", SHOP, "web")).await?;
        let gone = objects
            .wait_for(key("web"), "to use beta alone", |object| {
                object["status"]["current"] == json!(["beta"])
            })
            .await?;
        ensure!(gone["status"]["members"][0]["state"] == "no_local_service", "{gone:#}");
        // A change by someone else is put right.
        objects
            .patch(ENTRY, &json!({ "spec": { "resolution": "NONE", "endpoints": null } }))
            .await?;
        objects
            .wait_for(ENTRY, "to be put right", |entry| entry["spec"]["resolution"] == "DNS")
            .await?;

        let printed = alpha.kubectl(&["get", "fsvc", "-n", SHOP]).await?;
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        ensure!(printed.contains(HOST) && printed.contains(r#"["beta"]"#), "{printed}");
        let printed = alpha.fedgate(&["check"]).await?;
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        ensure!(printed.contains("each FederatedService has its objects"), "{printed}");

        objects.delete(key("web")).await?;
        objects.wait_absent(ENTRY).await?;
        wait::until_true("the patches to go", SOON, async || {
            Ok(filter(alpha, HOST).await?.is_none())
        })
        .await?;
        ensure!(versions(alpha, &imports).await? == untouched, "the import was written");
        Ok(())
    });
}

#[test]
fn members_that_share_calls_have_routes_which_go_first() {
    scenario("federated-shared", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let objects = pair.alpha().objects();
        let ports = json!([{ "name": "tcp", "port": 80 }]);
        let members = json!([{ "local": {} }, { "peers": ["beta"], "priority": 0 }]);
        objects.apply_one(&object("web", &json!({ "ports": ports, "members": members }))).await?;
        let rule = Key::namespaced("networking.istio.io/v1", "DestinationRule", NAMESPACE, HOST);
        let route = Key::namespaced("networking.istio.io/v1", "VirtualService", NAMESPACE, HOST);
        let routes = objects.wait_present(route).await?;
        ensure!(routes["spec"]["tcp"][0]["route"].as_array().is_some_and(|all| all.len() == 2));
        ensure!(
            objects.wait_present(rule).await?["spec"]["subsets"] == json!([{ "name": "order-1" }])
        );
        let members = json!([{ "peers": ["beta"] }]);
        objects.patch(key("web"), &json!({ "spec": { "members": members } })).await?;
        for key in [route, rule] {
            objects.wait_absent(key).await?;
        }
        objects.wait_present(ENTRY).await.map(drop)
    });
}

#[test]
fn what_belongs_to_others_is_left_alone_and_reported() {
    scenario("federated-clashes", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let (alpha, objects) = (pair.alpha(), pair.alpha().objects());
        let entry = |namespace: &str, name: &str| {
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
                "metadata": { "name": name, "namespace": namespace },
                "spec": { "hosts": [HOST], "resolution": "NONE", "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }] },
            })
        };
        // Someone else has the name of the object.
        let theirs = objects.apply_one(&entry(NAMESPACE, HOST)).await?;
        objects.apply_one(&of_beta("web")).await?;
        let conflict =
            |event: &Value| event["reason"] == "Conflict" && event.to_string().contains(HOST);
        wait::until_true("an Event about the conflict", SOON, async || {
            Ok(objects.list(("events.k8s.io/v1", "Event"), None, "").await?.iter().any(conflict))
        })
        .await?;
        let now = objects.get(ENTRY).await?.context("their object")?;
        ensure!(now["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]);
        // The host in another ServiceEntry.
        objects.delete(ENTRY).await?;
        objects.wait_for(ENTRY, "to be ours", |entry| entry["spec"]["resolution"] == "DNS").await?;
        objects.apply_one(&entry(SHOP, "theirs")).await?;
        let events = Events::of(alpha, key("web")).await?;
        events.wait_event("Warning", "HostTaken", "shop/theirs").await?;
        objects.wait_present(ENTRY).await?;
        // Everything else goes on.
        let other = exported("other");
        pair.beta().put_service(&other).await?;
        wait_imported(alpha, &other.host(&pair.beta().trust_domain())).await
    });
}

#[test]
fn a_name_that_must_not_be_is_refused_and_no_other() {
    scenario("federated-refused", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let (alpha, objects) = (pair.alpha(), pair.alpha().objects());
        for (name, host, reason) in [
            ("outside", "web.shop.example", "InvalidHost"),
            ("theirs", "web.shop.svc.beta.example", "InvalidHost"),
            ("ours", "web.shop.svc.alpha.example", "InvalidHost"),
        ] {
            let mut refused = of_beta(name);
            refused["spec"]["host"] = json!(host);
            objects.apply_one(&refused).await?;
            wait_condition(alpha, name, "Accepted", ("False", reason)).await?;
            wait_condition(alpha, name, "Ready", ("False", "NotAccepted")).await?;
            let events = Events::of(alpha, key(name)).await?;
            events.wait_event("Warning", reason, "spec.host").await?;
        }
        // The object whose default name it is keeps it, although it comes later.
        let mut early = of_beta("early");
        early["spec"]["host"] = json!(HOST);
        objects.apply_one(&early).await?;
        wait_condition(alpha, "early", "Accepted", ("True", "Accepted")).await?;
        objects.apply_one(&of_beta("web")).await?;
        wait_condition(alpha, "web", "Accepted", ("True", "Accepted")).await?;
        wait_condition(alpha, "early", "Accepted", ("False", "HostClaimed")).await?;

        let mut unknown = of_beta("other");
        unknown["spec"]["members"] = json!([{ "peers": ["delta"] }, { "peers": ["beta"] }]);
        objects.apply_one(&unknown).await?;
        let dead = wait_condition(alpha, "other", "Ready", ("False", "NoMemberReady")).await?;
        let states: Vec<_> =
            (0..2).map(|row| dead["status"]["members"][row]["state"].clone()).collect();
        ensure!(states == ["unknown_peer", "not_offered"], "{dead:#}");
        let entries =
            objects.list(("networking.istio.io/v1", "ServiceEntry"), Some(NAMESPACE), "").await?;
        let entries = json!(entries).to_string();
        ensure!(!entries.contains("web.shop.example"), "{entries}");
        Ok(())
    });
}

/// As after an upgrade of the controller without the new definitions.
#[test]
fn without_the_definition_the_rest_still_works() {
    scenario("federated-undefined", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        let definition = Key::cluster_scoped(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "federatedservices.fedgate.dev",
        );
        pair.alpha().objects().delete(definition).await?;
        pair.alpha().objects().wait_absent(definition).await?;
        let leader = pair.alpha().leader().await?;
        pair.alpha_mut().stop_replica(&leader).await?;
        pair.alpha_mut().start_replica().await?;
        let alpha = pair.alpha();
        let other = exported("other");
        pair.beta().put_service(&other).await?;
        wait_imported(alpha, &other.host(&pair.beta().trust_domain())).await?;
        let printed = alpha.fedgate(&["status"]).await?;
        ensure!(printed.status.code() != Some(2), "{printed:?}");
        let printed = alpha.fedgate(&["check"]).await?;
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        ensure!(printed.contains("it does not serve FederatedService"), "{printed}");

        // It is used as soon as it is there.
        let file = xtask::root().join("deploy/kubernetes/crds/federatedservices.yaml");
        alpha.objects().apply_file(&file).await?;
        alpha.objects().apply_one(&of_beta("web")).await?;
        alpha.objects().wait_present(ENTRY).await.map(drop)
    });
}
