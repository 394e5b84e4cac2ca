//! Tests the checks of the mesh.

use super::{assert_only, changed, facts, found, nothing};
use crate::inspect::check::facts::{AmbientClients, Pod};
use crate::inspect::check::{CheckOutcome, Report, judge};
use crate::sample::Sample;
use crate::settings::Delivery;
use fedgate_federation::bundle::{Root, roots_to_pem};
use fedgate_federation::federate::{Imports, Published};
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

/// The report if the proxies of two gateway Pods have these images.
fn proxies(images: [Option<&str>; 2]) -> Report {
    changed(nothing, |facts| {
        let pods = facts.pods.as_mut().unwrap();
        let pod = pods["gateway-1"].clone();
        for (name, image) in ["gateway-1", "gateway-2"].into_iter().zip(images) {
            let proxy = image.map(|tag| format!("docker.io/istio/proxyv2:{tag}"));
            pods.insert(name.to_owned(), Pod { proxy, ..pod.clone() });
        }
    })
}

/// The report for a cluster that uses the Multi-Cluster Services API, with this variable of istiod.
fn with_mcs(exports: bool, imports: bool, variable: &str) -> Report {
    changed(nothing, |facts| {
        let record = &mut facts.snapshot.as_mut().unwrap().record;
        (record.mcs_exports, record.mcs_imports) = (exports, imports);
        let istiods = facts.mesh.istiods.as_mut().unwrap();
        istiods[0].environment.insert(variable.to_owned(), "true".to_owned());
    })
}

#[test]
fn an_istiod_that_uses_the_multi_cluster_services_api_itself_fails() {
    let [auto, host] = ["ENABLE_MCS_AUTO_EXPORT", "ENABLE_MCS_HOST"];
    for (exports, imports, variable) in [(true, false, auto), (false, true, host)] {
        let report = with_mcs(exports, imports, variable);
        assert_only(&report, CheckOutcome::Failed, "mcs-istiod", &["istiod", variable]);
        // The other direction does not concern it, and neither does a cluster without the API.
        let other = with_mcs(imports, exports, variable);
        assert_eq!(found(&other, "mcs-istiod").0, CheckOutcome::Ok);
        let unused = with_mcs(false, false, variable);
        let mut checks = unused.sections.iter().flat_map(|section| &section.checks);
        assert!(checks.all(|check| check.name != "mcs-istiod"));
    }
}

#[test]
fn istio_before_1_29_fails() {
    let report = proxies([Some("1.29.2"), Some("1.28.4")]);
    assert_only(
        &report,
        CheckOutcome::Failed,
        "istio-version",
        &["Pod gateway-2", "1.28.4", "1.37", "upgrade to Istio 1.29"],
    );
    let old = "docker.io/istio/pilot:1.27.0".to_owned();
    let report = changed(nothing, |facts| facts.mesh.istiods.as_mut().unwrap()[0].image = old);
    assert_only(&report, CheckOutcome::Failed, "istio-version", &["Deployment istiod", "1.27.0"]);
}

#[test]
fn a_gateway_of_istio_1_29_gets_a_warning_about_changed_roots() {
    let report = proxies([Some("1.30.2"), Some("1.29.2")]);
    assert_only(
        &report,
        CheckOutcome::Warning,
        "istio-version",
        &["Pod gateway-2", "1.29.2", "does not notice changed roots", "rollout restart"],
    );
    let unknown_too = proxies([None, Some("1.29.2")]);
    assert_eq!(found(&unknown_too, "istio-version").0, CheckOutcome::Warning);
    // istiod alone may still be 1.29: the gateway's Envoy counts.
    let report = proxies([Some("1.30.0"), Some("1.31.1")]);
    assert_eq!(found(&report, "istio-version"), (CheckOutcome::Ok, "1.30".to_owned()));
}

#[test]
fn the_native_filter_needs_istio_1_31() {
    let report = |proxy: &str, istiod: &str| {
        let native = |sample: &mut Sample| {
            sample.settings.namespaces.delivery = Delivery::DynamicModule;
            sample.write(&Published::default());
        };
        changed(native, |facts| {
            let image = format!("docker.io/istio/pilot:{istiod}");
            facts.mesh.istiods.as_mut().unwrap()[0].image = image;
            let pod = facts.pods.as_mut().unwrap().get_mut("gateway-1").unwrap();
            pod.proxy = Some(format!("docker.io/istio/proxyv2:{proxy}"));
        })
    };
    for (report, object) in [
        (report("1.30.2", "1.31.0"), "Pod gateway-1 has"),
        (report("1.31.0", "1.30.2"), "Deployment istiod has"),
    ] {
        let words = [object, "1.30.2", "native", "upgrade to Istio 1.31"];
        assert_only(&report, CheckOutcome::Failed, "istio-version", &words);
    }
    let new = report("1.31.0", "1.32-alpha.0");
    assert_eq!(found(&new, "istio-version"), (CheckOutcome::Ok, "1.31".to_owned()));
    // A proxy-wasm filter runs on both.
    let older = proxies([Some("1.30.0"), Some("1.30.0")]);
    assert_eq!(found(&older, "istio-version").0, CheckOutcome::Ok);
}

#[test]
fn a_gateway_of_unknown_release_is_skipped() {
    let unknown = |report: &Report, expected: &str| {
        let (outcome, detail) = found(report, "istio-version");
        assert!(outcome == CheckOutcome::Skipped && detail.contains(expected), "{detail}");
    };
    unknown(&proxies([Some("1.30.0"), Some("latest")]), "Pod gateway-2 has docker.io/istio");
    unknown(&proxies([Some("1.30.0"), None]), "Pod gateway-2 has no container istio-proxy");
    let unlisted = changed(nothing, |facts| facts.pods = Err("you may not list Pods".to_owned()));
    unknown(&unlisted, "you may not list Pods");
    unknown(&changed(nothing, |facts| facts.pods.as_mut().unwrap().clear()), "has no Pod");
}

#[test]
fn unreadable_facts_are_skipped() {
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
        (report.count(CheckOutcome::Failed), report.count(CheckOutcome::Skipped)),
        (0, 8),
        "{report:#?}"
    );
}

#[test]
fn the_meshs_configuration() {
    let differs = config("trustDomain", json!("other.example"));
    assert_only(
        &differs,
        CheckOutcome::Failed,
        "mesh-trust-domain",
        &["other.example", "alpha.example"],
    );
    let unset = config("trustDomain", Value::Null);
    assert_only(&unset, CheckOutcome::Failed, "mesh-trust-domain", &["cluster.local"]);
    let registry = config("outboundTrafficPolicy", json!({ "mode": "REGISTRY_ONLY" }));
    assert_eq!(registry.count(CheckOutcome::Failed) + registry.count(CheckOutcome::Warning), 0);
    let filtered = environment("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "true");
    assert_only(
        &filtered,
        CheckOutcome::Failed,
        "gateway-clusters",
        &["no_route", "remove PILOT_FILTER_GATEWAY_CLUSTER_CONFIG"],
    );
    assert_eq!(
        environment("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "false").count(CheckOutcome::Failed),
        0
    );
}

#[test]
fn ambient_clients_are_named_with_the_effect_on_their_calls() {
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
    assert_only(
        &ambient(&["web", "mail"], &["tools", "web"]),
        CheckOutcome::Warning,
        "ambient-clients",
        &words,
    );
    assert_only(
        &ambient(&[], &["tools"]),
        CheckOutcome::Warning,
        "ambient-clients",
        &["in ambient mode: Pods in tools; "],
    );

    let mut found = facts(&Sample::healthy());
    found.mesh.ambient = Ok(AmbientClients::new(named(&["web"]), named(&[])));
    found.snapshot.as_mut().unwrap().in_force.federation.imports = Imports::default();
    let line = judge(&found).sections.into_iter().flat_map(|section| section.checks);
    let line = line.into_iter().find(|check| check.name == "ambient-clients").unwrap();
    assert_eq!(
        (line.outcome, line.detail.as_str()),
        (CheckOutcome::Ok, "in ambient mode: the namespaces web; there are no imports")
    );
}

#[test]
fn networks_that_hide_the_peers_gateways_are_reported() {
    let multi = environment("AMBIENT_ENABLE_MULTI_NETWORK", "true");
    assert_only(
        &multi,
        CheckOutcome::Warning,
        "peers-network",
        &["AMBIENT_ENABLE_MULTI_NETWORK=true", "refused"],
    );
    let view = |networks: &str| {
        config("defaultConfig/proxyMetadata/ISTIO_META_REQUESTED_NETWORK_VIEW", json!(networks))
    };
    assert_only(
        &view("one,two"),
        CheckOutcome::Failed,
        "peers-network",
        &["one,two", "add fedgate.dev"],
    );
    assert_eq!(view("one,fedgate.dev").count(CheckOutcome::Failed), 0);
}

#[test]
fn only_peers_roots_in_the_mesh_are_reported() {
    let mut found = facts(&Sample::healthy());
    let bundles = &found.snapshot.as_ref().unwrap().in_force.federation.bundles;
    let beta = roots_to_pem(&bundles.values().next().unwrap().roots);
    found.mesh.config.as_mut().unwrap()["caCertificates"] = json!([{ "pem": beta }]);
    let words = ["meshConfig.caCertificates has those of beta", "any other trust domain"];
    assert_only(&judge(&found), CheckOutcome::Warning, "mesh-roots", &words);
    let named = json!([{ "pem": "", "trustDomains": ["beta.example"] }]);
    assert_only(&config("caCertificates", named), CheckOutcome::Warning, "mesh-roots", &words);
    let other = Root::from_der(&fedgate_exchange::loopback::TestCa::new().der()).unwrap();
    let other = roots_to_pem(&[other]);
    let others = json!([{ "pem": other, "trustDomains": ["other.example"] }]);
    assert_eq!(config("caCertificates", others).count(CheckOutcome::Warning), 0);
}
