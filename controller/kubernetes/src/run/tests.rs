//! Tests whole replicas on the fake API server: election, watches, compilations, writes.

mod ending;
mod presented;
mod restore;

use super::importer_settings;
use super::replica_loop::{Parts, ReplicaLoop};
use crate::api::kind::Kind;
use crate::fake::{Call, FakeApi, Fault, Verb};
use crate::identity::{ClusterIdentity, SECRET};
use crate::leader::confirmations::Confirmations;
use crate::leader::election::{DURATION, Election, LEASE};
use crate::metrics::Metrics as OwnMetrics;
use crate::probes::Health;
use crate::replica::{Certificates, Outcomes, Replica};
use crate::sample::NAMESPACE;
use crate::settings::tests::read as flags;
use crate::sinks::gateway::TABLE;
use crate::sinks::outputs::Outputs;
use crate::sinks::table::InObject;
use crate::sources::memory::STATE;
use crate::sources::{Sources, Wakes};
use arc_swap::ArcSwap;
use fedgate_core::{Options, Table, TableBuilder, write_configuration};
use fedgate_engine::metrics::Metrics;
use fedgate_exchange::exporter::Published;
use fedgate_exchange::loopback::{TestCa, identity};
use fedgate_federation::bundle::{Root, roots_to_pem};
use fedgate_federation::credentials::Credentials;
use fedgate_federation::object::PUBLIC_SERVICE_LABEL;
use fedgate_process::tasks::Tasks;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The ConfigMap with this cluster's roots.
const ROOTS: &str = "istio-ca-root-cert";

/// A cluster with roots, and one identity for all replicas.
struct Site {
    server: FakeApi,
    identity: ClusterIdentity,
}

impl Site {
    fn new() -> Self {
        let own = identity();
        let site = Self {
            server: FakeApi::new(),
            identity: ClusterIdentity {
                cluster_uuid: own.cluster_uuid,
                key: own.key,
                replaced_at: None,
            },
        };
        site.new_root();
        site.put_identity();
        site
    }

    /// The Secret with the identity.
    fn put_identity(&self) {
        use base64::Engine;
        let base64 = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
        let data = json!({
            "authn.key": base64(&self.identity.key.to_pem()), "cluster-uuid": base64(self.identity.cluster_uuid.as_str()),
        });
        let metadata = json!({ "namespace": NAMESPACE, "name": SECRET });
        self.server.put(Kind::Secret, json!({ "metadata": metadata, "data": data }));
    }

    /// The findings about the cluster, as the leader stored them for the command line.
    fn missing(&self) -> String {
        let state = self.server.get(Kind::ConfigMap, NAMESPACE, STATE).unwrap_or_default();
        let record: Value =
            serde_json::from_str(state["data"]["cluster.json"].as_str().unwrap_or_default())
                .unwrap_or_default();
        record["findings"].to_string()
    }

    /// Changes the root, and with it the public document and its version.
    fn new_root(&self) {
        self.put_root(&TestCa::new());
    }

    fn put_root(&self, ca: &TestCa) {
        let pem = roots_to_pem(&[Root::from_der(&ca.der()).unwrap()]);
        let metadata = json!({ "namespace": NAMESPACE, "name": ROOTS });
        self.server.put(
            Kind::ConfigMap,
            json!({ "metadata": metadata, "data": { "root-cert.pem": pem } }),
        );
    }

    /// Exports a Service, and so changes the table.
    fn export(&self, name: &str) {
        let metadata =
            json!({ "namespace": "shop", "name": name, "labels": { PUBLIC_SERVICE_LABEL: "" } });
        let spec = json!({ "type": "ClusterIP", "ports": [{ "name": "http", "port": 80 }] });
        self.server.put(Kind::Service, json!({ "metadata": metadata, "spec": spec }));
    }

    /// Creates a peer that does not answer.
    fn peer(&self, name: &str) {
        let spec = json!({ "trustDomain": format!("{name}.example"), "metadataEndpoint": "https://127.0.0.1:1/metadata" });
        self.server
            .put(Kind::IstioFederation, json!({ "metadata": { "name": name }, "spec": spec }));
    }

    fn table(&self) -> Value {
        self.server
            .get(Kind::EnvoyFilter, NAMESPACE, TABLE)
            .map_or(Value::Null, |object| object["spec"].clone())
    }

    /// The generation of the table in the cluster.
    fn generation(&self) -> u64 {
        let object = self.server.get(Kind::EnvoyFilter, NAMESPACE, TABLE).unwrap_or_default();
        let table = serde_json::from_value(object).ok().and_then(|object| InObject::of(&object));
        table.map_or(0, |table| table.0.generation())
    }

    /// Puts a table into the cluster, as a leader does that does not know yet that it is deposed.
    fn put_table(&self, generation: u64) {
        let table = TableBuilder::new("alpha.example".parse().unwrap()).build(generation).unwrap();
        let table = Table::read(table).unwrap();
        let configuration = json!(write_configuration(&table, Options::default())).to_string();
        let mut object = self.server.get(Kind::EnvoyFilter, NAMESPACE, TABLE).unwrap();
        replace_configuration(&mut object, &configuration);
        self.server.put(Kind::EnvoyFilter, object);
    }

    /// Makes everything continue from a generation that no clock reaches.
    async fn go_on_from(&self, generation: u64) {
        self.lead("first").await.stop().await;
        let published = json!({ "generation": generation }).to_string();
        let patch = json!({ "data": { "published.json": published } });
        self.server.patch(Kind::ConfigMap, NAMESPACE, STATE, &patch);
        self.export("first");
    }

    fn state(&self) -> Option<Value> {
        Some(self.server.get(Kind::ConfigMap, NAMESPACE, STATE)?["data"]["published.json"].clone())
    }

    fn status(&self, peer: &str) -> Value {
        self.server
            .get(Kind::IstioFederation, "", peer)
            .map_or(Value::Null, |object| object["status"].clone())
    }

    async fn holder(&self) -> String {
        let leases = Api::<Lease>::namespaced(self.server.client(), NAMESPACE);
        let spec = leases.get_opt(LEASE).await.unwrap().and_then(|lease| lease.spec);
        spec.and_then(|spec| spec.holder_identity).unwrap_or_default()
    }

    /// What a replica consists of; its client has the replica's name.
    fn parts(&self, name: &'static str) -> Parts {
        let mut settings =
            flags(&["--filter-module", "file:///filter.wasm", "--advertise", "192.0.2.7:15443"])
                .unwrap();
        settings.pod_name = name.to_owned();
        Parts {
            client: self.server.client_of(name),
            settings: Arc::new(settings),
            identity: self.identity.clone(),
            endpoint: watch::channel(Credentials::default()).1,
            module: None,
            published: Arc::default(),
            health: Health::default(),
            metrics: Metrics::default(),
            own_metrics: OwnMetrics::default(),
        }
    }

    fn start(&self, name: &'static str) -> Running {
        Self::start_of(self.parts(name))
    }

    fn start_of(parts: Parts) -> Running {
        let (health, published, metrics) =
            (parts.health.clone(), Arc::clone(&parts.published), parts.metrics.clone());
        let (mut replica, election) = ReplicaLoop::start(parts).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = election.run(async { drop(stopped.await) }) => {}
                ended = replica.run() => panic!("{ended}"),
            }
        });
        Running { metrics, health, published, stop: Some(stop), task }
    }

    /// Starts a replica, and waits until it leads and everything is written.
    async fn lead(&self, name: &'static str) -> Running {
        let replica = self.start(name);
        replica.until_ready().await;
        until(|| !self.table().is_null()).await;
        replica
    }
}

fn replace_configuration(json: &mut Value, configuration: &str) {
    match json {
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| replace_configuration(value, configuration))
        }
        Value::Array(rows) => {
            rows.iter_mut().for_each(|value| replace_configuration(value, configuration))
        }
        Value::String(text) if text.starts_with('{') => configuration.clone_into(text),
        _ => {}
    }
}

struct Running {
    metrics: Metrics,
    health: Health,
    published: Arc<ArcSwap<Published>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn is_ready(&self) -> bool {
        self.health.ready().is_ok()
    }

    async fn until_ready(&self) {
        until(|| self.is_ready()).await;
    }

    /// The tag of the public document that it serves.
    fn serves(&self) -> Option<String> {
        self.published
            .load()
            .public
            .as_ref()
            .map(|document| document.etag().to_str().unwrap().to_owned())
    }

    /// A metric, by its name without the prefix.
    fn metric(&self, name: &str) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics.registry()).unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(&format!("fedgate_{name} ")));
        found.unwrap_or_default().to_owned()
    }

    /// Stops it as a signal does.
    async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap();
    }
}

/// Waits for at most ten minutes of the paused clock.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(600), wait).await.expect("it does not happen");
}

/// Returns true for writes of objects other than the Lease and Events.
fn writes_objects(call: &Call) -> bool {
    call.writes() && !["leases", "events"].contains(&call.plural.as_str())
}

fn of_lease(call: &Call) -> bool {
    call.plural == "leases"
}

#[tokio::test(start_paused = true)]
async fn a_replica_leads_writes_and_then_rests() {
    let site = Site::new();
    site.export("web");
    site.peer("beta");
    let replica = site.lead("a").await;
    until(|| !site.status("beta").is_null()).await;
    assert!(site.state().is_some() && replica.serves().is_some());
    assert!(site.holder().await.starts_with("a_"));
    sleep(Duration::from_secs(60)).await;
    let writes = site.server.calls(writes_objects);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(site.server.calls(writes_objects), writes, "nothing is written that is so already");
}

#[tokio::test(start_paused = true)]
async fn a_label_under_our_name_is_taken_away_once() {
    let site = Site::new();
    let _replica = site.lead("a").await;
    sleep(Duration::from_secs(10)).await;
    let before = site.server.calls(writes_objects);
    let labels = json!({ "metadata": { "labels": { "fedgate.dev/theirs": "b", "team": "c" } } });
    site.server.patch(Kind::EnvoyFilter, NAMESPACE, TABLE, &labels);
    let labels = || {
        site.server.get(Kind::EnvoyFilter, NAMESPACE, TABLE).unwrap()["metadata"]["labels"].clone()
    };
    until(|| labels()["fedgate.dev/theirs"].is_null()).await;
    sleep(Duration::from_secs(1200)).await;
    assert_eq!(
        (labels()["team"].as_str(), site.server.calls(writes_objects) - before),
        (Some("c"), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn who_stops_hands_over_at_once_and_who_dies_after_a_while() {
    let site = Site::new();
    let (first, second) = (site.lead("a").await, site.start("b"));
    second.until_ready().await;
    assert!(site.holder().await.starts_with("a_"));
    assert_eq!(second.serves(), first.serves(), "any of them answers");
    assert_eq!(site.server.calls(|call| call.who == "b" && writes_objects(call)), 0);
    first.stop().await;
    let stopped = Instant::now();
    while !site.holder().await.starts_with("b_") {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(stopped.elapsed() < Duration::from_secs(3));
    let third = site.start("c");
    third.until_ready().await;
    drop(second);
    let died = Instant::now();
    while !site.holder().await.starts_with("c_") {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(
        died.elapsed() >= DURATION - Duration::from_secs(2)
            && died.elapsed() < DURATION + Duration::from_secs(4)
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_comes_with_the_answer_to_a_status_is_compiled() {
    let site = Site::new();
    let _replica = site.lead("a").await;
    site.server.fail(1, Fault::Late(Duration::from_secs(2)), |call| call.of_status);
    site.peer("beta");
    until(|| site.server.calls(|call| call.of_status) == 1).await;
    site.server.silence(true);
    let edit = json!({ "spec": { "trustDomain": "gamma.example" } });
    site.server.patch(Kind::IstioFederation, "", "beta", &edit);
    let began = Instant::now();
    until(|| site.status("beta")["observedGeneration"] == 2).await;
    assert!(began.elapsed() < Duration::from_secs(10), "the watch says nothing");
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_stops_the_writer_for_seconds() {
    for fault in [Fault::Swallowed, Fault::NoAnswer, Fault::LostAnswer] {
        let site = Site::new();
        let _replica = site.lead("a").await;
        let before = site.table();
        site.server.fail(1, fault.clone(), |call| call.name == TABLE && call.writes());
        site.export("web");
        let began = Instant::now();
        until(|| site.table() != before).await;
        site.peer("beta");
        until(|| !site.status("beta").is_null()).await;
        assert!(began.elapsed() < Duration::from_secs(25), "{fault:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_creation_was_not_answered_is_ours() {
    let site = Site::new();
    site.server.fail(1, Fault::LostAnswer, |call| call.name == STATE && call.writes());
    site.server.fail(1, Fault::LateAnswer(Duration::from_secs(3)), |call| {
        call.name == STATE && call.writes()
    });
    let replica = site.start("a");
    let began = Instant::now();
    replica.until_ready().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_gives_up_and_writes_nothing_later() {
    let site = Site::new();
    let first = site.lead("a").await;
    let second = site.start("b");
    second.until_ready().await;
    // Its requests are lost without an error, so the Lease is not renewed.
    site.server.fail(usize::MAX, Fault::Swallowed, |call| call.who == "a");
    site.export("web");
    let before = site.table();
    until(|| site.table() != before).await;
    assert!(site.holder().await.starts_with("b_"));
    let written = site.server.calls(|call| call.who == "a" && writes_objects(call));
    site.server.mend();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(site.server.calls(|call| call.who == "a" && writes_objects(call)), written);
    assert!(first.is_ready());
}

#[tokio::test(start_paused = true)]
async fn who_is_deposed_in_the_middle_does_not_serve_what_is_not_written_down() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let (before, state) = (replica.serves(), site.state());
    site.server.fail(usize::MAX, Fault::Swallowed, of_lease);
    site.server.fail(usize::MAX, Fault::LateAnswer(Duration::from_secs(9)), |call| {
        call.name == TABLE && call.writes()
    });
    site.export("web");
    site.new_root();
    for _ in 0..300 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!((replica.serves(), site.state()), (before.clone(), state.clone()));
    }
    site.server.mend();
    until(|| replica.serves() != before).await;
    assert_ne!(site.state(), state);
}

#[tokio::test(start_paused = true)]
async fn who_is_deposed_drops_the_write_that_it_waits_for() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let before = site.table();
    site.server.fail(usize::MAX, Fault::Swallowed, of_lease);
    // The term ends after 7 s at the latest.
    let late = |call: &Call| call.name == TABLE && call.writes();
    site.server.fail(usize::MAX, Fault::Late(Duration::from_secs(12)), late);
    site.export("web");
    until(|| site.server.calls(late) > 1).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(site.table(), before);
    assert!(replica.is_ready());
    site.server.mend();
    until(|| site.table() != before).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_goes_while_a_leader_runs_is_told_and_left_to_an_operator() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let served = replica.serves();
    sleep(Duration::from_secs(10)).await;
    assert!(!site.missing().contains("identity"), "{}", site.missing());
    let events = |call: &Call| call.plural == "events" && call.writes();
    let before = site.server.calls(events);
    site.server.delete(Kind::Secret, NAMESPACE, SECRET);
    let began = Instant::now();
    until(|| site.missing().contains("identity_lost") && site.server.calls(events) > before).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    sleep(Duration::from_secs(120)).await;
    assert!(site.server.get(Kind::Secret, NAMESPACE, SECRET).is_none(), "nothing is made anew");
    assert_eq!(replica.serves(), served, "the identity is the one of before");
    site.put_identity();
    until(|| !site.missing().contains("identity_lost")).await;
    let other = json!({ "data": { "cluster-uuid": "" } });
    site.server.patch(Kind::Secret, NAMESPACE, SECRET, &other);
    until(|| site.missing().contains("identity_lost")).await;
    assert!(replica.is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_served_and_stops_nothing_else() {
    let site = Site::new();
    let theirs = json!({ "metadata": { "namespace": NAMESPACE, "name": STATE }, "data": { "published.json": "theirs" } });
    site.server.put(Kind::ConfigMap, theirs);
    site.peer("beta");
    let replica = site.start("a");
    until(|| !site.table().is_null() && !site.status("beta").is_null()).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(replica.serves(), None);
    site.server.delete(Kind::ConfigMap, NAMESPACE, STATE);
    replica.until_ready().await;
    assert!(replica.serves().is_some());
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_all_replicas_list_again_and_are_not_ready_meanwhile() {
    let site = Site::new();
    let (first, second) = (site.lead("a").await, site.start("b"));
    second.until_ready().await;
    let snapshot = site.server.snapshot();
    site.export("lost");
    sleep(Duration::from_secs(30)).await;
    let with_lost = site.table();
    // Lists take a while, so that no replica can be ready too early.
    site.server
        .fail(usize::MAX, Fault::Late(Duration::from_secs(3)), |call| call.verb == Verb::List);
    site.server.restore(&snapshot);
    let began = Instant::now();
    until(|| !first.is_ready() && !second.is_ready()).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "the watches are open, and say nothing: {:?}",
        began.elapsed()
    );
    until(|| first.is_ready() && second.is_ready()).await;
    site.server.mend();
    site.export("new");
    until(|| site.table() != with_lost && site.table() != table_of(&snapshot)).await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

fn table_of(snapshot: &crate::fake::Snapshot) -> Value {
    let server = FakeApi::new();
    server.restore(snapshot);
    server.get(Kind::EnvoyFilter, NAMESPACE, TABLE).unwrap()["spec"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_server_loses_nothing_and_leaves_replicas_ready() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let before = site.table();
    site.server.end_watches();
    site.export("web");
    site.server.compact();
    until(|| site.table() != before).await;
    assert!(replica.is_ready());
}

/// In milliseconds since 1970, far in the future.
const FAR: u64 = 9_000_000_000_000;

#[tokio::test(start_paused = true)]
async fn without_the_state_a_new_table_outgrows_the_one_in_the_cluster() {
    let site = Site::new();
    site.go_on_from(FAR).await;
    let second = site.start("b");
    until(|| site.generation() > FAR).await;
    let (before, known) = (site.generation(), site.table());
    second.stop().await;
    site.server.delete(Kind::ConfigMap, NAMESPACE, STATE);
    let third = site.start("c");
    third.until_ready().await;
    assert_eq!(
        (site.generation(), site.table()),
        (before, known.clone()),
        "the same table stays the same"
    );
    third.stop().await;
    site.server.delete(Kind::ConfigMap, NAMESPACE, STATE);
    site.export("web");
    let _fourth = site.start("d");
    until(|| site.table() != known).await;
    assert!(site.generation() > before, "{} after {before}", site.generation());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_save_its_versions_serves_nothing_new_and_the_next_one_outgrows_its_table()
 {
    let site = Site::new();
    site.go_on_from(FAR).await;
    let second = site.start("b");
    until(|| site.generation() > FAR).await;
    second.until_ready().await;
    let (served, saved, before) = (second.serves(), site.state(), site.generation());
    site.server.fail(usize::MAX, Fault::Refused(507, "no space left"), |call| {
        call.name == STATE && call.writes()
    });
    site.new_root();
    site.export("web");
    until(|| site.generation() > before).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(
        (second.serves(), site.state()),
        (served, saved),
        "documents wait for their versions"
    );
    let unsaved = (site.generation(), site.table());
    second.stop().await;
    site.server.mend();
    site.export("api");
    let third = site.start("c");
    until(|| site.table() != unsaved.1).await;
    assert!(site.generation() > unsaved.0, "{} after {}", site.generation(), unsaved.0);
    third.until_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_written_in_the_middle_of_a_term_is_outgrown_once() {
    let site = Site::new();
    site.export("web");
    let _replica = site.lead("a").await;
    let before = site.generation();
    site.put_table(FAR);
    until(|| site.generation() > FAR).await;
    assert!(before < FAR);
    let after = site.generation();
    // There is no higher generation, so the table is corrected as well as possible.
    site.put_table(u64::MAX);
    sleep(Duration::from_secs(120)).await;
    let writes = site.server.calls(|call| call.name == TABLE && call.writes());
    assert!(site.generation() > after && writes < 20, "{writes}");
    site.put_table(after);
    until(|| site.generation() > after).await;
}

#[tokio::test(start_paused = true)]
async fn the_metric_tells_of_the_table_in_the_cluster_and_not_of_the_one_that_was_made_last() {
    let site = Site::new();
    let replica = site.lead("a").await;
    let before = site.generation().to_string();
    until(|| replica.metric("table_generation") == before).await;
    assert_eq!(replica.metric("table_outdated"), "0");
    site.server
        .fail(usize::MAX, Fault::Refused(403, "no"), |call| call.name == TABLE && call.writes());
    site.export("web");
    until(|| replica.metric("table_outdated") == "1").await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(
        (replica.metric("table_outdated"), replica.metric("table_generation")),
        ("1".to_owned(), before.clone())
    );
    site.server.mend();
    until(|| replica.metric("table_outdated") == "0").await;
    assert_eq!(replica.metric("table_generation"), site.generation().to_string());
    assert_ne!(replica.metric("table_generation"), before);
    site.server
        .fail(usize::MAX, Fault::Refused(403, "no"), |call| call.name == TABLE && call.writes());
    site.export("api");
    until(|| replica.metric("table_outdated") == "1").await;
    site.server.fail(usize::MAX, Fault::Swallowed, of_lease);
    until(|| replica.metric("table_outdated") == "0").await;
}

#[tokio::test(start_paused = true)]
async fn how_long_a_follower_differs_is_counted_anew_after_a_term_of_its_own() {
    let site = Site::new();
    site.lead("a").await.stop().await;
    site.new_root();
    let (client, settings) = (site.server.client_of("b"), Arc::new(flags(&[]).unwrap()));
    let (wakes, mut tasks, confirmations) =
        (Wakes::default(), Tasks::default(), Confirmations::default());
    let sources = Sources::start(&client, &settings, &wakes, &mut tasks);
    let outputs = Arc::new(Outputs::start(&client, &settings, &wakes, &mut tasks));
    let watched = Arc::clone(&outputs);
    let (election, leadership) =
        Election::new(&client, NAMESPACE, "b".to_owned(), confirmations.clone());
    let (updates, _learned) = mpsc::channel(1);
    let asking = (importer_settings(&settings, &site.identity, &Metrics::default()), updates);
    let published = Arc::<ArcSwap<Published>>::default();
    let outcomes = Outcomes {
        newest: watch::Sender::new(None),
        published: Arc::clone(&published),
        confirmations,
    };
    let (endpoint, presented) = (watch::channel(Credentials::default()).1, watch::channel(None).1);
    let certificates = Certificates { endpoint, presented };
    let identity = site.identity.clone();
    let mut replica = Replica::new(
        settings,
        identity,
        (sources, outputs),
        leadership.clone(),
        asking,
        outcomes,
        certificates,
    )
    .unwrap();
    while !replica.missing().is_empty() || !watched.missing().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    let at = |second| Timestamp::from_second(1_800_000_000_i64 + second).unwrap();
    assert_eq!(replica.compile(at(0)), Some(at(5)), "it waits for the leader to publish the same");
    let election = tokio::spawn(election.run(std::future::pending()));
    until(|| leadership.leads()).await;
    replica.compile(at(1));
    election.abort();
    until(|| !leadership.leads()).await;
    assert_eq!(replica.compile(at(60)), Some(at(65)), "as long as for any leader");
    assert!(published.load().public.is_none());
    replica.compile(at(65));
    assert!(
        published.load().public.is_some() && !site.table().is_null(),
        "it is set up differently"
    );
}
