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
use fedgate_federation::federate::{Gateway, Import, Protocol, ServerIdentity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

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
    let ports =
        (15_001..).zip(imports).map(|(port, import)| (import.service.clone(), port)).collect();
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
