//! Tests whole replicas on the fake API server: election, watches, compilations, writes. This file
//! has the cluster and the replicas; the modules have the tests, by subject.

mod changes;
mod ending;
mod leading;
mod presented;
mod restore;
mod table;
mod traces;
mod writes;

use super::replica_loop::{Parts, ReplicaLoop};
use crate::api::kind::Kind;
use crate::fake::{Call, FakeApi, Fault, Verb};
use crate::identity::{ClusterIdentity, SECRET};
use crate::leader::election::LEASE;
use crate::metrics::Metrics as OwnMetrics;
use crate::probes::Health;
use crate::sample::NAMESPACE;
use crate::settings::tests::read as flags;
use crate::sinks::gateway::TABLE;
use crate::sinks::table::InObject;
use crate::sources::memory::STATE;
use fedgate_core::{Options, Table, TableBuilder, write_configuration};
use fedgate_engine::metrics::Metrics;
use fedgate_exchange::exporter::Published;
use fedgate_exchange::keyring::Keyring;
use fedgate_exchange::loopback::{TestCa, identity};
use fedgate_federation::bundle::{Root, roots_to_pem};
use fedgate_federation::credentials::Credentials;
use fedgate_federation::object::PUBLIC_SERVICE_LABEL;
use fedgate_trace::Tracer;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
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
                keys: own.key.into(),
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
            "authn.key": base64(&self.identity.keys.current.to_pem()), "cluster-uuid": base64(self.identity.cluster_uuid.as_str()),
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
            keyring: Keyring::new(self.identity.keys.clone()),
            identity: self.identity.clone(),
            endpoint: watch::channel(Credentials::default()).1,
            module: None,
            published: watch::Sender::default(),
            health: Health::default(),
            metrics: Metrics::default(),
            own_metrics: OwnMetrics::default(),
            tracer: Tracer::default(),
        }
    }

    fn start(&self, name: &'static str) -> Running {
        Self::start_of(self.parts(name))
    }

    fn start_of(parts: Parts) -> Running {
        let (health, published, metrics) =
            (parts.health.clone(), parts.published.clone(), parts.metrics.clone());
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
    published: watch::Sender<Arc<Published>>,
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
            .borrow()
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
