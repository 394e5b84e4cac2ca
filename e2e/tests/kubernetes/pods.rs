//! A hundred Pods by name: what is written for them, and how little for a change of one.

use crate::fixture::{Pair, binding, import_objects, versions, wait_imported, wait_not_imported};
use anyhow::{Result, ensure};
use fedgate_e2e::kubernetes::{AuditLog, CONTROLLER, Key, KubernetesCluster, NAMESPACE, SHOP};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::stateful_set::{Member, StatefulSet};
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const BETA: &str = "beta.example";
const PODS: usize = 100;

/// How long it may take until the peer's cluster has a Pod that comes, or lacks one that goes.
const AT_ONCE: Duration = Duration::from_secs(20);

fn address(pod: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, 5], 8000 + u16::try_from(pod).unwrap_or_default()))
}

/// The gateway's ServiceEntry for a Pod.
fn entry(host: &str) -> Key<'_> {
    Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, host)
}

fn slice(name: &str) -> Key<'_> {
    Key::namespaced("discovery.k8s.io/v1", "EndpointSlice", SHOP, name)
}

/// The writes of Istio's objects, in order of name, once the controller has written nothing for
/// two seconds.
async fn writes(cluster: &KubernetesCluster, audit: &AuditLog) -> Result<Vec<String>> {
    wait::until_true("the writes to end", SOON, async || {
        let last = cluster.plane().audit();
        let quiet = async || Ok(of_istio(&last).is_empty());
        Ok(wait::stays("it is quiet", Duration::from_secs(2), quiet).await.is_ok())
    })
    .await?;
    Ok(of_istio(audit))
}

fn of_istio(audit: &AuditLog) -> Vec<String> {
    let kinds = ["serviceentries", "destinationrules", "envoyfilters"];
    let writes = audit.writes_by(CONTROLLER).into_iter();
    let writes = writes.filter(|write| kinds.contains(&write.resource.as_str()));
    let mut writes: Vec<_> =
        writes.map(|write| format!("{} {} {}", write.verb, write.resource, write.name)).collect();
    writes.sort();
    writes
}

#[test]
fn a_change_of_one_pod_of_a_hundred_writes_its_own_objects_once() {
    scenario("pods", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let (alpha, beta) = (pair.alpha(), pair.beta());
        let mut db = StatefulSet::new("db", "tcp-sql", 5432).with_pods((0..PODS).map(address));
        // Its twin does not ask for Pods by name.
        let mut other = StatefulSet { name: "other".into(), by_name: None, ..db.clone() };
        other.pods.truncate(3);
        beta.objects().apply(&other.yaml()).await?;
        beta.objects().apply(&db.yaml()).await?;
        let (first, last, new) =
            (db.pod_host(0, BETA), db.pod_host(99, BETA), db.pod_host(100, BETA));
        for host in [&first, &last, &db.host(BETA), &other.host(BETA)] {
            wait_imported(alpha, host).await?;
        }
        beta.objects().wait_present(entry(&last)).await?;
        let imported = async || Ok(alpha.count_imports().await? == PODS + 3);
        wait::until_true("all Pods, and the three Services", SOON, imported).await?;
        let never = [other.pod_host(0, BETA), new.clone()];
        for host in &never {
            ensure!(beta.objects().get(entry(host)).await?.is_none(), "{host}");
        }
        let binding = binding(alpha, &first).await?.unwrap_or_default();
        let service = db.host(BETA);
        let kept = [import_objects(&service), import_objects(&last)].concat();
        let before = versions(alpha, &kept).await?;

        // A Pod comes.
        let audits = [alpha, beta].map(|cluster| cluster.plane().audit());
        db.pods.push(Member::new("db-100", address(100)));
        let began = Instant::now();
        beta.objects().apply(&db.yaml()).await?;
        wait_imported(alpha, &new).await?;
        eprintln!("db-100 was imported after {:?}", began.elapsed());
        ensure!(began.elapsed() < AT_ONCE);
        let at_beta = writes(beta, &audits[1]).await?;
        let table = "patch envoyfilters fedgate-table".to_owned();
        ensure!(at_beta == [table.clone(), format!("patch serviceentries {new}")], "{at_beta:#?}");
        let at_alpha = writes(alpha, &audits[0]).await?;
        let bound = crate::fixture::binding(alpha, &new).await?.unwrap_or_default();
        let mut expected = [
            format!("patch destinationrules {new}"),
            format!("patch serviceentries {new}"),
            format!("patch envoyfilters {bound}"),
        ];
        expected.sort();
        ensure!(at_alpha == expected, "{at_alpha:#?}");

        // A Pod is not ready for a moment: its name stays.
        let audits = [alpha, beta].map(|cluster| cluster.plane().audit());
        let conditions = |ready: bool| {
            let address = address(0).ip().to_string();
            json!({ "endpoints": [{ "addresses": [address], "hostname": "db-0", "conditions": { "ready": ready } }] })
        };
        let empty = |object: &serde_json::Value| {
            object["spec"]["endpoints"] == json!([]) || object["spec"]["endpoints"].is_null()
        };
        let name = db.slice(0);
        beta.objects().patch(slice(&name), &conditions(false)).await?;
        beta.objects().wait_for(entry(&first), "to have no endpoint", empty).await?;
        beta.objects().patch(slice(&name), &conditions(true)).await?;
        beta.objects().wait_for(entry(&first), "to have one again", |entry| !empty(entry)).await?;
        let at_beta = writes(beta, &audits[1]).await?;
        ensure!(at_beta == vec![format!("patch serviceentries {first}"); 2], "{at_beta:#?}");
        ensure!(writes(alpha, &audits[0]).await?.is_empty(), "the peer need not know");

        // A Pod goes.
        let audits = [alpha, beta].map(|cluster| cluster.plane().audit());
        let began = Instant::now();
        beta.objects().delete(slice(&name)).await?;
        wait_not_imported(alpha, &first).await?;
        ensure!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        let at_beta = writes(beta, &audits[1]).await?;
        ensure!(at_beta == [format!("delete serviceentries {first}"), table], "{at_beta:#?}");
        let at_alpha = writes(alpha, &audits[0]).await?;
        let mut expected = [
            format!("delete destinationrules {first}"),
            format!("delete serviceentries {first}"),
            format!("patch envoyfilters {binding}"),
        ];
        expected.sort();
        ensure!(at_alpha == expected, "{at_alpha:#?}");

        ensure!(versions(alpha, &kept).await? == before, "the Service or another Pod was written");
        // The owner takes back the Pods: none is left, and the Service stays.
        let audit = alpha.plane().audit();
        db.by_name = Some("false".into());
        beta.objects().apply(&db.yaml()).await?;
        let imported = async || Ok(alpha.count_imports().await? == 3);
        wait::until_true("the three Services alone", SOON, imported).await?;
        ensure!(versions(alpha, &import_objects(&service)).await? == before[..2]);
        let repeated = writes(alpha, &audit).await?;
        let deleted = repeated.iter().filter(|write| write.starts_with("delete serviceentries"));
        ensure!(deleted.count() == PODS, "each is deleted once: {repeated:#?}");
        Ok(())
    });
}
