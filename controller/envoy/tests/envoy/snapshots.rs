//! Snapshots of the files of a small case, and what does not change them.

use super::world::service;
use fedgate_core::{
    Callers, Grant, Mode, Options, Peer, PeerName, ServiceName, ServicePort, Table, TableBuilder,
    TrustDomain,
};
use fedgate_envoy::{
    AccessLog, Connections, EgressInputs, EnvoyFiles, File, FilePath, FilterKind, FilterModule,
    GatewayInputs, Identity,
};
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::document::{GatewayAddress, GatewayHost, WorkloadIdentity};
use fedgate_federation::federate::{
    FederatedMember, FederatedPort, FederatedService, Gateway, HealthCheck, HealthProbe, Import,
    MemberPlace, MemberState, PassedOver, ProbeTarget, Protocol, ServerIdentity,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const WEB: &str = "web.shop.svc.alpha.example:80";

fn path(text: &str) -> FilePath {
    FilePath::new(Path::new(text)).unwrap()
}

/// One identity for all tests of a run.
fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        super::pki::Authority::new("alpha.example")
            .workload("ns/istio-system/sa/gateway")
            .identity()
    })
}

fn trust_domain(text: &str) -> TrustDomain {
    TrustDomain::parse(text).unwrap()
}

fn table(exports: &BTreeMap<ServiceName, BTreeSet<std::net::SocketAddr>>) -> Table {
    let mut builder = TableBuilder::new(trust_domain("alpha.example"));
    let name = PeerName::parse("beta").unwrap();
    let peer = builder
        .peer(Peer { name, trust_domain: trust_domain("beta.example"), mode: Mode::Enforce })
        .unwrap();
    for service in exports.keys() {
        builder.export(service.clone(), vec![Grant { peer, callers: Callers::Any }]).unwrap();
    }
    Table::read(builder.build(7).unwrap()).unwrap()
}

fn gateway(exports: &[(&str, &[&str])], bundles: &BTreeMap<TrustDomain, TrustBundle>) -> Vec<File> {
    let endpoints = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let exports = exports.iter().map(|(name, list)| (service(name), endpoints(list))).collect();
    EnvoyFiles::new(Path::new("/var/lib/alpha/envoy")).unwrap().gateway(&GatewayInputs {
        proxy_protocol: false,
        quiet: Default::default(),
        trust_domain: &trust_domain("alpha.example"),
        listen: "[::]:15443".parse().unwrap(),
        admin: "127.0.0.1:15000".parse().unwrap(),
        identity: identity(),
        local_roots: &[],
        bundles,
        table: &table(&exports),
        exports: &exports,
        health: None,
        options: Options::default(),
        module: &FilterModule::new(FilterKind::ProxyWasm, *b"module"),
        access_log: &AccessLog::File(path("/var/log/alpha/gateway.log")),
        connections: Connections(10_000),
    })
}

fn import(name: &str, gateways: &[&str], server: ServerIdentity) -> Import {
    let gateway = |host: &&str| Gateway {
        locality: None,
        announced: GatewayAddress {
            address: GatewayHost::parse(host).unwrap(),
            port: ServicePort::new(15_443).unwrap(),
        },
        addresses: vec![SocketAddr::new(host.parse().unwrap(), 15_443)],
    };
    Import {
        peer: PeerName::parse("beta").unwrap(),
        trust_domain: trust_domain("beta.example"),
        service: service(name),
        port_name: "http".into(),
        protocol: Protocol::Http,
        gateways: gateways.iter().map(gateway).collect(),
        passthrough: false,
        server: Arc::new(server),
    }
}

fn egress(imports: &[Import], bundles: &BTreeMap<TrustDomain, TrustBundle>) -> Vec<File> {
    egress_with(imports, bundles, &[])
}

/// Also with federated names. beta's gateways answer its health name, and `web` has one workload
/// here.
fn egress_with(
    imports: &[Import],
    bundles: &BTreeMap<TrustDomain, TrustBundle>,
    federated: &[FederatedService],
) -> Vec<File> {
    let names = federated.iter().flat_map(|name| &name.ports).map(|port| &port.service);
    let names = imports.iter().map(|import| &import.service).chain(names);
    let ports = (15_001..).zip(names).map(|(port, name)| (name.clone(), port)).collect();
    let endpoints = BTreeMap::from([(service(WEB), ["10.0.0.1:8080".parse().unwrap()].into())]);
    let target = |import: &Import| {
        let target = ProbeTarget {
            service: Some(service("health.d8-istio.svc.beta.example:80")),
            health: true,
            acknowledges: None,
            gateways: Arc::clone(&import.gateways),
            server: Arc::clone(&import.server),
            bundle: bundles.get(&import.trust_domain)?.clone(),
        };
        Some((import.peer.clone(), target))
    };
    let targets = imports.iter().filter_map(target).collect();
    EnvoyFiles::new(Path::new("/var/lib/alpha/envoy")).unwrap().egress(&EgressInputs {
        quiet: Default::default(),
        locality: None,
        trust_domain: &trust_domain("alpha.example"),
        listen: "127.0.0.1".parse().unwrap(),
        admin: "127.0.0.1:15010".parse().unwrap(),
        identity: identity(),
        imports: &imports.iter().cloned().collect(),
        ports: &ports,
        names: fedgate_envoy::EgressNames::default(),
        federated,
        endpoints: &endpoints,
        probe_targets: &targets,
        bundles,
        access_log: &AccessLog::Stdout,
        connections: Connections::default(),
    })
}

fn bundles() -> BTreeMap<TrustDomain, TrustBundle> {
    let bundle = super::pki::Authority::new("beta.example").bundle();
    BTreeMap::from([(bundle.trust_domain.clone(), bundle)])
}

fn json(files: &[File], path: &str) -> Value {
    serde_json::from_slice(&find(files, path).contents).unwrap()
}

fn find<'a>(files: &'a [File], path: &str) -> &'a File {
    files.iter().find(|file| file.path == path).unwrap()
}

fn snapshot(name: &str, value: Value) {
    insta::with_settings!({ sort_maps => true, prepend_module_to_snapshot => false }, {
        insta::assert_json_snapshot!(name, value);
    });
}

/// Keys are made at run time, so the snapshots leave out everything made from them.
fn without_keys(mut value: Value) -> Value {
    hide(&mut value);
    value
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(bytes) = fields.get_mut("inline_bytes") {
                *bytes = "the bytes".into();
            }
            fields.values_mut().for_each(hide);
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::String(text) if text.contains("x5c") => *text = "the roots".into(),
        _ => {}
    }
}

/// The tests of `fedgate-core` cover the table's own format.
fn without_table(mut value: Value) -> Value {
    let configuration =
        value.pointer_mut("/resources/0/typed_config/config/configuration/value").unwrap();
    let mut header: Value = serde_json::from_str(configuration.as_str().unwrap()).unwrap();
    for (key, text) in [("table", "the table"), ("contentHash", "its hash")] {
        header[key] = text.into();
    }
    *configuration = header;
    value
}

#[test]
fn gateway_files() {
    let files =
        gateway(&[(WEB, &["10.0.0.2:8080", "10.0.0.1:8080", "[fd00::1]:8080"])], &bundles());
    for name in ["bootstrap", "lds", "cds", "identity"] {
        snapshot(
            &format!("gateway_{name}"),
            without_keys(json(&files, &format!("gateway/{name}.json"))),
        );
    }
    snapshot("gateway_filter", without_table(json(&files, "gateway/filter/filter.json")));
}

#[test]
fn egress_files() {
    let identity = |text: &str| WorkloadIdentity::parse(text).unwrap();
    let exactly =
        ServerIdentity::Exactly(vec![identity("spiffe://beta.example/ns/istio-system/sa/gateway")]);
    let web =
        import("web.shop.svc.beta.example:80", &["192.0.2.1", "2001:db8::1"], exactly.clone());
    let db = import("db.shop.svc.beta.example:5432", &["192.0.2.1", "2001:db8::1"], exactly);
    let files = egress(&[db, web], &bundles());
    for name in ["bootstrap", "lds", "cds", "identity"] {
        snapshot(
            &format!("egress_{name}"),
            without_keys(json(&files, &format!("egress/{name}.json"))),
        );
    }
}

#[test]
fn exports_and_trust_change_no_listener() {
    let without = gateway(&[], &BTreeMap::new());
    let with = gateway(&[(WEB, &["10.0.0.1:8080"])], &bundles());
    for name in ["gateway/lds.json", "gateway/bootstrap.json", "gateway/identity.json"] {
        assert_eq!(find(&without, name), find(&with, name));
    }
    for name in ["gateway/cds.json", "gateway/filter/filter.json", "gateway/trust/bundles.json"] {
        assert_ne!(find(&without, name).contents, find(&with, name).contents);
    }
}

#[test]
fn the_order_of_inputs_does_not_matter() {
    let one = import(
        "web.shop.svc.beta.example:80",
        &["192.0.2.1"],
        ServerIdentity::AnyOf(trust_domain("beta.example")),
    );
    let two = import(
        "db.shop.svc.beta.example:5432",
        &["192.0.2.1"],
        ServerIdentity::AnyOf(trust_domain("beta.example")),
    );
    let bundles = bundles();
    let (forth, back) =
        (egress(&[one.clone(), two.clone()], &bundles), egress(&[two, one], &bundles));
    assert_eq!(find(&forth, "egress/cds.json"), find(&back, "egress/cds.json"));
}

#[test]
fn a_peers_gateways_change_no_listener() {
    let any = || ServerIdentity::AnyOf(trust_domain("beta.example"));
    let bundles = bundles();
    let ip = egress(&[import("web.shop.svc.beta.example:80", &["192.0.2.1"], any())], &bundles);
    let name = egress(&[import("web.shop.svc.beta.example:80", &["2001:db8::1"], any())], &bundles);
    assert_eq!(find(&ip, "egress/lds.json"), find(&name, "egress/lds.json"));
    assert_ne!(find(&ip, "egress/cds.json"), find(&name, "egress/cds.json"));
}

/// `web.shop.global`, with these members.
fn name(members: Vec<FederatedMember>) -> FederatedService {
    let name = service("web.shop.global:80");
    FederatedService {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        source: None,
        host: name.host.clone(),
        ports: vec![FederatedPort {
            service: name,
            port_name: "http".to_owned(),
            protocol: Protocol::Http,
            check: None,
            members,
        }],
    }
}

fn member(name: &str, priority: u32, weight: u32) -> FederatedMember {
    let place = match name.ends_with("alpha.example:80") {
        true => MemberPlace::Local,
        false => MemberPlace::Peer(PeerName::parse("beta").unwrap()),
    };
    let (service, state) = (Some(service(name)), MemberState::Ready);
    FederatedMember { place, service, priority, weight, state, check: None }
}

const BETA_WEB: &str = "web.shop.svc.beta.example:80";

fn beta_web() -> Import {
    let any = ServerIdentity::AnyOf(trust_domain("beta.example"));
    import(BETA_WEB, &["192.0.2.1"], any)
}

#[test]
fn federated_names_have_a_cluster_for_each_member_and_an_aggregate() {
    let members = vec![member(WEB, 0, 1), member(BETA_WEB, 1, 1)];
    let files = egress_with(&[beta_web()], &bundles(), &[name(members)]);
    snapshot("federated_lds", without_keys(json(&files, "egress/lds.json")));
    snapshot("federated_cds", without_keys(json(&files, "egress/cds.json")));
}

/// Instead of the question for the gateways' health name.
#[test]
fn a_member_with_a_health_check_is_asked_for_the_service() {
    let checks_of = |probe: HealthProbe| {
        let mut beta = member(BETA_WEB, 0, 1);
        beta.check = Some(HealthCheck { probe, interval: Duration::from_millis(1500) });
        let files = egress_with(&[beta_web()], &bundles(), &[name(vec![beta])]);
        let clusters = json(&files, "egress/cds.json");
        let is_member = |cluster: &&Value| cluster["name"] == "member|web.shop.svc.beta.example:80";
        let cluster = clusters["resources"].as_array().unwrap().iter().find(is_member).unwrap();
        assert_eq!(cluster.get("transport_socket_matches"), None);
        cluster["health_checks"].clone()
    };
    let http = HealthProbe::Http { path: "/healthz".to_owned(), http2: true };
    snapshot("health_check_http", checks_of(http));
    let (send, expect) = (Some("PING\r\n".to_owned()), "PONG".to_owned());
    snapshot("health_check_tcp", checks_of(HealthProbe::Tcp { send, expect }));
    let greeting = HealthProbe::Tcp { send: None, expect: "220 ".to_owned() };
    assert_eq!(checks_of(greeting)[0]["reuse_connection"], false);
}

#[test]
fn members_of_one_priority_get_an_aggregate_for_each_share() {
    let members = vec![member(WEB, 0, 3), member(BETA_WEB, 0, 1)];
    let files = egress_with(&[beta_web()], &bundles(), &[name(members)]);
    let listeners = json(&files, "egress/lds.json");
    let proxy = "/resources/2/filter_chains/0/filters/0/typed_config/weighted_clusters/clusters";
    let clusters = listeners.pointer(proxy).unwrap_or_else(|| panic!("{listeners:#}"));
    let expected = serde_json::json!([
        { "name": "federated|web.shop.global:80|0", "weight": 7_500 },
        { "name": "federated|web.shop.global:80|1", "weight": 2_500 },
    ]);
    assert_eq!(*clusters, expected);
}

#[test]
fn a_member_that_is_passed_over_has_no_cluster_and_a_name_without_any_fails() {
    let mut passed_over = member(BETA_WEB, 0, 1);
    let (reason, message) = (PassedOver::NotOffered, String::new());
    passed_over.state = MemberState::PassedOver { reason, message };
    let files = egress_with(&[beta_web()], &bundles(), &[name(vec![passed_over])]);
    let clusters = json(&files, "egress/cds.json").to_string();
    assert!(clusters.contains("no_member") && !clusters.contains("member|"), "{clusters}");
    assert!(!clusters.contains("envoy.clusters.aggregate"));
    let listeners = json(&files, "egress/lds.json").to_string();
    assert!(listeners.contains("\"cluster\":\"no_member\""), "{listeners}");
}
