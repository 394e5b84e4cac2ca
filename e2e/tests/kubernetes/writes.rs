//! The controller writes only what differs, restores what others changed, and leaves alone what
//! belongs to others.

use crate::fixture::{Pair, binding, import_objects};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{AuditLog, CONTROLLER, Key, MESH_NAMESPACE, NAMESPACE, condition};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::time::Duration;

/// Long enough for several polls of each peer and several renewals of the Lease.
const STEADY: Duration = Duration::from_secs(8);

const BETA: Key<'_> = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "beta");
const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");

/// The history of changes. A new leader notes in it that it leads.
const HISTORY: &str = "fedgate-changes";

/// What the controller tried to write, without the Lease, which it must renew, and the history.
fn writes(audit: &AuditLog) -> Vec<String> {
    let writes = audit
        .writes_by(CONTROLLER)
        .into_iter()
        .filter(|request| request.resource != "leases" && request.name != HISTORY);
    writes
        .map(|request| {
            format!(
                "{} {}/{} {}",
                request.verb, request.resource, request.subresource, request.name
            )
        })
        .collect()
}

async fn nothing_is_written(audit: &AuditLog) -> Result<()> {
    let quiet =
        wait::stays("nothing is written", STEADY, async || Ok(writes(audit).is_empty())).await;
    quiet.with_context(|| format!("written: {:?}", writes(audit)))?;
    // It is written at most every ten seconds.
    let of_history =
        audit.writes_by(CONTROLLER).iter().filter(|request| request.name == HISTORY).count();
    ensure!(of_history <= 1, "the history was written {of_history} times");
    Ok(())
}

#[test]
fn nothing_is_written_in_a_steady_state_nor_by_a_second_run() {
    scenario("steady", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        let private =
            |object: &Value| condition(object, "PrivateMetadataExchangeReady") == Some("True");
        pair.alpha().objects().wait_for(BETA, "to have exchanged metadata", private).await?;
        // It is recorded that the gateway's table is unknown.
        crate::fixture::wait_condition(
            pair.alpha(),
            "beta",
            "TableLoaded",
            ("Unknown", "Unreachable"),
        )
        .await?;
        wait::until_true("the writes to end", SOON, async || {
            let audit = pair.alpha().plane().audit();
            Ok(wait::stays("it is quiet", Duration::from_secs(2), async || {
                Ok(writes(&audit).is_empty())
            })
            .await
            .is_ok())
        })
        .await?;

        let audit = pair.alpha().plane().audit();
        nothing_is_written(&audit).await?;

        // The counterpart: the same check notices a write.
        let other = crate::fixture::exported("other");
        pair.beta().put_service(&other).await?;
        let host = other.host(&pair.beta().trust_domain());
        pair.alpha().objects().wait_present(import_objects(&host)[0]).await?;
        ensure!(!writes(&audit).is_empty());
        pair.alpha()
            .objects()
            .wait_for(BETA, "to list both and the health name", |object| {
                object["status"]["metadataCache"]["private"]["publicServices"]
                    .as_array()
                    .is_some_and(|all| all.len() == 3)
            })
            .await?;

        let first = pair.alpha().leader().await?;
        pair.alpha_mut().stop_replica(&first).await?;
        let audit = pair.alpha().plane().audit();
        pair.alpha_mut().start_replica().await?;
        pair.alpha().leader().await?;
        nothing_is_written(&audit).await
    });
}

#[test]
fn changed_objects_are_corrected() {
    scenario("repair", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let objects = pair.alpha().objects();
        let [entry, rule] = import_objects(&pair.web);
        let binding = binding(pair.alpha(), &pair.web).await?.context("web is not bound")?;
        let filter = Key::namespaced(
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            MESH_NAMESPACE,
            &binding,
        );
        // Change one of fedgate's own fields, and add one that it does not set.
        for (key, changed) in [
            (entry, json!({ "resolution": "DNS", "addresses": ["10.9.9.9"] })),
            (
                rule,
                json!({ "exportTo": ["nowhere"], "trafficPolicy": { "tls": { "mode": "DISABLE", "sni": "x" } } }),
            ),
            (filter, json!({ "configPatches": [], "priority": 7 })),
            (TABLE, json!({ "configPatches": [], "priority": 7 })),
        ] {
            let good = objects.wait_present(key).await?["spec"].clone();
            objects.patch(key, &json!({ "spec": changed })).await?;
            objects.wait_for(key, "to be as before", |object| object["spec"] == good).await?;
            objects.delete(key).await?;
            objects.wait_for(key, "to be there again", |object| object["spec"] == good).await?;
        }
        Ok(())
    });
}

#[test]
fn objects_of_others_are_left_alone_and_reported() {
    scenario("foreign", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let objects = pair.alpha().objects();
        let theirs = crate::fixture::exported("theirs");
        let host = theirs.host(&pair.beta().trust_domain());
        let [entry, rule] = import_objects(&host);
        let foreign = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": { "name": host, "namespace": NAMESPACE, "labels": { "team": "a" } },
            "spec": { "hosts": ["theirs.example"], "resolution": "NONE", "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }] },
        });
        let before = objects.apply_one(&foreign).await?;
        let stale = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "b" },
            "metadata": { "name": "fedgate-trust-bundle-2", "namespace": NAMESPACE } });
        let bystander = objects.apply_one(&stale).await?;

        pair.beta().put_service(&theirs).await?;
        // The import's other objects appear, and the existing import stays.
        objects.wait_present(rule).await?;
        let bound = async || binding(pair.alpha(), &host).await;
        wait::until("the host to be bound", SOON, bound).await?;
        pair.wait_imported().await?;
        let pod = |event: &Value| {
            event["reason"] == "Conflict"
                && event["note"].as_str().is_some_and(|note| note.contains(&host))
        };
        wait::until_true("an Event about the conflict", SOON, async || {
            Ok(objects.list(("events.k8s.io/v1", "Event"), None, "").await?.iter().any(pod))
        })
        .await?;
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        ensure!(
            objects.get(entry).await?.is_some_and(|object| version(&object) == version(&before)),
            "untouched"
        );

        // The owner deletes it, and fedgate's own appears.
        objects.delete(entry).await?;
        objects
            .wait_for(entry, "to be ours", |object| object["spec"]["hosts"][0] == host.as_str())
            .await?;

        // Deleting the Service removes only fedgate's objects.
        pair.beta().objects().delete(Key::namespaced("v1", "Service", "shop", "theirs")).await?;
        for object in [entry, rule] {
            objects.wait_absent(object).await?;
        }
        let bystander_now = objects.get(Key::of(&bystander)?).await?;
        ensure!(
            bystander_now.is_some_and(|object| version(&object) == version(&bystander)),
            "untouched"
        );
        Ok(())
    });
}

#[test]
fn a_host_of_a_foreign_service_entry_is_reported_and_the_rest_still_works() {
    scenario("taken", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let objects = pair.alpha().objects();
        let theirs = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": { "name": "theirs", "namespace": "shop" },
            "spec": { "hosts": [pair.web], "resolution": "NONE", "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }] },
        });
        let before = crate::fixture::versions(pair.alpha(), &import_objects(&pair.web)).await?;
        objects.apply_one(&theirs).await?;
        let events = crate::events::Events::of(pair.alpha(), BETA).await?;
        events.wait_event("Warning", "HostTaken", "shop/theirs").await?;
        let status = async || {
            let output = pair.alpha().fedgate(&["status"]).await?;
            anyhow::Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        wait::until_true("status to report it", SOON, async || {
            Ok(status().await?.contains("host_taken"))
        })
        .await?;

        // Everything else goes on, and existing objects stay as they are.
        let other = crate::fixture::exported("other");
        pair.beta().put_service(&other).await?;
        crate::fixture::wait_imported(pair.alpha(), &other.host(&pair.beta().trust_domain()))
            .await?;
        ensure!(
            crate::fixture::versions(pair.alpha(), &import_objects(&pair.web)).await? == before
        );

        objects.delete(Key::of(&theirs)?).await?;
        wait::until_true("status to be quiet", SOON, async || {
            Ok(!status().await?.contains("host_taken"))
        })
        .await
    });
}
