//! Ten thousand exports and five thousand imports in one cluster: until everything is written, after
//! a restart of the controller, and for one more label.

use crate::{usage, writes};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::kubernetes::{AuditLog, CONTROLLER, Key, KubernetesCluster, NAMESPACE, SHOP};
use fedgate_e2e::manifest::EXPORT_LABEL;
use fedgate_e2e::measure::number;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::long_scenario;
use fedgate_e2e::usage::Usage;
use fedgate_e2e::wait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(600);
const PEERS: usize = 5;
/// No write for this long means that nothing is left to write.
const QUIET: Duration = Duration::from_secs(10);
/// etcd's limit of an object is 1.5 MiB; the table's is lower.
const LARGEST_TABLE: usize = 1 << 20;
const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");

#[test]
fn ten_thousand_exports_and_five_thousand_imports() {
    let (exports, imports) = (number("LOAD_EXPORTS", 10_000), number("LOAD_IMPORTS", 5_000));
    long_scenario("large", Duration::from_secs(1500), async |run: &RunFolder| {
        let mut large = Large::start(run, exports, imports).await?;
        large.first_writes().await?;
        large.restart().await?;
        large.one_more_label().await
    });
}

/// The cluster, and how much is in it.
struct Large {
    cluster: KubernetesCluster,
    _fleet: Fleet,
    exports: usize,
    imports: usize,
}

impl Large {
    /// Labels all Services and adds all peers before a controller runs.
    async fn start(run: &RunFolder, exports: usize, imports: usize) -> Result<Self> {
        let mut cluster = KubernetesCluster::start(run, "alpha").await?;
        cluster.settings().insert("FEDGATE_POLL".into(), "30s".into());
        let (fleet, began) = (Fleet::start(PEERS, imports / PEERS).await?, Instant::now());
        let objects = cluster.objects();
        objects.apply(&fleet.federations()).await?;
        stream::iter(0..exports)
            .map(Ok)
            .try_for_each_concurrent(16, async |number| {
                objects.apply_one(&labelled(&format!("many-{number}"))).await.map(drop)
            })
            .await?;
        println!("{exports} Services created in {:.1?}", began.elapsed());
        Ok(Self { cluster, _fleet: fleet, exports, imports })
    }

    /// Starts the first controller, which has everything to write.
    async fn first_writes(&mut self) -> Result<()> {
        let (audit, began) = (self.cluster.plane().audit(), Instant::now());
        self.cluster.start_replica().await?;
        println!("ready after {:.1?}", began.elapsed());
        self.wait_written().await?;
        println!("all writes begun after {:.1?}, {}", began.elapsed(), self.spent()?);
        let written = self.settled(&audit).await?;
        println!("after {QUIET:?} without a write: {}; writes {written:?}", self.spent()?);
        ensure!(self.cluster.count_imports().await? == self.imports);
        let most = most_writes(&audit, &["serviceentries", "destinationrules"]);
        ensure!(most == 1, "an import was written {most} times: {written:?}");
        // The table, the bindings, the documents and the statuses grow in steps.
        let steps = written.values().sum::<usize>().saturating_sub(2 * self.imports);
        ensure!(steps < 300, "{written:?}");
        ensure!(self.usage()?.peak_memory < 512 << 20, "{}", self.usage()?);
        self.check_table().await
    }

    async fn restart(&mut self) -> Result<()> {
        let leader = self.cluster.leader().await?;
        self.cluster.stop_replica(&leader).await?;
        let (audit, began) = (self.cluster.plane().audit(), Instant::now());
        self.cluster.start_replica().await?;
        let ready = began.elapsed();
        self.wait_known().await?;
        let (known, spent) = (began.elapsed(), self.spent()?);
        let written = self.settled(&audit).await?;
        println!(
            "restart: ready after {ready:.1?}, all known after {known:.1?} ({spent}), then {}; \
             writes {written:?}",
            self.spent()?
        );
        ensure!(written.is_empty(), "{:?}", audit.writes_by(CONTROLLER));
        ensure!(known < Duration::from_secs(60), "{known:?}");
        Ok(())
    }

    async fn one_more_label(&mut self) -> Result<()> {
        let before = generation(&self.table().await?);
        let (audit, cpu) = (self.cluster.plane().audit(), self.usage()?.cpu);
        let began = Instant::now();
        self.cluster.objects().apply_one(&labelled("one-more")).await?;
        let grown = |object: &Value| generation(object) > before;
        self.cluster.objects().wait_for(TABLE, "to have one more export", grown).await?;
        let there = began.elapsed();
        let written = self.settled(&audit).await?;
        println!(
            "one more label: in the table after {there:.2?}; {:?} of CPU time; writes {written:?}",
            self.usage()?.cpu.saturating_sub(cpu)
        );
        let expected = [("configmaps".to_owned(), 1), ("envoyfilters".to_owned(), 1)];
        ensure!(written == BTreeMap::from(expected), "{:?}", audit.writes_by(CONTROLLER));
        ensure!(there < Duration::from_secs(10), "{there:?}");
        Ok(())
    }

    /// Waits until the controller leads and knows everything.
    async fn wait_known(&self) -> Result<()> {
        self.wait_metrics(&[
            ("fedgate_exports", self.exports),
            ("fedgate_imports", self.imports),
            ("fedgate_leader", 1),
        ])
        .await
    }

    /// Waits until the controller has begun each write that an empty cluster needs.
    async fn wait_written(&self) -> Result<()> {
        let entries = "fedgate_writes_total{kind=\"ServiceEntry\",verb=\"Create\"}";
        self.wait_metrics(&[
            ("fedgate_exports", self.exports),
            ("fedgate_imports", self.imports),
            (entries, self.imports),
        ])
        .await
    }

    async fn wait_metrics(&self, wanted: &[(&str, usize)]) -> Result<()> {
        wait::until("all objects", PATIENCE, async || {
            for (metric, wanted) in wanted {
                let found = self.cluster.first_replica()?.metric(metric).await?;
                ensure!(found >= *wanted as f64, "{metric} is {found}");
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the controller stops writing. Returns its writes by resource.
    async fn settled(&self, audit: &AuditLog) -> Result<BTreeMap<String, usize>> {
        let mut before = writes(audit);
        loop {
            tokio::time::sleep(QUIET).await;
            let now = writes(audit);
            if now == before {
                break;
            }
            before = now;
        }
        let mut counts = BTreeMap::new();
        for request in audit.writes_by(CONTROLLER) {
            *counts.entry(request.resource).or_default() += 1;
        }
        counts.remove("leases");
        Ok(counts)
    }

    /// The gateway's table has a row for each export, and is far below what etcd stores.
    async fn check_table(&self) -> Result<()> {
        let size = self.table().await?.to_string().len();
        let output = self.cluster.fedgate(&["table", "--output", "json"]).await?;
        let table: Value = serde_json::from_slice(&output.stdout).context("fedgate table")?;
        let rows = table["exports"].as_array().context("exports")?.len();
        println!("the object with the table: {size} bytes, {rows} exports");
        // One more row is the name by which peers probe the gateway.
        ensure!(rows == self.exports + 1 && size < LARGEST_TABLE, "{rows} rows, {size} bytes");
        Ok(())
    }

    async fn table(&self) -> Result<Value> {
        self.cluster.objects().get(TABLE).await?.context("there is no table")
    }

    fn spent(&mut self) -> Result<String> {
        let usage = self.usage()?;
        Ok(format!("{usage}, {:.1?} of CPU time", usage.cpu))
    }

    fn usage(&mut self) -> Result<Usage> {
        usage(&mut self.cluster)
    }
}

fn generation(table: &Value) -> i64 {
    table["metadata"]["generation"].as_i64().unwrap_or_default()
}

/// The most writes that any object of these resources got from the controller.
fn most_writes(audit: &AuditLog, resources: &[&str]) -> usize {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for request in audit.writes_by(CONTROLLER) {
        if resources.contains(&request.resource.as_str()) {
            *counts.entry((request.resource, request.name)).or_default() += 1;
        }
    }
    counts.into_values().max().unwrap_or_default()
}

fn labelled(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": SHOP, "name": name, "labels": { EXPORT_LABEL: "" } },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    })
}
