//! How the filter's module gets to the gateway: in a ConfigMap. The table names it once every Pod
//! has it.

use crate::fixture::{TABLE, config_map};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::platform::Pod;
use fedgate_e2e::kubernetes::{CONTROLLER, Key, KubernetesCluster, NAMESPACE, install};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::time::Duration;

const WASM_PLUGIN: Key<'_> =
    Key::namespaced("extensions.istio.io/v1alpha1", "WasmPlugin", NAMESPACE, "fedgate");
const MODULES: Key<'_> = config_map("fedgate-filter");
const OLD: &[u8] = b"\0asm\x01\0\0\0";
const NEW: &[u8] = b"\0asm\x01\0\0\0\0\x01\x01";

/// The files in the ConfigMap.
fn files(modules: &Value) -> Vec<String> {
    modules["binaryData"].as_object().into_iter().flatten().map(|(file, _)| file.clone()).collect()
}

async fn put_pod(cluster: &KubernetesCluster, name: &str, started: jiff::Timestamp) -> Result<()> {
    let pod = Pod {
        namespace: NAMESPACE.into(),
        name: name.into(),
        node: "node-1".into(),
        service_account: "fedgate-gateway".into(),
        labels: json!({ "istio": "fedgate" }),
        address: cluster.addresses().node.to_string(),
        ready: true,
    };
    cluster.objects().put_pod(&pod).await?;
    let container = json!({
        "name": "main", "image": "none", "imageID": "", "ready": true, "restartCount": 0, "started": true,
        "state": { "running": { "startedAt": started.to_string() } },
    });
    let key = Key::namespaced("v1", "Pod", NAMESPACE, name);
    cluster.objects().patch_status(key, &json!({ "containerStatuses": [container] })).await
}

async fn kill_pod(cluster: &KubernetesCluster, name: &str) -> Result<()> {
    // Without a kubelet nothing confirms that the Pod has ended, so delete it by force.
    let arguments =
        ["delete", "pod", name, "--namespace", NAMESPACE, "--grace-period=0", "--force"];
    let deleted = cluster.kubectl(&arguments).await?;
    ensure!(deleted.status.success(), "{deleted:?}");
    Ok(())
}

async fn wait_names(cluster: &KubernetesCluster, table: Key<'_>, file: &str) -> Result<()> {
    let named = format!("/etc/fedgate/filter/{file}");
    let names = |table: &Value| table.to_string().contains(&named);
    cluster.objects().wait_for(table, &format!("to name {named}"), names).await.map(drop)
}

#[test]
fn an_upgrade_names_the_new_module_when_every_pod_has_it() {
    scenario("shipping", async |run: &RunFolder| {
        let mut alpha = KubernetesCluster::start(run, "alpha").await?;
        alpha.start_replica().await?;
        let first = alpha.objects().wait_present(MODULES).await?;
        let [old] = &files(&first)[..] else { anyhow::bail!("one module: {first:#}") };
        wait_names(&alpha, TABLE, old).await?;
        ensure!(
            first["metadata"]["annotations"]["fedgate.dev/added"]
                .as_str()
                .is_some_and(|added| added.contains(old))
        );

        // The ConfigMap is changed, then deleted.
        alpha
            .objects()
            .patch(MODULES, &json!({ "binaryData": { old: "AGFzbQ==", "x": "eA==" } }))
            .await?;
        let as_before = |now: &Value| now["binaryData"] == first["binaryData"];
        alpha.objects().wait_for(MODULES, "to be put right", as_before).await?;
        alpha.objects().delete(MODULES).await?;
        alpha.objects().wait_for(MODULES, "to be there again", as_before).await?;

        // Two Pods that have it. The installation's own Pod does not report when it started.
        let now = jiff::Timestamp::now();
        put_pod(&alpha, "fedgate-gateway-1", now).await?;
        put_pod(&alpha, "fedgate-gateway-2", now).await?;
        let upgraded = alpha.write_filter("new", NEW)?.display().to_string();
        alpha.restart_with(&[("FEDGATE_FILTER_FILE", &upgraded)]).await?;
        let both = alpha
            .objects()
            .wait_for(MODULES, "to have both", |modules| files(modules).len() == 2)
            .await?;
        let new = files(&both).into_iter().find(|file| file != old).context("the new one")?;
        held_back(&alpha, "fedgate-gateway-1, fedgate-gateway-2").await?;
        // Settings change the delivery of the table, not the module that it names.
        wait_names(&alpha, TABLE, old).await?;
        alpha.restart_with(&[("FEDGATE_DELIVERY", "WasmPlugin")]).await?;
        wait_names(&alpha, WASM_PLUGIN, old).await?;
        alpha.restart_with(&[("FEDGATE_DELIVERY", "")]).await?;
        wait_names(&alpha, TABLE, old).await?;

        // One Pod is deleted and replaced. The other still holds the new module back.
        kill_pod(&alpha, "fedgate-gateway-2").await?;
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
        put_pod(&alpha, "fedgate-gateway-3", later).await?;
        held_back(&alpha, "fedgate-gateway-1.").await?;
        ensure!(files(&alpha.objects().wait_present(MODULES).await?).len() == 2);
        wait_names(&alpha, TABLE, old).await?;

        kill_pod(&alpha, "fedgate-gateway-1").await?;
        wait_names(&alpha, TABLE, &new).await?;
        alpha
            .objects()
            .wait_for(MODULES, "to have the new one alone", |modules| {
                files(modules) == [new.clone()]
            })
            .await?;

        // Downgrade: by now this Pod counts as started long ago.
        put_pod(&alpha, "fedgate-gateway-3", now).await?;
        let downgraded = alpha.write_filter("old", OLD)?.display().to_string();
        alpha.restart_with(&[("FEDGATE_FILTER_FILE", &downgraded)]).await?;
        alpha
            .objects()
            .wait_for(MODULES, "to have both", |modules| files(modules).len() == 2)
            .await?;
        wait_names(&alpha, TABLE, &new).await?;
        kill_pod(&alpha, "fedgate-gateway-3").await?;
        wait_names(&alpha, TABLE, old).await?;

        // If the operator provides the module, no ConfigMap is needed.
        alpha.restart_with(&[("FEDGATE_FILTER_MODULE", "file:///opt/filter.wasm")]).await?;
        let own = |table: &Value| table.to_string().contains("\"/opt/filter.wasm\"");
        alpha.objects().wait_for(TABLE, "to name the operator's", own).await?;
        alpha.objects().wait_absent(MODULES).await
    });
}

#[test]
fn pods_are_notified_once_of_changed_config_maps() {
    scenario("mounts", async |run: &RunFolder| {
        let mut alpha = KubernetesCluster::start(run, "alpha").await?;
        let objects = alpha.objects().clone();
        let gone = json!({ "phase": "Failed", "conditions": [] });
        put_pod(&alpha, "fedgate-gateway-evicted", jiff::Timestamp::now()).await?;
        let evicted = Key::namespaced("v1", "Pod", NAMESPACE, "fedgate-gateway-evicted");
        objects.patch_status(evicted, &gone).await?;
        alpha.start_replica().await?;
        let first = wait_notified(&alpha, "fedgate-gateway-1", "").await?;

        // A new Pod is notified once, and no other Pod is.
        put_pod(&alpha, "fedgate-gateway-2", jiff::Timestamp::now()).await?;
        ensure!(wait_notified(&alpha, "fedgate-gateway-2", "").await? == first);
        let audit = alpha.plane().audit();
        let patches = || {
            audit.matching(|request| {
                request.user == CONTROLLER && request.resource == "pods" && request.verb == "patch"
            })
        };
        let quiet = wait::stays("no Pod is notified", Duration::from_secs(4), async || {
            Ok(patches().is_empty())
        })
        .await;
        quiet.with_context(|| format!("{:?}", patches()))?;

        // Another root changes the trust bundle.
        let root = fedgate_e2e::authority::Authority::root("another root of alpha")?;
        install::mesh_root_certificate(&objects, &root.pem()).await?;
        let second = wait_notified(&alpha, "fedgate-gateway-1", &first).await?;
        ensure!(wait_notified(&alpha, "fedgate-gateway-2", &first).await? == second);
        // A request is in the log once it is answered, a moment after its effect is seen.
        wait::until_true("both notifications", SOON, async || Ok(patches().len() >= 2)).await?;
        let quiet = wait::stays("each is notified once", Duration::from_secs(4), async || {
            Ok(patches().len() == 2)
        })
        .await;
        quiet.with_context(|| format!("{:?}", patches()))?;

        // Another module.
        let upgraded = alpha.write_filter("new", NEW)?.display().to_string();
        alpha.restart_with(&[("FEDGATE_FILTER_FILE", &upgraded)]).await?;
        wait_notified(&alpha, "fedgate-gateway-1", &second).await?;
        ensure!(
            objects.wait_present(evicted).await?["metadata"]["annotations"].is_null(),
            "it has no kubelet any more"
        );
        Ok(())
    });
}

/// Waits until a Pod's notification differs from `before`, and returns it.
async fn wait_notified(cluster: &KubernetesCluster, pod: &str, before: &str) -> Result<String> {
    let annotation = |pod: &Value| {
        pod["metadata"]["annotations"]["fedgate.dev/bundle"].as_str().map(str::to_owned)
    };
    let news = |pod: &Value| annotation(pod).is_some_and(|hash| hash != before);
    let pod = cluster
        .objects()
        .wait_for(Key::namespaced("v1", "Pod", NAMESPACE, pod), "to be notified", news)
        .await?;
    annotation(&pod).context("the annotation")
}

/// Waits for the Event that names the Pods being waited for.
async fn held_back(cluster: &KubernetesCluster, pods: &str) -> Result<()> {
    wait::until(&format!("an Event that names {pods}"), SOON, async || {
        let events = cluster.objects().list(("events.k8s.io/v1", "Event"), None, "").await?;
        let matches = |event: &&Value| {
            event["reason"] == "ModuleHeldBack"
                && event["note"].as_str().is_some_and(|note| note.contains(pods))
        };
        ensure!(events.iter().any(|event| matches(&event)), "the Events are {events:#?}");
        Ok(Some(()))
    })
    .await
}

#[test]
fn two_real_modules_fit_into_the_config_map() {
    scenario("real-modules", async |run: &RunFolder| {
        let mut alpha = KubernetesCluster::start(run, "alpha").await?;
        let real = fedgate_e2e::programs::filter()?;
        let bytes = std::fs::read(real)?;
        // An extra custom section makes it another module with the same behaviour.
        let other = alpha
            .write_filter("other", &[&bytes[..], b"\0\x02\x01x"].concat())?
            .display()
            .to_string();
        alpha.settings().insert("FEDGATE_FILTER_FILE".into(), real.display().to_string());
        alpha.start_replica().await?;
        alpha.objects().wait_present(MODULES).await?;
        put_pod(&alpha, "fedgate-gateway-1", jiff::Timestamp::now()).await?;
        alpha.restart_with(&[("FEDGATE_FILTER_FILE", &other)]).await?;
        let both = alpha
            .objects()
            .wait_for(MODULES, "to have both", |modules| files(modules).len() == 2)
            .await?;
        let size: usize = both["binaryData"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, file)| file.to_string().len())
            .sum();
        ensure!(size * 3 / 4 >= bytes.len() * 2 && size * 3 / 4 < 1 << 20, "{size}");
        Ok(())
    });
}
