//! The name by which peers check that they can reach this cluster.

use crate::rig::{Rig, at, name, offered, port, private, service, uuid};
use fedgate_core::{Outcome, Reason, decide};
use fedgate_federation::document::PrivateDocument;
use fedgate_federation::object::PolicyObject;
use serde_json::json;

const HOST: &str =
    "alliance-healthcheck-11111111-1111-4111-8111-111111111111.d8-istio.svc.alpha.example";

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.local.health_name = true;
    rig
}

fn hosts(document: &PrivateDocument) -> Vec<&str> {
    document.services.iter().map(|service| service.hostname.as_str()).collect()
}

#[test]
fn the_health_name_is_granted_to_every_caller_regardless_of_policies() {
    let mut rig = rig();
    assert_eq!(rig.local.cluster_uuid.as_str(), uuid('1').as_str());
    let nothing = PolicyObject::read(
        "none".to_owned(),
        None,
        &json!({"services": [{"namespaces": ["nowhere"]}]}),
    )
    .0;
    rig.objects.policies.push(nothing);
    let federation = rig.federate();
    let host = federation.health.as_ref().unwrap().host.to_string();
    assert!(
        host.starts_with("alliance-healthcheck-") && host.ends_with(".d8-istio.svc.alpha.example"),
        "{host}"
    );
    for peer in ["beta", "gamma"] {
        let document = &federation.private_documents[&name(peer)];
        assert_eq!(hosts(document), [host.as_str()], "and nothing that the policy does not allow");
        let port = &document.services[0].ports[0];
        assert_eq!((port.name.as_str(), port.port.get()), ("http", 80));
        assert_eq!(document.extension.as_ref().unwrap().service_count, 1);
        let sni = format!("outbound_.80_._.{host}");
        let table = federation.table.as_ref().unwrap();
        let caller = format!("spiffe://{peer}.example/ns/d8-istio/sa/any");
        assert_eq!(decide(table, Some(&sni), Some(&caller)).outcome, Outcome::Allowed);
        let stranger = decide(table, Some(&sni), Some("spiffe://delta.example/ns/d8-istio/sa/any"));
        assert_eq!(stranger.reason, Reason::UnknownPeer);
    }
    assert!(
        federation.exports.iter().all(|export| export.service.host.as_str() != host),
        "no Service is behind it"
    );
}

#[test]
fn switched_off_the_health_name_is_not_offered() {
    let federation = Rig::new().federate();
    assert_eq!(federation.health, None);
    assert_eq!(hosts(&federation.private_documents[&name("beta")]).len(), 2);
    assert_eq!(federation.table.unwrap().rows(), 3);
}

#[test]
fn a_service_with_the_health_name_takes_precedence() {
    let mut rig = rig();
    let host = rig.federate().health.unwrap().host.to_string();
    let mut own = service(host.split('.').next().unwrap(), vec![port("http", 80)]);
    own.namespace = "d8-istio".to_owned();
    rig.objects.services.push(own);
    let federation = rig.federate();
    assert_eq!(federation.health, None);
    assert!(federation.exports.iter().any(|export| export.service.host.as_str() == host));
}

#[test]
fn a_peers_health_name_is_probed_but_not_imported() {
    let mut rig = Rig::new();
    let beta = HOST
        .replace("11111111-1111-4111-8111-111111111111", uuid('2').as_str())
        .replace("alpha", "beta");
    let other = HOST.replace("alpha", "beta");
    let rows = vec![
        offered("api.shop.svc.beta.example", &[("http", 80)]),
        offered(&beta, &[("http", 80)]),
        offered(&other, &[("http", 80)]),
    ];
    rig.absorb("beta", &private(2, &["192.0.2.9"], rows), at(1));
    let federation = rig.federate();
    let imported: Vec<_> =
        federation.imports.iter().map(|import| import.service.host.as_str()).collect();
    assert!(!imported.contains(&beta.as_str()), "{imported:?}");
    assert!(imported.contains(&other.as_str()), "only the peer's own");
    let probed = federation.probe_targets[&name("beta")].service.as_ref().unwrap();
    assert_eq!(probed.host.as_str(), beta);
}
