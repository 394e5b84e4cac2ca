//! A thousand Services get the label at once.

use crate::fixture::{Pair, exported};
use anyhow::ensure;
use fedgate_e2e::kubernetes::{AuditLog, CONTROLLER, Key, NAMESPACE, SHOP};
use fedgate_e2e::manifest::EXPORT_LABEL;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SERVICES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(240);

/// The controller's writes by resource, without the Lease.
fn writes(audit: &AuditLog) -> BTreeMap<String, usize> {
    let mut writes = BTreeMap::new();
    for request in audit.writes_by(CONTROLLER) {
        *writes.entry(request.resource).or_default() += 1;
    }
    writes.remove("leases");
    writes
}

#[test]
fn a_thousand_services_labelled_at_once_are_imported_with_one_write_for_each_object() {
    scenario("thousand", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let (alpha, beta) = (pair.alpha().objects(), pair.beta().objects());
        let names = || (0..SERVICES).map(|number| format!("many-{number}"));
        let each = |body: fn(&str) -> serde_json::Value| {
            stream::iter(names()).map(Ok).try_for_each_concurrent(16, move |name| async move {
                beta.apply_one(&body(&name)).await.map(drop)
            })
        };
        each(|name| service(name, false)).await?;
        let (in_alpha, in_beta) = (pair.alpha().plane().audit(), pair.beta().plane().audit());
        let began = Instant::now();
        each(|name| service(name, true)).await?;
        let labelled = began.elapsed();

        let imported = async || Ok(pair.alpha().count_imports().await? == SERVICES + 1);
        wait::until_true("a thousand imports", PATIENCE, imported).await?;
        let complete = began.elapsed();
        let last = exported("many-999").host(&pair.beta().trust_domain());
        alpha
            .wait_present(Key::namespaced(
                "networking.istio.io/v1",
                "ServiceEntry",
                NAMESPACE,
                &last,
            ))
            .await?;

        // The last objects may be about to be written, and a write is in the log once it is answered.
        let written = async || {
            let importer = writes(&in_alpha);
            let least = ["serviceentries", "destinationrules"].map(|kind| importer.get(kind));
            Ok(least.iter().all(|count| count.is_some_and(|count| *count >= SERVICES)))
        };
        wait::until_true("all of their objects", PATIENCE, written).await?;
        let (importer, exporter) = (writes(&in_alpha), writes(&in_beta));
        println!(
            "labelled in {labelled:?}, all imported after {complete:?}; importer {importer:?}, exporter {exporter:?}"
        );
        for resource in ["serviceentries", "destinationrules"] {
            ensure!(importer[resource] == SERVICES, "one write for each object: {importer:?}");
        }
        // Sixteen objects bind the imports. They grow in steps.
        ensure!(importer["envoyfilters"] < SERVICES / 2, "{importer:?}");
        // The table, the published document and the state grow in steps, however many Services
        // there are.
        let steps: usize = exporter.values().sum();
        ensure!(steps < SERVICES / 2, "{exporter:?}");
        ensure!(!in_alpha.writes_by(CONTROLLER).iter().any(|request| request.verb == "delete"));
        Ok(())
    });
}

fn service(name: &str, labelled: bool) -> serde_json::Value {
    let labels = if labelled { json!({ EXPORT_LABEL: "" }) } else { json!({}) };
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": SHOP, "name": name, "labels": labels },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    })
}
