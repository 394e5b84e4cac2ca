//! Health checks of the members of federated names.

use crate::federated::object;
use crate::rig::{Rig, found, the};
use fedgate_federation::federate::{Federation, HealthCheck, HealthProbe};
use fedgate_federation::{FindingReason, Severity};
use serde_json::{Value, json};
use std::time::Duration;

/// A rig with one name for each health check, in order of name: `a`, `b`, ... Their only port has
/// this name, and they lead to this cluster's `web`, then to beta's.
fn checked(port: &str, checks: &[Value]) -> Rig {
    let mut rig = Rig::new();
    for (name, check) in ["a", "b", "c"].iter().zip(checks) {
        let mut spec = json!({
            "ports": [{"name": port, "port": 80}],
            "members": [{"local": {}}, {"peers": ["beta"]}],
        });
        for member in spec["members"].as_array_mut().unwrap() {
            member["service"] = json!({"name": "web"});
        }
        if !check.is_null() {
            spec["ports"][0]["healthCheck"] = check.clone();
        }
        rig.objects.federated_services.push(object("shop", name, &spec));
    }
    rig
}

/// The checks of the first name's members.
fn checks(federation: &Federation) -> Vec<Option<HealthCheck>> {
    let port = federation.federated_services.first().unwrap().ports.first().unwrap();
    port.members.iter().map(|member| member.check.clone()).collect()
}

fn check_of(port: &str, check: Value) -> String {
    let federation = checked(port, &[check]).federate();
    checks(&federation).pop().flatten().unwrap().to_string()
}

#[test]
fn peers_are_checked_and_this_clusters_own_service_is_not() {
    let federation = checked("http", &[json!({"path": "/healthz"})]).federate();
    let probe = HealthProbe::Http { path: "/healthz".to_owned(), http2: false };
    let expected = HealthCheck { probe, interval: Duration::from_millis(500) };
    assert_eq!(checks(&federation), [None, Some(expected)]);
    let without = checked("http", &[Value::Null]).federate();
    assert_eq!(checks(&without), [None, None]);
}

#[test]
fn a_check_is_described_in_one_line() {
    let http = json!({"path": "/ready?full=1", "interval": "2s"});
    assert_eq!(check_of("http", http), "GET /ready?full=1 every 2s");
    let tcp = json!({"tcp": {"send": "PING\r\n", "expect": "PONG"}, "interval": "1m"});
    assert_eq!(check_of("tcp-redis", tcp), r#""PONG" over TCP every 1m"#);
}

#[test]
fn http2_is_spoken_where_the_port_says_so() {
    let federation = checked("grpc", &[json!({"path": "/healthz"})]).federate();
    let check = checks(&federation).pop().flatten().unwrap();
    assert!(matches!(check.probe, HealthProbe::Http { http2: true, .. }), "{check:?}");
}

#[test]
fn an_invalid_check_keeps_its_object_out_of_force() {
    let tcp = |send: Value, expect: &str| json!({"tcp": {"send": send, "expect": expect}});
    let long = "x".repeat(257);
    for (port, check, field) in [
        ("http", json!({}), ""),
        ("http", json!({"path": "/", "tcp": {"expect": "x"}}), ""),
        ("https", json!({"path": "/"}), ""),
        ("http", json!({"path": "healthz"}), ".path"),
        ("http", json!({"path": "/a b"}), ".path"),
        ("http", json!({"path": "/a\r\nHost: x"}), ".path"),
        ("http", json!({"path": format!("/{long}")}), ".path"),
        ("http", json!({"path": "/", "interval": "499ms"}), ".interval"),
        ("http", json!({"path": "/", "interval": "61s"}), ".interval"),
        ("http", json!({"path": "/", "interval": "-1s"}), ".interval"),
        ("http", json!({"path": "/", "interval": "5"}), ".interval"),
        ("tcp", tcp(json!("PING"), ""), ".tcp.expect"),
        ("tcp", tcp(json!("PING"), &long), ".tcp.expect"),
        ("tcp", tcp(json!(""), "PONG"), ".tcp.send"),
    ] {
        let rig = checked(port, &[check.clone(), json!(null)]);
        let federation = rig.federate();
        let finding = the(&federation.findings, FindingReason::InvalidHealthCheck);
        let expected = format!("spec.ports[0].healthCheck{field}");
        assert_eq!(finding.field.as_deref(), Some(expected.as_str()), "{check}");
        assert_eq!(finding.severity, Severity::Error, "{check}");
        let names: Vec<_> =
            federation.federated_services.iter().map(|name| name.name.as_str()).collect();
        assert_eq!(names, ["b"], "{check}");
    }
}

/// Callers have one cluster for a member, whatever the name is that they call.
#[test]
fn names_with_the_same_member_share_its_check() {
    let same = [Value::Null, json!({"path": "/x"}), json!({"path": "/x"})];
    let federation = checked("http", &same).federate();
    assert_eq!(checks(&federation)[1].as_ref().unwrap().to_string(), "GET /x every 500ms");
    assert_eq!(found(&federation.findings, FindingReason::InvalidHealthCheck).len(), 0);

    let other = [json!({"path": "/x"}), json!({"path": "/y"})];
    let federation = checked("http", &other).federate();
    for name in &federation.federated_services {
        let check = name.ports[0].members[1].check.as_ref().unwrap();
        assert_eq!(check.to_string(), "GET /x every 500ms");
    }
    let finding = the(&federation.findings, FindingReason::InvalidHealthCheck);
    assert_eq!((finding.severity, finding.object.name.as_str()), (Severity::Warning, "b"));
    assert!(finding.message.contains("FederatedService shop/a"), "{finding}");
}
