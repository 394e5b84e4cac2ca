//! Pods by name, with a DKP cluster: a row like any other, in both directions.

use crate::{Mixed, service};
use anyhow::ensure;
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::stateful_set::StatefulSet;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;

/// A DKP importer takes hosts of any form, so it needs to know nothing of Pods.
#[test]
fn a_dkp_cluster_imports_pods_and_calls_them() {
    scenario("dkp-pods", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        let pods = [Backend::http("db-0", "alpha").await?, Backend::http("db-1", "alpha").await?];
        let mut db = StatefulSet::new("db", "http", 5432)
            .with_pods(pods.each_ref().map(|pod| pod.address()));
        let alpha = mixed.alpha.trust_domain();
        let put = |db: &StatefulSet| mixed.alpha.put_manifest(&db.file(), &db.yaml());
        put(&db)?;
        for pod in [0, 1] {
            let host = db.pod_host(pod, alpha);
            let imported = async || Ok(mixed.delta.poll().await?.import(&host).cloned());
            let row = wait::until("delta to import the Pod", SOON, imported).await?;
            ensure!(row["ports"][0]["name"] == "http", "{row}");
            let answered = async || {
                let answer = mixed.delta.call(&host, 5432).await?;
                ensure!(answer["status"] == 200, "{answer}");
                Ok(Some(answer))
            };
            let answer = wait::until("the Pod to answer", SOON, answered).await?;
            let expected = identity(&format!("db-{pod}"), "alpha");
            ensure!(answer.to_string().contains(&expected), "{answer}");
        }

        // The counterpart: the owner takes the Pods back.
        db.by_name = None;
        put(&db)?;
        let host = db.pod_host(0, alpha);
        let gone = async || Ok(mixed.delta.poll().await?.import(&host).is_none());
        wait::until_true("delta to be without the Pod", SOON, gone).await?;
        ensure!(mixed.delta.state().await?.import(&db.host(alpha)).is_some(), "the Service stays");
        // The document is there once the gateway's table is written, which it may not have read.
        wait::until("the Pod to be refused", SOON, async || {
            let before = pods[0].connections();
            for _ in 0..5 {
                let answer = mixed.delta.call(&host, 5432).await?;
                ensure!(answer["status"] != 200 && pods[0].connections() == before, "{answer}");
            }
            Ok(Some(()))
        })
        .await
    });
}

/// Whatever a DKP cluster announces with a Pod's name before a Service's is imported, if it is its
/// own.
#[test]
fn pods_of_a_dkp_cluster_are_imported() {
    scenario("dkp-our-pods", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let own = "db-0.db.shop.svc.delta.example";
        let foreign = ["db-0.db.shop.svc.alpha.example", "x.db-0.db.shop.svc.delta.example"];
        let rows = [service(foreign[0]), service(foreign[1]), service(own)];
        mixed.delta.change(json!({ "privateExtra": { "publicServices": rows } })).await?;
        mixed.wait_imported(own).await?;
        let status = mixed.alpha.status().await?;
        for host in foreign {
            ensure!(status.import(&format!("{host}:80")).is_none(), "{host}");
        }
        ensure!(status.finding("foreign_name").is_some());
        Ok(())
    });
}
