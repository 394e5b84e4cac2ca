//! Pods of a headless Service, called by their own names.

use crate::fixture::Gateway;
use anyhow::{Result, ensure};
use fedgate_e2e::backend::{Backend, identity};
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::databases::{self, broker, replica};
use fedgate_e2e::federation::Federation;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::stateful_set::{Member, StatefulSet};
use fedgate_e2e::wait::{self, SOON};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const BETA: &str = "beta.example";

/// How long it may take until a Pod that comes or goes has its row at the gateway.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A StatefulSet `db` in beta whose Pods say who they are.
struct Db {
    set: StatefulSet,
    pods: Vec<Backend>,
}

impl Db {
    async fn start(count: usize) -> Result<Self> {
        let mut pods = Vec::new();
        for number in 0..count {
            pods.push(Backend::http(&format!("db-{number}"), "beta").await?);
        }
        let set = StatefulSet::new("db", "http", 5432).with_pods(pods.iter().map(Backend::address));
        Ok(Self { set, pods })
    }

    fn put(&self, beta: &Cluster) -> Result<()> {
        beta.put_manifest(&self.set.file(), &self.set.yaml())
    }

    fn host(&self, pod: usize) -> String {
        self.set.pod_host(pod, BETA)
    }

    /// Calls a host at beta's gateway; returns what answers.
    async fn call(&self, client: &Client, beta: &Cluster, host: &str) -> Result<String> {
        let sni = format!("outbound_.5432_._.{host}");
        Ok(client.get(beta.gateway_address(), &sni, host).await?.body)
    }

    async fn wait_answer(&self, client: &Client, beta: &Cluster, pod: usize) -> Result<()> {
        let (host, expected) = (self.host(pod), identity(&format!("db-{pod}"), "beta"));
        wait::until_true(&format!("{host} to answer"), SOON, async || {
            Ok(self.call(client, beta, &host).await? == expected)
        })
        .await
    }

    /// Checks that the gateway refuses a Pod's name for this reason, before its back end sees
    /// anything.
    async fn refuses(
        &self,
        client: &Client,
        beta: &Cluster,
        pod: usize,
        reason: &str,
    ) -> Result<()> {
        let host = self.host(pod);
        let refused = async || {
            let answer = self.call(client, beta, &host).await;
            ensure!(answer.is_err(), "{answer:?}");
            Ok(())
        };
        beta.access_log()?.call_until(reason, refused).await?;
        // Each worker thread of the gateway takes a table by itself.
        wait::until(&format!("{host} to be refused"), SOON, async || {
            let before = self.pods[pod].connections();
            for _ in 0..5 {
                refused().await?;
            }
            ensure!(self.pods[pod].connections() == before, "the Pod was reached");
            Ok(Some(()))
        })
        .await
    }
}

#[test]
fn a_pod_is_reached_exactly_as_its_service_is() {
    scenario("pods-granted", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let (alpha, gamma, beta) = (&gateway.alpha_client, &gateway.gamma_client, gateway.beta());
        let mut db = Db::start(2).await?;

        // Its owner does not ask for the Pods: their names are unknown, the Service is reached.
        db.set.by_name = None;
        db.put(beta)?;
        let host = db.set.host(BETA);
        let service = async || Ok(db.call(alpha, beta, &host).await?.starts_with("this is db-"));
        wait::until_true("the Service to answer", SOON, service).await?;
        db.refuses(alpha, beta, 0, "unknown_service").await?;

        // The owner asks for them, for all peers, and then for alpha alone.
        db.set.by_name = Some("true".into());
        db.put(beta)?;
        for pod in [0, 1] {
            db.wait_answer(alpha, beta, pod).await?;
            db.wait_answer(gamma, beta, pod).await?;
        }
        db.set.peers = Some("alpha".into());
        db.put(beta)?;
        db.refuses(gamma, beta, 0, "not_granted").await?;
        db.wait_answer(alpha, beta, 0).await?;
        db.set.peers = None;
        db.put(beta)?;
        db.wait_answer(gamma, beta, 0).await?;

        // An administrator's policy for the Service's port and callers is one for its Pods.
        beta.put_policy("p", r#"{"peers": ["gamma"], "callers": [{"namespace": "nowhere"}]}"#)?;
        db.refuses(gamma, beta, 1, "caller_not_granted").await?;
        db.wait_answer(alpha, beta, 1).await?;
        beta.put_policy(
            "p",
            r#"{"peers": ["gamma"], "services": [{"namespaces": ["other"]}], "mode": "Audit"}"#,
        )?;
        let answered = async || db.call(gamma, beta, &db.host(1)).await.map(drop);
        let entry = beta.access_log()?.call_until("not_granted", answered).await?;
        ensure!(entry.peer.as_deref() == Some("gamma"), "audited, and let through: {entry:?}");

        // The label goes, and the Pods with it.
        beta.remove_manifest("policy-p.yaml")?;
        db.set.exported = false;
        db.put(beta)?;
        db.refuses(alpha, beta, 0, "unknown_service").await
    });
}

#[test]
fn pods_come_and_go_and_the_service_stays() {
    scenario("pods-rolling", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let (alpha, beta) = (&gateway.alpha_client, gateway.beta());
        let mut db = Db::start(3).await?;
        db.put(beta)?;
        db.wait_answer(alpha, beta, 2).await?;
        let members = db.set.pods.clone();
        let host = db.set.host(BETA);
        // A Pod goes, and returns at another address, as in a rolling update.
        for pod in (0..3).rev() {
            db.set.pods.remove(pod);
            db.put(beta)?;
            let began = Instant::now();
            db.refuses(alpha, beta, pod, "unknown_service").await?;
            ensure!(began.elapsed() < AT_ONCE, "it took {:?} to go", began.elapsed());
            ensure!(db.call(alpha, beta, &host).await.is_ok(), "the Service flapped");

            db.pods[pod] = Backend::http(&format!("db-{pod}"), "beta").await?;
            let name = format!("db-{pod}");
            db.set.pods.insert(pod, Member::new(&name, db.pods[pod].address()));
            db.put(beta)?;
            let began = Instant::now();
            db.wait_answer(alpha, beta, pod).await?;
            ensure!(began.elapsed() < AT_ONCE, "it took {:?} to come", began.elapsed());
        }
        ensure!(db.set.pods.iter().zip(&members).all(|(now, then)| now.address != then.address));

        // A Pod that is not ready keeps its name, and its calls fail.
        db.set.pods[0].ready = false;
        db.put(beta)?;
        let fails = async || Ok(db.call(alpha, beta, &db.host(0)).await.is_err());
        wait::until_true("db-0 to be left out", SOON, fails).await?;
        let fails = async || {
            let answer = db.call(alpha, beta, &db.host(0)).await;
            ensure!(answer.is_err(), "{answer:?}");
            Ok(())
        };
        beta.access_log()?.call_until("granted", fails).await?;
        ensure!(db.call(alpha, beta, &host).await.is_ok());
        db.set.pods[0].ready = true;
        db.put(beta)?;
        db.wait_answer(alpha, beta, 0).await
    });
}

/// The local port of an import in alpha.
async fn port_of(alpha: &Cluster, host: &str, port: u16) -> Result<SocketAddr> {
    alpha.wait_import(&format!("{host}:{port}")).await
}

async fn socket() -> Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}

/// Two complete clusters; beta has these StatefulSets.
async fn pair(run: &RunFolder, sets: &[&StatefulSet]) -> Result<Federation<2>> {
    let mut federation = Federation::new(run, ["alpha", "beta"])?;
    for set in sets {
        federation.clusters[1].put_manifest(&set.file(), &set.yaml())?;
    }
    federation.start().await?;
    Ok(federation)
}

/// A client that asks any broker who leads, and then calls the name that it was told. Each name has
/// a port of its own in files mode, so a client needs a mapping from names to ports; this test's
/// asks `fedgate status` for it.
#[test]
fn a_client_of_brokers_follows_their_advertised_names() {
    scenario("pods-brokers", async |run: &RunFolder| {
        let set = StatefulSet::new("kafka", "tcp-kafka", 9092);
        let leader = format!("{}:9092", set.pod_host(1, BETA));
        let brokers = [
            broker(socket().await?, "kafka-0", &leader)?,
            broker(socket().await?, "kafka-1", &leader)?,
            broker(socket().await?, "kafka-2", &leader)?,
        ];
        let set = set.with_pods(brokers.each_ref().map(|broker| broker.address()));
        let federation = pair(run, &[&set]).await?;
        let alpha = &federation.clusters[0];
        // The bootstrap server is the Service: any broker.
        let bootstrap = port_of(alpha, &set.host(BETA), 9092).await?;
        let told = async || databases::leader(bootstrap).await.map(Some);
        let (host, port) = wait::until("a broker to answer", SOON, told).await?;
        ensure!((host.as_str(), port) == (set.pod_host(1, BETA).as_str(), 9092), "{host}:{port}");
        let by = databases::store(port_of(alpha, &host, port).await?, "order-1").await?;
        ensure!(by == "kafka-1");
        // The counterpart: another Pod's name leads to another broker, which does not lead.
        let other = port_of(alpha, &set.pod_host(0, BETA), 9092).await?;
        let refused = databases::store(other, "order-2").await.unwrap_err().to_string();
        ensure!(refused.contains("NOT_LEADER"), "{refused}");
        Ok(())
    });
}

/// A client with several hosts in its connection string looks for the server that takes writes.
#[test]
fn a_client_of_databases_finds_the_primary() {
    scenario("pods-primary", async |run: &RunFolder| {
        let servers = [
            replica(socket().await?, "pg-0", true)?,
            replica(socket().await?, "pg-1", true)?,
            replica(socket().await?, "pg-2", false)?,
        ];
        let mut set = StatefulSet::new("pg", "tcp-postgresql", 5432)
            .with_pods(servers.each_ref().map(|server| server.address()));
        let federation = pair(run, &[&set]).await?;
        let [alpha, beta] = &federation.clusters;
        let primary = async |set: &StatefulSet| -> Result<Option<String>> {
            for number in 0..3 {
                let host = set.pod_host(number, BETA);
                let server = port_of(alpha, &host, 5432).await?;
                // A server that does not answer is passed over, as libpq does.
                if let Ok(Some(name)) = databases::read_write(server).await {
                    return Ok(Some(name));
                }
            }
            Ok(None)
        };
        let found = wait::until("a primary", SOON, async || primary(&set).await).await?;
        ensure!(found == "pg-2", "{found}");

        // pg-0 takes over, and pg-2 is gone.
        let promoted = replica(socket().await?, "pg-0", false)?;
        set.pods[0] = Member::new("pg-0", promoted.address());
        set.pods.truncate(2);
        beta.put_manifest(&set.file(), &set.yaml())?;
        wait::until_true("the new primary", SOON, async || {
            Ok(databases::read_write(port_of(alpha, &set.pod_host(0, BETA), 5432).await?)
                .await?
                .is_some_and(|name| name == "pg-0"))
        })
        .await?;
        alpha.wait_no_import(&format!("{}:5432", set.pod_host(2, BETA))).await
    });
}

#[test]
fn more_pods_than_are_offered_are_reported_and_the_first_ones_work() {
    scenario("pods-limit", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let (alpha, beta) = (&gateway.alpha_client, gateway.beta());
        let mut db = Db::start(130).await?;
        db.put(beta)?;
        let finding = beta.wait_finding("pods_left_out").await?;
        ensure!(finding.message.starts_with("left out db-128, db-129: "), "{finding:?}");
        for pod in [0, 127] {
            db.wait_answer(alpha, beta, pod).await?;
        }
        db.refuses(alpha, beta, 128, "unknown_service").await?;
        // One of them goes, and the next takes its place.
        db.set.pods.remove(5);
        db.put(beta)?;
        db.wait_answer(alpha, beta, 128).await?;
        db.refuses(alpha, beta, 129, "unknown_service").await
    });
}
