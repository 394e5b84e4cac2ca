//! The Multi-Cluster Services API on real API servers, with its own definitions.

use crate::fixture::{Pair, exported, import_objects, versions, wait_imported, wait_not_imported};
use crate::table::TableObject;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::objects::condition_with_reason;
use fedgate_e2e::kubernetes::{Key, KubernetesCluster, KubernetesFederation, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

const fn export(name: &str) -> Key<'_> {
    Key::namespaced("multicluster.x-k8s.io/v1beta1", "ServiceExport", SHOP, name)
}

/// A ServiceExport. What it has besides its name must change nothing.
fn object(name: &str) -> Value {
    let annotations = json!({ "fedgate.dev/peers": "nobody", "fedgate.dev/gateway-mode": "x" });
    json!({
        "apiVersion": "multicluster.x-k8s.io/v1beta1",
        "kind": "ServiceExport",
        "metadata": { "namespace": SHOP, "name": name, "annotations": annotations },
        "spec": { "exportedLabels": { "fedgate.dev/peers": "nobody" } },
    })
}

fn unlabelled(name: &str) -> Service {
    Service { exported: false, ..exported(name) }
}

async fn define(cluster: &KubernetesCluster) -> Result<()> {
    cluster.objects().apply_file(programs::mcs_crds()?).await
}

async fn permit(cluster: &KubernetesCluster) -> Result<()> {
    cluster.objects().apply_file(&xtask::root().join("deploy/mcs/rbac.yaml")).await
}

/// Waits until a ServiceExport has these conditions: `(type, status, reason)`.
async fn wait_conditions(
    cluster: &KubernetesCluster,
    name: &str,
    expected: [(&str, &str, &str); 2],
) -> Result<Value> {
    let matches = |object: &Value| {
        expected.iter().all(|(kind, status, reason)| {
            condition_with_reason(object, kind) == Some((status, reason))
        })
    };
    cluster.objects().wait_for(export(name), &format!("to be {expected:?}"), matches).await
}

const EXPORTED: [(&str, &str, &str); 2] =
    [("Valid", "True", "Valid"), ("Ready", "True", "Exported")];

/// alpha and beta, without the definitions. In beta ServiceExports count, and alpha writes
/// ServiceImports.
async fn start(run: &RunFolder) -> Result<Pair> {
    let mut federation = KubernetesFederation::start(run, ["alpha", "beta"]).await?;
    let of_alpha =
        [("FEDGATE_MCS_IMPORTS", "true"), ("FEDGATE_FEDERATED_SUFFIX", "svc.clusterset.local")];
    let settings: [&[_]; 2] = [&of_alpha, &[("FEDGATE_MCS_EXPORTS", "true")]];
    for (cluster, settings) in federation.clusters.iter_mut().zip(settings) {
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        cluster.settings().extend(settings);
        permit(cluster).await?;
    }
    federation.pair().await?;
    let web = exported("web");
    federation.clusters[1].put_service(&web).await?;
    let web = web.host(&federation.clusters[1].trust_domain());
    federation.start_controllers().await?;
    let pair = Pair { federation, web };
    pair.wait_imported().await?;
    Ok(pair)
}

#[test]
fn a_service_export_is_the_same_as_the_label() {
    scenario("mcs-exports", async |run: &RunFolder| {
        let mut pair = start(run).await?;
        let (alpha, beta) = (pair.alpha(), pair.beta());
        let stock = unlabelled("stock");
        let host = stock.host(&beta.trust_domain());
        let table = TableObject { run, cluster: beta };
        // alpha has the kind, but no object of it counts there.
        let secret = unlabelled("secret");
        define(alpha).await?;
        alpha.put_service(&secret).await?;
        alpha.objects().apply_one(&object("secret")).await?;

        // The kind comes later than the controller.
        beta.put_service(&stock).await?;
        define(beta).await?;
        beta.objects().apply_one(&object("stock")).await?;
        wait_imported(alpha, &host).await?;
        let told = wait_conditions(beta, "stock", EXPORTED).await?;
        ensure!(condition_with_reason(&told, "Conflict") == Some(("False", "NoConflicts")));
        table.wait_granted(&stock, Some(&["alpha"])).await?;
        let output = beta.fedgate(&["status", "--output", "json"]).await?;
        ensure!(String::from_utf8_lossy(&output.stdout).contains(&host), "{output:?}");

        // Grants do not change with the way of exporting.
        beta.put_service(&stock.clone().for_peers("nobody")).await?;
        wait_not_imported(alpha, &host).await?;
        table.wait_granted(&stock, Some(&[])).await?;
        let no_grant = |object: &Value| object.to_string().contains("no peer has a grant");
        beta.objects().wait_for(export("stock"), "to say that no peer may call", no_grant).await?;
        beta.put_service(&stock).await?;
        wait_imported(alpha, &host).await?;

        // From one way to the other and back, and to neither.
        let kept = versions(alpha, &import_objects(&host)).await?;
        beta.put_service(&stock.clone().exported()).await?;
        // The two kinds are watched independently. With this one, the label has been seen.
        let marker = async |name: &str| {
            beta.put_service(&exported(name)).await?;
            wait_imported(alpha, &exported(name).host(&beta.trust_domain())).await
        };
        marker("labelled").await?;
        beta.objects().delete(export("stock")).await?;
        marker("deleted").await?;
        ensure!(versions(alpha, &import_objects(&host)).await? == kept, "the import was touched");
        beta.put_service(&stock).await?;
        wait_not_imported(alpha, &host).await?;
        beta.objects().apply_one(&object("stock")).await?;
        wait_imported(alpha, &host).await?;
        beta.objects().delete(export("stock")).await?;
        wait_not_imported(alpha, &host).await?;
        table.wait_granted(&stock, None).await?;

        let never = alpha.objects().get(export("secret")).await?.context("it exists")?;
        ensure!(never["status"].is_null(), "{never:#}");
        let hidden = secret.host(&alpha.trust_domain());
        let [entry, _] = import_objects(&hidden);
        ensure!(beta.objects().get(entry).await?.is_none(), "it was imported");

        // Without the setting no object counts.
        beta.objects().apply_one(&object("stock")).await?;
        wait_imported(alpha, &host).await?;
        pair.federation.clusters[1].restart_with(&[("FEDGATE_MCS_EXPORTS", "")]).await?;
        wait_not_imported(pair.alpha(), &host).await?;
        pair.wait_imported().await
    });
}

#[test]
fn a_service_export_says_why_it_exports_nothing() {
    scenario("mcs-conditions", async |run: &RunFolder| {
        let mut beta = KubernetesCluster::start(run, "beta").await?;
        define(&beta).await?;
        permit(&beta).await?;
        beta.settings().insert("FEDGATE_MCS_EXPORTS".into(), "true".into());
        let service = |name: &str, spec: Value| {
            let metadata = json!({ "namespace": SHOP, "name": name });
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
        };
        let of_type = json!({ "type": "ExternalName", "externalName": "example.com" });
        for (name, spec) in [
            ("elsewhere", of_type),
            ("nameless", json!({ "ports": [{ "port": 80 }] })),
            ("dns", json!({ "ports": [{ "name": "dns", "port": 53, "protocol": "UDP" }] })),
            ("late", json!({ "ports": [{ "name": "http", "port": 80 }] })),
        ] {
            beta.objects().apply_one(&service(name, spec)).await?;
            beta.objects().apply_one(&object(name)).await?;
        }
        for name in ["nothing", "no.such.service"] {
            beta.objects().apply_one(&object(name)).await?;
        }
        beta.start_replica().await?;
        let not_ready = ("Ready", "False", "Failed");
        for (name, valid) in [
            ("elsewhere", ("Valid", "False", "InvalidServiceType")),
            ("nameless", ("Valid", "False", "UnnamedPort")),
            ("dns", ("Valid", "True", "Valid")),
            ("nothing", ("Valid", "False", "NoService")),
            ("no.such.service", ("Valid", "False", "NoService")),
        ] {
            wait_conditions(&beta, name, [valid, not_ready]).await?;
        }
        wait_conditions(&beta, "late", EXPORTED).await?;

        // The conditions follow the Service, and another controller's conditions stay.
        let others = json!({ "type": "example.com/Audited", "status": "True", "reason": "ByHand", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let told = beta.objects().get(export("nothing")).await?.context("it exists")?;
        let mut conditions = told["status"]["conditions"].as_array().context("conditions")?.clone();
        conditions.push(others);
        let status = json!({ "conditions": conditions });
        beta.objects().patch_status(export("nothing"), &status).await?;
        let ports = json!({ "ports": [{ "name": "http", "port": 80 }] });
        beta.objects().apply_one(&service("nothing", ports)).await?;
        let told = wait_conditions(&beta, "nothing", EXPORTED).await?;
        ensure!(condition_with_reason(&told, "example.com/Audited") == Some(("True", "ByHand")));
        beta.objects().delete(Key::namespaced("v1", "Service", SHOP, "nothing")).await?;
        wait_conditions(&beta, "nothing", [("Valid", "False", "NoService"), not_ready]).await?;
        Ok(())
    });
}

const fn import(name: &str) -> Key<'_> {
    Key::namespaced("multicluster.x-k8s.io/v1beta1", "ServiceImport", SHOP, name)
}

fn of_beta(name: &str) -> Value {
    json!({
        "apiVersion": "fedgate.dev/v1alpha1",
        "kind": "FederatedService",
        "metadata": { "namespace": SHOP, "name": name },
        "spec": { "ports": [{ "name": "http", "port": 80 }], "members": [{ "peers": ["beta"] }] },
    })
}

#[test]
fn a_name_that_a_peer_exports_is_a_service_import() {
    scenario("mcs-imports", async |run: &RunFolder| {
        let pair = start(run).await?;
        let (alpha, beta) = (pair.alpha(), pair.beta());
        let objects = alpha.objects();
        // The kind comes later than the controller and the name, and someone else uses it too.
        objects.apply_one(&of_beta("web")).await?;
        let named = Key::namespaced("fedgate.dev/v1alpha1", "FederatedService", SHOP, "web");
        let host = |object: &Value| object["status"]["host"] == "web.shop.svc.clusterset.local";
        objects.wait_for(named, "to have its name", host).await?;
        define(alpha).await?;
        let ports = json!([{ "port": 1 }]);
        let foreign = json!({
            "apiVersion": "multicluster.x-k8s.io/v1beta1",
            "kind": "ServiceImport",
            "metadata": { "namespace": SHOP, "name": "stock" },
            "spec": { "type": "Headless", "ports": ports },
        });
        objects.apply_one(&foreign).await?;
        let kept = versions(alpha, &[import("stock")]).await?;

        let of_beta_alone = |object: &Value| {
            object["status"]["clusters"] == json!([{ "cluster": "beta" }])
                && condition_with_reason(object, "Ready").is_some()
        };
        let web = objects.wait_for(import("web"), "to name beta", of_beta_alone).await?;
        let ports = json!([{ "name": "http", "port": 80, "protocol": "TCP" }]);
        ensure!(web["spec"] == json!({ "type": "ClusterSetIP", "ports": ports }), "{web:#}");
        objects.patch(import("web"), &json!({ "spec": { "ports": [] } })).await?;
        let right = |object: &Value| object["spec"]["ports"] == ports;
        objects.wait_for(import("web"), "to be put right", right).await?;
        let output = alpha.fedgate(&["uninstall", "--dry-run"]).await?;
        ensure!(
            String::from_utf8_lossy(&output.stdout).contains("ServiceImport shop/web"),
            "{output:?}"
        );

        // Someone else's object is not touched, and told.
        beta.put_service(&exported("stock")).await?;
        objects.apply_one(&of_beta("stock")).await?;
        let told = async || {
            let events = objects.list(("events.k8s.io/v1", "Event"), None, "").await?;
            Ok(events.iter().any(|event| {
                event["reason"] == "Conflict" && event.to_string().contains("ServiceImport")
            }))
        };
        wait::until_true("the conflict to be told", SOON, told).await?;
        ensure!(versions(alpha, &[import("stock")]).await? == kept, "it was changed");

        // It goes with the export, and with the name.
        beta.put_service(&unlabelled("web")).await?;
        objects.wait_absent(import("web")).await?;
        beta.put_service(&exported("web")).await?;
        objects.wait_present(import("web")).await?;
        objects.delete(named).await?;
        objects.wait_absent(import("web")).await?;
        ensure!(versions(alpha, &[import("stock")]).await? == kept, "it was changed");
        Ok(())
    });
}
