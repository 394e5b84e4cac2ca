//! `fedgate uninstall` deletes everything that fedgate wrote and nothing else. A running controller
//! does not write it again.

use crate::fixture::{Pair, config_map, import_objects, versions};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{CONTROLLER, Key, KubernetesCluster, MESH_NAMESPACE, NAMESPACE};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::process::Output;
use std::time::Duration;

const KINDS: &[(&str, &str)] = &[
    ("v1", "ConfigMap"),
    ("networking.istio.io/v1", "ServiceEntry"),
    ("networking.istio.io/v1", "DestinationRule"),
    ("networking.istio.io/v1", "Gateway"),
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
    ("extensions.istio.io/v1alpha1", "WasmPlugin"),
];
const IDENTITY: Key<'_> = Key::namespaced("v1", "Secret", NAMESPACE, "fedgate-identity");

/// The names of all objects that this fedgate wrote.
async fn ours(cluster: &KubernetesCluster) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for kind in KINDS {
        for object in
            cluster.objects().list(*kind, None, "fedgate.dev/owner=fedgate-system").await?
        {
            names.push(format!(
                "{} {}",
                kind.1,
                object["metadata"]["name"].as_str().unwrap_or_default()
            ));
        }
    }
    Ok(names)
}

/// The same, once no more are written.
async fn settled(cluster: &KubernetesCluster) -> Result<Vec<String>> {
    wait::until("our objects to be complete", SOON, async || {
        let there = ours(cluster).await?;
        let same = async || Ok(ours(cluster).await? == there);
        wait::stays("no object comes", Duration::from_secs(2), same).await?;
        Ok(Some(there))
    })
    .await
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Applies objects that look like fedgate's but belong to others.
async fn put_foreign(cluster: &KubernetesCluster) -> Result<Vec<Value>> {
    let labels = json!({ "fedgate.dev/owner": "another-fedgate", "app.kubernetes.io/managed-by": "fedgate" });
    let entry = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": { "name": "theirs", "namespace": NAMESPACE, "labels": labels },
        "spec": { "hosts": ["theirs.example"], "resolution": "NONE", "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }] },
    });
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": { "name": "fedgate-gateway-2", "namespace": MESH_NAMESPACE }, "spec": { "configPatches": [] },
    });
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "fedgate-values", "namespace": NAMESPACE } });
    let mut objects = Vec::new();
    for object in [entry, filter, map] {
        objects.push(cluster.objects().apply_one(&object).await?);
    }
    Ok(objects)
}

#[test]
fn uninstall_deletes_our_objects_and_no_others() {
    scenario("uninstall", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        let foreign = put_foreign(pair.alpha()).await?;
        let mut foreign = foreign.iter().map(Key::of).collect::<Result<Vec<_>>>()?;
        foreign.extend([config_map("istio-ca-root-cert"), IDENTITY]);
        let before = versions(pair.alpha(), &foreign).await?;
        let named = json!({
            "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederatedService",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "ports": [{ "name": "tcp", "port": 80 }], "members": [{ "local": {} }, { "peers": ["beta"], "priority": 0 }] },
        });
        pair.alpha().objects().apply_one(&named).await?;
        let route = Key::namespaced(
            "networking.istio.io/v1",
            "VirtualService",
            NAMESPACE,
            "web.shop.global",
        );
        pair.alpha().objects().wait_present(route).await?;
        pair.alpha().objects().wait_present(config_map("fedgate-changes")).await?;
        let there = settled(pair.alpha()).await?;
        ensure!(there.len() >= 15, "{there:?}");

        let dry = pair.alpha().fedgate(&["uninstall", "--dry-run"]).await?;
        ensure!(
            dry.status.success()
                && text(&dry).contains("would delete Gateway fedgate-system/fedgate-gateway"),
            "{dry:?}"
        );
        ensure!(ours(pair.alpha()).await? == there, "nothing was deleted");

        // While the controller is running.
        let done = pair.alpha().fedgate(&["uninstall"]).await?;
        ensure!(
            done.status.success() && text(&done).contains("a controller runs"),
            "{}",
            text(&done)
        );
        ensure!(
            text(&done).contains(&format!("{} objects deleted", there.len())),
            "{}",
            text(&done)
        );
        let audit = pair.alpha().plane().audit();
        let writes = || {
            let writes = audit.writes_by(CONTROLLER);
            writes.into_iter().filter(|write| write.resource != "leases").collect::<Vec<_>>()
        };
        let nothing = async || Ok(ours(pair.alpha()).await?.is_empty() && writes().is_empty());
        wait::stays("nothing of ours is there", Duration::from_secs(6), nothing).await?;
        ensure!(versions(pair.alpha(), &foreign).await? == before, "what is others' was touched");
        let controller = pair.alpha().first_replica()?.name().to_owned();
        pair.alpha_mut().stop_replica(&controller).await?;

        // A second run has nothing to do and writes nothing.
        let audit = pair.alpha().plane().audit();
        let again = pair.alpha().fedgate(&["uninstall"]).await?;
        ensure!(
            again.status.success() && text(&again).contains("nothing of fedgate's is left"),
            "{}",
            text(&again)
        );
        ensure!(audit.writes_by("admin").is_empty(), "{:?}", audit.writes_by("admin"));

        // The Lease expires, and a new controller writes everything again.
        pair.alpha_mut().start_replica().await?;
        pair.wait_imported().await?;
        wait::until_true("all objects", SOON, async || {
            Ok(ours(pair.alpha()).await?.len() >= there.len())
        })
        .await?;
        let controller = pair.alpha().leader().await?;
        pair.alpha_mut().stop_replica(&controller).await?;

        // An object that cannot be deleted is named, and what another attempt needs stays.
        let alpha = pair.alpha();
        let [_, rule] = import_objects(&pair.web);
        let held = |finalizers: &[&str]| json!({ "metadata": { "finalizers": finalizers } });
        alpha.objects().patch(rule, &held(&["example.com/hold"])).await?;
        let objects = ours(alpha).await?.len();
        let (status, partly) = alpha.on_terminal(&["uninstall"]).await?;
        ensure!(status.code() == Some(1), "{partly}");
        ensure!(
            partly.contains(&format!(
                "DestinationRule fedgate-system/{}: it is deleted, and held by the finalizer example.com/hold",
                pair.web
            )),
            "{partly}"
        );
        ensure!(partly.contains(&format!(" of {objects} (")), "it says how far it is: {partly}");
        ensure!(
            !text(&done).contains(&format!(" of {} (", there.len())),
            "a pipe gets no progress"
        );
        ensure!(
            ours(alpha).await?
                == ["ConfigMap fedgate-state".to_owned(), format!("DestinationRule {}", pair.web)]
        );
        alpha.objects().patch(rule, &held(&[])).await?;
        let rest = alpha.fedgate(&["uninstall", "--identity"]).await?;
        ensure!(rest.status.success() && ours(alpha).await?.is_empty(), "{}", text(&rest));
        ensure!(alpha.objects().get(IDENTITY).await?.is_none());
        foreign.pop().context("the identity")?;
        ensure!(
            versions(alpha, &foreign).await? == before[..foreign.len()],
            "what is others' was touched"
        );
        Ok(())
    });
}
