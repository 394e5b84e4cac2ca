//! `helm install`, `helm upgrade` and `helm uninstall`, with the controller that they start and the
//! Job that cleans up.

use super::installed::{Installed, PLAIN, Release, succeeded};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::Authority;
use fedgate_e2e::kubernetes::install::mesh_root_certificate;
use fedgate_e2e::kubernetes::{Key, NAMESPACE, Objects};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::time::Duration;

const GATEWAY_PODS: Key<'_> =
    Key::namespaced("apps/v1", "Deployment", NAMESPACE, "fedgate-gateway");
const IDENTITY: Key<'_> = Key::namespaced("v1", "Secret", NAMESPACE, "fedgate-identity");
/// The objects that the controller writes for the gateway.
const LISTENER: [Key<'_>; 6] = [
    Key::namespaced("networking.istio.io/v1", "Gateway", NAMESPACE, "fedgate-gateway"),
    Key::namespaced("networking.istio.io/v1", "VirtualService", NAMESPACE, "fedgate-black-hole"),
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-gateway"),
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table"),
    Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-trust-bundle"),
    Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-filter"),
];
/// The kinds of objects that belong to a mesh.
const MESH: [(&str, &str); 6] = [
    ("networking.istio.io/v1", "Gateway"),
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1", "ServiceEntry"),
    ("networking.istio.io/v1", "DestinationRule"),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
    ("extensions.istio.io/v1alpha1", "WasmPlugin"),
];

async fn versions(objects: &Objects) -> Result<Vec<Value>> {
    let mut versions = Vec::new();
    for key in LISTENER {
        versions.push(objects.wait_present(key).await?["metadata"]["resourceVersion"].clone());
    }
    Ok(versions)
}

/// fedgate's objects that are left in the mesh.
async fn left(objects: &Objects) -> Result<Vec<Value>> {
    let mut left = Vec::new();
    for kind in MESH {
        left.extend(objects.list(kind, None, "").await?);
    }
    left.extend(objects.list(("v1", "ConfigMap"), None, "fedgate.dev/owner=fedgate-system").await?);
    for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
        let roles = objects.list(("rbac.authorization.k8s.io/v1", kind), None, "").await?;
        let ours = |role: &Value| {
            role["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("fedgate"))
        };
        left.extend(roles.into_iter().filter(ours));
    }
    let labelled = "app.kubernetes.io/name=fedgate";
    for kind in [
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
        ("batch/v1", "Job"),
    ] {
        left.extend(objects.list(kind, None, labelled).await?);
    }
    Ok(left)
}

#[test]
fn install_upgrade_and_uninstall_leave_the_mesh_as_it_was() {
    scenario("lifecycle", async |run: &RunFolder| {
        let present = Release::present()?;
        let fedgate = Installed::new(run, &present).await?;
        let objects = &fedgate.objects;
        mesh_root_certificate(objects, &Authority::root("root of alpha")?.pem()).await?;
        let controller = fedgate.start_controller(run, &present, "controller").await?;
        let before = wait::until("the listener's objects to be complete", SOON, async || {
            let before = versions(objects).await?;
            let same = async || Ok(versions(objects).await? == before);
            wait::stays("none is written", Duration::from_secs(2), same).await?;
            Ok(Some(before))
        })
        .await?;

        // An upgrade that changes only chart values changes no listener.
        let more = [&PLAIN[..], &["gateway.replicas=3"]].concat();
        succeeded(&fedgate.apply(&present, &["upgrade"], &more).await?)?;
        objects
            .wait_for(GATEWAY_PODS, "to have 3 replicas", |gateway| {
                gateway["spec"]["replicas"] == 3
            })
            .await?;
        ensure!(versions(objects).await? == before, "the upgrade changed a listener");
        // An upgrade with a wrong value changes nothing.
        let wrong = [&PLAIN[..], &["gateway.replica=4"]].concat();
        let refused = fedgate.apply(&present, &["upgrade"], &wrong).await?;
        ensure!(
            String::from_utf8_lossy(&refused.stderr).contains("'replica' not allowed"),
            "{refused:?}"
        );

        // Uninstall while the controller is running.
        let (uninstalled, job) = tokio::join!(fedgate.helm(&["uninstall"]), fedgate.run_job());
        let job = job?;
        succeeded(&uninstalled?)?;
        ensure!(job.contains("a controller runs") && job.contains("objects deleted"), "{job}");
        drop(controller);
        let nothing = async || Ok(left(objects).await?.is_empty());
        if let Err(error) = wait::until_true("nothing to be left", SOON, nothing).await {
            anyhow::bail!("{error:#}: {:#?}", left(objects).await?);
        }
        // The definitions stay with their objects, and so does the identity.
        for name in ["istiofederations.deckhouse.io", "federationpolicies.fedgate.dev"] {
            let definition =
                Key::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
            ensure!(objects.get(definition).await?.is_some(), "{name} is gone");
        }
        let identity =
            objects.get(IDENTITY).await?.context("the identity is gone")?["data"].clone();

        // After a new installation it is the same cluster to its peers.
        fedgate.install(&present).await?;
        let _controller = fedgate.start_controller(run, &present, "controller").await?;
        versions(objects).await?;
        ensure!(objects.get(IDENTITY).await?.context("the identity is gone")?["data"] == identity);
        Ok(())
    });
}
