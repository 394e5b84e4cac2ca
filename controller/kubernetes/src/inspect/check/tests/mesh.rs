//! Tests the checks of the mesh.

use super::{changed, facts, nothing, told};
use crate::inspect::check::facts::{AmbientClients, Facts};
use crate::inspect::check::{Outcome, Report, judge};
use crate::sample::Sample;
use fedgate_federation::bundle::{Root, roots_to_pem};
use serde_json::{Value, json};

fn config(path: &str, value: Value) -> Report {
    changed(nothing, |facts| {
        let config = facts.mesh.config.as_mut().unwrap();
        let (parent, field) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() {
            config
        } else {
            config.pointer_mut(&format!("/{parent}")).unwrap()
        };
        parent[field] = value;
    })
}

fn environment(name: &str, value: &str) -> Report {
    changed(nothing, |facts| {
        let istiods = facts.mesh.istiods.as_mut().unwrap();
        istiods[0].environment.insert(name.to_owned(), value.to_owned());
    })
}

fn older(facts: &mut Facts) {
    let pod = facts.pods.as_mut().unwrap().values_mut().next().unwrap();
    pod.proxy = Some("docker.io/istio/proxyv2:1.28.4".to_owned());
}

#[test]
fn an_older_istio_is_refused_with_what_it_takes() {
    let report = changed(nothing, older);
    told(
        &report,
        Outcome::Failed,
        "istio-version",
        &["Pod gateway-1", "1.28.4", "1.37", "upgrade to Istio 1.29"],
    );
    let old = "docker.io/istio/pilot:1.27.0".to_owned();
    let report = changed(nothing, |facts| facts.mesh.istiods.as_mut().unwrap()[0].image = old);
    told(&report, Outcome::Failed, "istio-version", &["Deployment istiod", "1.27.0"]);

    let just_new_enough = |facts: &mut Facts| {
        let pod = facts.pods.as_mut().unwrap().values_mut().next().unwrap();
        pod.proxy = Some("docker.io/istio/proxyv2:1.29.0".to_owned());
    };
    assert_eq!(changed(nothing, just_new_enough).count(Outcome::Failed), 0);
}

#[test]
fn what_cannot_be_read_is_skipped() {
    let report = changed(nothing, |facts| {
        facts.mesh.config = Err("you may not".to_owned());
        facts.mesh.istiods = Ok(Vec::new());
        facts.mesh.ambient = Err("you may not".to_owned());
        facts
            .pods
            .as_mut()
            .unwrap()
            .values_mut()
            .for_each(|pod| pod.proxy = Some("auto".to_owned()));
    });
    assert_eq!(
        (report.count(Outcome::Failed), report.count(Outcome::Skipped)),
        (0, 8),
        "{report:#?}"
    );
}

#[test]
fn the_meshs_configuration() {
    let differs = config("trustDomain", json!("other.example"));
    told(&differs, Outcome::Failed, "mesh-trust-domain", &["other.example", "alpha.example"]);
    let unset = config("trustDomain", Value::Null);
    told(&unset, Outcome::Failed, "mesh-trust-domain", &["cluster.local"]);
    let registry = config("outboundTrafficPolicy", json!({ "mode": "REGISTRY_ONLY" }));
    assert_eq!(registry.count(Outcome::Failed) + registry.count(Outcome::Warning), 0);
    let dns = config("defaultConfig/proxyMetadata", json!({}));
    told(
        &dns,
        Outcome::Warning,
        "dns-capture",
        &["ISTIO_META_DNS_CAPTURE", "restart the workloads"],
    );
    let addresses = environment("PILOT_ENABLE_IP_AUTOALLOCATE", "false");
    told(
        &addresses,
        Outcome::Warning,
        "dns-capture",
        &["no addresses", "PILOT_ENABLE_IP_AUTOALLOCATE"],
    );
    let filtered = environment("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "true");
    told(
        &filtered,
        Outcome::Failed,
        "gateway-clusters",
        &["no_route", "take PILOT_FILTER_GATEWAY_CLUSTER_CONFIG away"],
    );
    assert_eq!(
        environment("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "false").count(Outcome::Failed),
        0
    );
}

#[test]
fn ambient_clients_are_named_with_what_becomes_of_their_calls() {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let ambient = |namespaces: &[&str], pods: &[&str]| {
        let clients = AmbientClients::new(named(namespaces), named(pods));
        changed(nothing, |facts| facts.mesh.ambient = Ok(clients))
    };
    let words = [
        "the namespaces mail, web",
        "Pods in tools",
        "refuses their calls",
        "before a byte leaves",
        "sidecar",
    ];
    told(
        &ambient(&["web", "mail"], &["tools", "web"]),
        Outcome::Warning,
        "ambient-clients",
        &words,
    );
    told(
        &ambient(&[], &["tools"]),
        Outcome::Warning,
        "ambient-clients",
        &["in ambient mode: Pods in tools; "],
    );

    let mut found = facts(&Sample::healthy());
    found.mesh.ambient = Ok(AmbientClients::new(named(&["web"]), named(&[])));
    found.snapshot.as_mut().unwrap().in_force.federation.imports.clear();
    let line = judge(&found).sections.into_iter().flat_map(|section| section.checks);
    let line = line.into_iter().find(|check| check.name == "ambient-clients").unwrap();
    assert_eq!(
        (line.outcome, line.detail.as_str()),
        (Outcome::Ok, "in ambient mode: the namespaces web; there are no imports")
    );
}

#[test]
fn networks_that_hide_the_peers_gateways() {
    let multi = environment("AMBIENT_ENABLE_MULTI_NETWORK", "true");
    told(
        &multi,
        Outcome::Warning,
        "peers-network",
        &["AMBIENT_ENABLE_MULTI_NETWORK=true", "refused"],
    );
    let view = |networks: &str| {
        config("defaultConfig/proxyMetadata/ISTIO_META_REQUESTED_NETWORK_VIEW", json!(networks))
    };
    told(&view("one,two"), Outcome::Failed, "peers-network", &["one,two", "add fedgate.dev"]);
    assert_eq!(view("one,fedgate.dev").count(Outcome::Failed), 0);
}

#[test]
fn peers_roots_in_the_mesh_are_told_and_others_are_not() {
    let mut found = facts(&Sample::healthy());
    let bundles = &found.snapshot.as_ref().unwrap().in_force.federation.bundles;
    let beta = roots_to_pem(&bundles.values().next().unwrap().roots);
    found.mesh.config.as_mut().unwrap()["caCertificates"] = json!([{ "pem": beta }]);
    let words = ["meshConfig.caCertificates has those of beta", "of any other one"];
    told(&judge(&found), Outcome::Warning, "mesh-roots", &words);
    let named = json!([{ "pem": "", "trustDomains": ["beta.example"] }]);
    told(&config("caCertificates", named), Outcome::Warning, "mesh-roots", &words);
    let other = Root::from_der(&fedgate_exchange::loopback::TestCa::new().der()).unwrap();
    let other = roots_to_pem(&[other]);
    let others = json!([{ "pem": other, "trustDomains": ["other.example"] }]);
    assert_eq!(config("caCertificates", others).count(Outcome::Warning), 0);
}
