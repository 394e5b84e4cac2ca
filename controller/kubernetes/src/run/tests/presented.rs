//! Tests the findings about the certificates that the gateway's Pods present. The Pods are TLS
//! servers on loopback, so the clock is the machine's.

use super::*;
use fedgate_exchange::loopback::{Leaf, Server};
use fedgate_federation::{Finding, FindingReason as Reason, Severity};
use jiff::SignedDuration;

const OURS: &str = "spiffe://alpha.example/ns/fedgate-system/sa/fedgate-gateway";
const THEIRS: &str = "spiffe://other.example/ns/fedgate-system/sa/fedgate-gateway";

/// This many hours from now.
fn hours(count: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(count)
}

/// A certificate for a day, as istiod signs it.
fn good(ca: &TestCa) -> Leaf {
    ca.workload(&[OURS], hours(-1), hours(23))
}

/// A site whose gateway has Pods.
struct Gateway {
    site: Site,
    ca: TestCa,
    port: u16,
    servers: Vec<Server>,
}

impl Gateway {
    /// The Pods `gateway-1`, `gateway-2` and so on.
    async fn showing(ca: TestCa, leaves: &[Leaf]) -> Self {
        let site = Site::new();
        site.put_root(&ca);
        let mut gateway = Self { site, ca, port: 0, servers: Vec::new() };
        for leaf in leaves {
            gateway.add(leaf).await;
        }
        gateway
    }

    async fn add(&mut self, leaf: &Leaf) {
        let number = self.servers.len() + 1;
        let ip = format!("127.0.0.{number}");
        let server = Server::of_pod(&format!("{ip}:{}", self.port), leaf).await;
        self.port = server.address.port();
        self.servers.push(server);
        let metadata = json!({ "namespace": NAMESPACE, "name": format!("gateway-{number}"), "labels": { "istio": "fedgate" } });
        let status = json!({ "podIP": ip, "conditions": [{ "type": "Ready", "status": "True" }] });
        let spec = json!({ "nodeName": format!("node-{number}"), "containers": [] });
        self.site
            .server
            .put(Kind::Pod, json!({ "metadata": metadata, "spec": spec, "status": status }));
    }

    fn start(&self, name: &'static str) -> Running {
        let mut parts = self.site.parts(name);
        Arc::make_mut(&mut parts.settings).gateway.port = self.port;
        Site::start_of(parts)
    }

    /// The command line's findings about the Pods, from what the leader stored.
    fn findings(&self) -> Vec<Finding> {
        let credentials = self.credentials().unwrap_or_default();
        let findings = credentials.findings(Timestamp::now()).into_iter();
        findings.filter(|finding| finding.object.kind == "Pod").collect()
    }

    fn credentials(&self) -> Option<Credentials> {
        let state = self.site.server.get(Kind::ConfigMap, NAMESPACE, STATE)?;
        let record: Value = serde_json::from_str(state["data"]["cluster.json"].as_str()?).ok()?;
        serde_json::from_value(record["credentials"].clone()).ok()
    }

    /// How many leaves the leader has stored.
    fn leaves(&self) -> usize {
        self.credentials().map_or(0, |credentials| credentials.of_pods().validities.len())
    }

    fn has(&self, pod: &str, reason: Reason) -> bool {
        self.findings().iter().any(|finding| finding.object.name == pod && finding.reason == reason)
    }
}

fn expiration(replica: &Running) -> String {
    replica.metric(&format!(
        "certificate_expiration_timestamp_seconds{{certificate=\"leaf\",name=\"{OURS}\"}}"
    ))
}

#[tokio::test]
async fn a_good_gateway_has_a_metric_and_no_finding() {
    let ca = TestCa::new();
    let (sooner, later) = (hours(22), hours(23));
    let leaves = [sooner, later].map(|end| ca.workload(&[OURS], hours(-1), end));
    let mut gateway = Gateway::showing(ca, &leaves).await;
    let replica = gateway.start("a");
    until(|| gateway.leaves() == 2).await;
    assert_eq!(gateway.findings(), []);
    until(|| expiration(&replica) == sooner.as_second().to_string()).await;
    assert_eq!(replica.metric("findings{severity=\"error\"}"), "0");
    // The twin: another Pod, with an expired certificate.
    let expired = gateway.ca.workload(&[OURS], hours(-24), hours(-1));
    gateway.add(&expired).await;
    until(|| gateway.has("gateway-3", Reason::CertificateExpired)).await;
    until(|| !replica.metric("findings{severity=\"error\"}").starts_with('0')).await;
}

#[tokio::test]
async fn each_bad_certificate_is_a_finding_about_its_pod() {
    let ca = TestCa::new();
    let leaves = [
        good(&ca),
        ca.workload(&[OURS], hours(-24), hours(-1)),
        ca.workload(&[OURS], hours(-23), hours(1)),
        ca.workload(&[OURS], hours(1), hours(24)),
        ca.workload(&[THEIRS], hours(-1), hours(23)),
        good(&TestCa::new()),
        ca.workload(&[OURS, THEIRS], hours(-1), hours(23)),
    ];
    let gateway = Gateway::showing(ca, &leaves).await;
    let _replica = gateway.start("a");
    until(|| gateway.leaves() == leaves.len()).await;
    let (error, warning) = (Severity::Error, Severity::Warning);
    let mut found: Vec<_> = gateway
        .findings()
        .into_iter()
        .map(|finding| (finding.object.name, finding.reason, finding.severity))
        .collect();
    found.sort();
    let expected = [
        ("gateway-2", Reason::CertificateExpired, error),
        ("gateway-3", Reason::CertificateEndsSoon, warning),
        ("gateway-4", Reason::CertificateNotYetValid, error),
        ("gateway-5", Reason::InvalidCertificate, error),
        ("gateway-6", Reason::UntrustedCertificate, error),
        ("gateway-7", Reason::InvalidCertificate, error),
    ];
    assert_eq!(found, expected.map(|(pod, reason, severity)| (pod.to_owned(), reason, severity)));
}

#[tokio::test]
async fn a_changed_root_is_a_finding_until_the_certificate_matches() {
    let gateway = Gateway::showing(TestCa::new(), &[]).await;
    let leaf = good(&gateway.ca);
    let mut gateway = gateway;
    gateway.add(&leaf).await;
    let _replica = gateway.start("a");
    until(|| gateway.leaves() == 1).await;
    assert_eq!(gateway.findings(), []);
    gateway.site.new_root();
    until(|| gateway.has("gateway-1", Reason::UntrustedCertificate)).await;
    gateway.site.put_root(&gateway.ca);
    until(|| gateway.findings().is_empty()).await;
    assert_eq!(gateway.leaves(), 1, "it is not forgotten");
}

#[tokio::test]
async fn a_new_leader_continues_from_the_stored_certificates() {
    let ca = TestCa::new();
    let expired = ca.workload(&[OURS], hours(-24), hours(-1));
    let mut gateway = Gateway::showing(ca, &[expired]).await;
    let (first, second) = (gateway.start("a"), gateway.start("b"));
    second.until_ready().await;
    until(|| gateway.has("gateway-1", Reason::CertificateExpired)).await;
    assert_eq!(expiration(&second), "", "a replica that does not lead shows nothing");
    // No Pod answers now.
    gateway.servers.clear();
    first.stop().await;
    while !gateway.site.holder().await.starts_with("b_") {
        sleep(Duration::from_millis(20)).await;
    }
    until(|| !expiration(&second).is_empty()).await;
    assert!(gateway.has("gateway-1", Reason::CertificateExpired));
}
