//! The test rig itself: what the other tests rely on.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::fleet::Fleet;
use fedgate_e2e::kubernetes::{CONTROLLER, MESH_NAMESPACE, NAMESPACE, SERVICE_ACCOUNT};
use fedgate_e2e::kubernetes::{ControlPlane, Key, KubernetesCluster, Objects, Options};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;

const MAP: Key<'static> = Key::namespaced("v1", "ConfigMap", "default", "map");

fn map(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map, namespace: default}}\ndata: {{key: {value}}}\n"
    )
}

#[test]
fn the_audit_log_has_exactly_the_requests_that_were_made() {
    scenario("audit", async |run: &RunFolder| {
        let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        objects.apply(&map("before")).await?;

        let audit = plane.audit();
        objects.apply(&(map("one") + "---\n" + &map("two"))).await?;
        objects.get(MAP).await?.context("it was applied")?;
        objects.delete(MAP).await?;
        ensure!(objects.get(MAP).await?.is_none());
        let asked: Vec<_> = audit.matching(|request| request.resource == "configmaps");
        let verbs: Vec<_> =
            asked.iter().map(|request| (request.verb.as_str(), request.status)).collect();
        ensure!(
            verbs == [("patch", 200), ("patch", 200), ("get", 200), ("delete", 200), ("get", 404)],
            "{asked:#?}"
        );
        let named = |key: &(&str, &str)| (key.0, key.1) == ("default", "map");
        ensure!(
            asked.iter().all(|request| named(&(&request.namespace, &request.name))),
            "{asked:#?}"
        );
        ensure!(audit.writes_by("admin").len() == 3 && audit.writes_by(CONTROLLER).is_empty());
        ensure!(plane.audit().requests().is_empty(), "a log starts where it stands");
        Ok(())
    });
}

#[test]
fn a_service_account_may_do_only_what_rbac_allows() {
    scenario("account", async |run: &RunFolder| {
        let cluster = KubernetesCluster::start(run, "alpha").await?;
        let secret = |name| Key::namespaced("v1", "Secret", NAMESPACE, name);
        let client = cluster.plane().service_account_client(NAMESPACE, SERVICE_ACCOUNT).await?;
        let controller = Objects::new(client);
        ensure!(
            controller.get(secret("fedgate-identity")).await?.is_none(),
            "its own Secret is not there yet"
        );
        let audit = cluster.plane().audit();
        let refused =
            controller.get(secret("other")).await.err().context("another Secret was read")?;
        ensure!(format!("{refused:#}").contains("forbidden"), "{refused:#}");
        let requests = audit.matching(|request| request.user == CONTROLLER);
        ensure!(
            matches!(&requests[..], [one] if one.status == 403 && !one.succeeded()),
            "{requests:#?}"
        );
        Ok(())
    });
}

#[test]
fn an_installation_has_all_that_a_controller_meets() {
    scenario("installation", async |run: &RunFolder| {
        let cluster = KubernetesCluster::start(run, "alpha").await?;
        let objects = cluster.objects();
        let service = Key::namespaced("v1", "Service", NAMESPACE, "fedgate-gateway");
        let service = objects.get(service).await?.context("the gateway's Service")?;
        let address = cluster.addresses().gateway;
        ensure!(
            service["status"]["loadBalancer"]["ingress"][0]["ip"] == address.to_string(),
            "{service:#}"
        );
        std::net::TcpListener::bind((address, 0)).context("the gateway's address is local")?;

        let entry = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "namespace": NAMESPACE, "name": "web.shop.svc.beta.example" },
            "spec": { "hosts": ["web.shop.svc.beta.example"], "ports": [{ "number": 80, "name": "http" }] },
        });
        objects.apply_one(&entry).await?;
        let nonsense = json!({
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": { "namespace": MESH_NAMESPACE, "name": "nonsense" },
            "spec": { "configPatches": "all of them" },
        });
        ensure!(objects.apply_one(&nonsense).await.is_err(), "Istio's schemas are in force");
        let kubectl = cluster.kubectl(&["get", "istiofederations", "--output", "name"]).await?;
        ensure!(kubectl.status.success() && kubectl.stdout.is_empty(), "{kubectl:?}");
        Ok(())
    });
}

#[test]
fn a_restart_keeps_the_objects_and_a_compaction_forgets_the_past() {
    scenario("compaction", async |run: &RunFolder| {
        let mut plane = ControlPlane::start(run, "alpha", Options::default()).await?;
        let objects = Objects::new(plane.client());
        objects.apply(&map("one")).await?;
        let old = version(&objects).await?;
        objects.apply(&map("two")).await?;
        watch_from(&plane, &old).await.context("what the API server remembers can be watched")?;

        plane.kill_api_server()?;
        ensure!(objects.get(MAP).await.is_err(), "nobody answers");
        plane.start_api_server().await?;
        ensure!(objects.get(MAP).await?.context("it was kept")?["data"]["key"] == "two");
        read_at(&plane, &old).await.context("what etcd remembers can be read")?;

        plane.compact().await?;
        let refused = read_at(&plane, &old).await.err().context("the past can still be read")?;
        ensure!(format!("{refused:?}").contains("410"), "{refused:?}");
        plane.start_api_server().await?;
        let refused =
            watch_from(&plane, &old).await.err().context("the past can still be watched")?;
        ensure!(format!("{refused:?}").contains("410"), "{refused:?}");
        objects.apply(&map("three")).await?;
        watch_from(&plane, &version(&objects).await?).await.context("the present can be watched")
    });
}

async fn version(objects: &Objects) -> Result<String> {
    let object = objects.get(MAP).await?.context("it was applied")?;
    Ok(object["metadata"]["resourceVersion"].as_str().context("a resource version")?.to_owned())
}

/// Watches for one second, starting at a resource version.
async fn watch_from(plane: &ControlPlane, version: &str) -> Result<()> {
    let events = get(plane, &format!("watch=1&timeoutSeconds=1&resourceVersion={version}")).await?;
    ensure!(!events.contains(r#""type":"ERROR""#), "the watch ended with {events}");
    Ok(())
}

/// Reads the state at a resource version.
async fn read_at(plane: &ControlPlane, version: &str) -> Result<()> {
    let list = get(plane, &format!("resourceVersionMatch=Exact&resourceVersion={version}")).await?;
    ensure!(list.contains(r#""key":"one""#), "the state was {list}");
    Ok(())
}

async fn get(plane: &ControlPlane, query: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/default/configmaps?{query}");
    Ok(plane.client().request_text(axum::http::Request::get(path).body(Vec::new())?).await?)
}

/// The test starts itself again as the run to be killed.
#[test]
fn a_killed_run_leaves_nothing_behind() {
    const INNER: &str = "FEDGATE_E2E_INNER";
    const NAME: &str = "rig::a_killed_run_leaves_nothing_behind";
    if let Some(file) = std::env::var_os(INNER) {
        return scenario("inner", async |run: &RunFolder| {
            hold_a_control_plane(run, Path::new(&file)).await
        });
    }
    scenario("killed", async |run: &RunFolder| {
        let file = run.path().join("pids");
        let mut inner = tokio::process::Command::new(std::env::current_exe()?);
        // Its folder is inside this run's folder, because the killed run cannot remove it.
        let inner =
            inner.args(["--exact", NAME]).env(INNER, &file).env("CARGO_TARGET_DIR", run.path());
        let mut inner = inner.stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        let pids = wait::until("the inner run's processes", SOON, async || {
            let text = std::fs::read_to_string(&file)?;
            let pids = text.lines().map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
            Ok(pids.collect::<Option<Vec<_>>>().filter(|pids| pids.len() == 2))
        });
        let pids = pids.await?;
        let runs = |pid: &rustix::process::Pid| rustix::process::test_kill_process(*pid).is_ok();
        ensure!(pids.iter().all(runs), "they run");
        inner.kill().await?;
        wait::until_true("the inner run's processes to end", SOON, async || {
            Ok(!pids.iter().any(runs))
        })
        .await
    });
}

/// Starts a control plane, writes its process IDs to a file, and waits to be killed.
async fn hold_a_control_plane(run: &RunFolder, file: &Path) -> Result<()> {
    let plane = ControlPlane::start(run, "alpha", Options::default()).await?;
    let [etcd, api_server] = plane.process_ids()?;
    std::fs::write(file, format!("{etcd}\n{api_server}\n"))?;
    std::future::pending().await
}

#[test]
fn the_peers_of_a_fleet_are_accepted() {
    scenario("fleet", async |run: &RunFolder| {
        let mut cluster = KubernetesCluster::start(run, "alpha").await?;
        let fleet = Fleet::start(20, 3).await?;
        cluster.objects().apply(&fleet.federations()).await?;
        cluster.start_replica().await?;
        let imported = async || Ok(cluster.count_imports().await? == 20 * 3);
        wait::until_true("all imports of the fleet", SOON, imported).await?;
        let last = fleet.host(19, 2);
        let entry = Key::namespaced("networking.istio.io/v1", "ServiceEntry", NAMESPACE, &last);
        cluster.objects().get(entry).await?.context("the last peer's last Service")?;
        ensure!(
            fleet.requests() >= 40,
            "each has two documents, and was asked {} times",
            fleet.requests()
        );
        Ok(())
    });
}
