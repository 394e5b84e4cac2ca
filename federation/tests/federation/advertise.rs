//! The addresses that single peers are told, and where gateways are.

use crate::rig::{Rig, at, found, gateway, name, offered, private, the};
use fedgate_federation::document::{Advertised, GatewayAddress, Locality, LocatedGateway};
use fedgate_federation::federate::Reach;
use fedgate_federation::object::ADVERTISE_ANNOTATION;
use fedgate_federation::own::OwnListener;
use fedgate_federation::{Federation, FindingReason as Reason, Severity};
use std::sync::Arc;

fn advertised(texts: &[&str]) -> Vec<Advertised> {
    texts.iter().map(|text| Advertised::parse(text).unwrap()).collect()
}

fn annotate(rig: &mut Rig, peer: &str, value: &str) {
    rig.object(peer).annotations.insert(ADVERTISE_ANNOTATION.to_owned(), value.to_owned());
}

/// What a peer is told, with localities.
fn told(federation: &Federation, peer: &str) -> Vec<String> {
    let document = &federation.private_documents[&name(peer)];
    let extension = document.extension.as_ref().unwrap();
    let told = |gateway: &GatewayAddress| {
        let locality = extension.locality(gateway).cloned();
        Advertised { gateway: gateway.clone(), locality }.to_string()
    };
    document.gateways.iter().map(told).collect()
}

#[test]
fn one_peer_is_told_the_private_link_and_the_others_the_public_address() {
    let mut rig = Rig::new();
    annotate(&mut rig, "beta", "10.0.0.6:15443, [fd00::5]:15443 10.0.0.5:15443");
    let federation = rig.federate();
    let private = ["10.0.0.5:15443", "10.0.0.6:15443", "[fd00::5]:15443"];
    assert_eq!(told(&federation, "beta"), private);
    assert_eq!(told(&federation, "gamma"), ["192.0.2.1:15443"]);
    let [beta, gamma] = ["beta", "gamma"].map(|peer| &federation.private_documents[&name(peer)]);
    assert!(Arc::ptr_eq(&beta.services, &gamma.services), "the large part is still shared");
    assert_eq!(beta.head_json(), gamma.head_json());
    assert!(!String::from_utf8(gamma.to_json()).unwrap().contains("10.0.0"));
}

#[test]
fn a_setting_says_the_same_and_the_annotation_takes_precedence() {
    let mut rig = Rig::new();
    let listed = |texts| advertised(texts);
    rig.local.reach.for_peers =
        [(name("beta"), listed(&["10.0.0.5:15443"])), (name("gamma"), listed(&["10.0.0.6:15443"]))]
            .into();
    annotate(&mut rig, "gamma", "10.9.9.9:15443");
    let federation = rig.federate();
    assert_eq!(told(&federation, "beta"), ["10.0.0.5:15443"]);
    assert_eq!(told(&federation, "gamma"), ["10.9.9.9:15443"]);
}

#[test]
fn a_change_for_one_peer_changes_no_other_document() {
    let mut rig = Rig::new();
    let before = rig.federate();
    rig.previous = before.published.clone();
    rig.now = at(20);
    annotate(&mut rig, "beta", "10.0.0.5:15443");
    let after = rig.federate();
    let version =
        |federation: &Federation, peer| federation.published.documents[&name(peer)].clone();
    assert!(version(&after, "beta").sequence > version(&before, "beta").sequence);
    assert_eq!(version(&after, "gamma"), version(&before, "gamma"));
}

/// The whole list is refused: half of what was meant may be the wrong half.
#[test]
fn an_unreadable_list_changes_nothing_and_says_so() {
    let many = vec!["10.0.0.5:1"; 65].join(",");
    for bad in ["", "10.0.0.5", "10.0.0.5:15443,169.254.169.254:80", "10.0.0.5:443@a//b", &many] {
        let mut rig = Rig::new();
        annotate(&mut rig, "beta", bad);
        let federation = rig.federate();
        assert_eq!(told(&federation, "beta"), ["192.0.2.1:15443"], "{bad}");
        let finding = the(&federation.findings, Reason::InvalidAnnotation);
        assert_eq!(finding.severity, Severity::Error);
        let field = finding.field.as_deref();
        assert_eq!(field, Some("metadata.annotations[fedgate.dev/advertise]"));
        assert!(finding.message.contains("what all peers are told"), "{}", finding.message);
    }
}

#[test]
fn a_setting_for_an_unknown_peer_is_reported() {
    let mut rig = Rig::new();
    rig.local.reach.for_peers = [(name("delta"), advertised(&["10.0.0.5:15443"]))].into();
    let finding = the(&rig.federate().findings, Reason::UnknownPeer).clone();
    assert_eq!(finding.field.as_deref(), Some("gateway.advertiseTo.delta"));
}

#[test]
fn no_peer_is_told_another_listener_of_this_cluster() {
    let mut rig = Rig::new();
    let listener = |name: &str, address: &str, ports, is_gateway| OwnListener {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        ports,
        is_gateway,
    };
    rig.local.own_addresses.listeners = vec![
        listener("the gateway", "10.0.0.5", 15_443..=15_443, true),
        listener("the egress", "10.0.0.5", 15_100..=15_999, false),
        listener("the metadata endpoint", "0.0.0.0", 15_080..=15_080, false),
    ];
    annotate(&mut rig, "beta", "10.0.0.5:15100,10.0.0.5:15443,127.0.0.1:15080,10.0.0.9:15080");
    rig.local.gateways.push(gateway("127.0.0.1"));
    let federation = rig.federate();
    let good = ["10.0.0.5:15443", "10.0.0.9:15080"];
    assert_eq!(told(&federation, "beta"), good, "a router may lead port 15080 to the gateway");
    let refused = found(&federation.findings, Reason::AdvertiseRefused);
    let messages: Vec<_> = refused.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(messages.iter().any(|message| message.contains("10.0.0.5:15100 is the egress")));
    assert_eq!(told(&federation, "gamma"), ["127.0.0.1:15443", "192.0.2.1:15443"]);
}

/// What beta is told is our gateway for beta. In gamma's network, the same private address may be
/// gamma's own.
#[test]
fn a_peer_cannot_announce_the_address_that_it_is_told() {
    for (peer, refused) in [("beta", true), ("gamma", false)] {
        let mut rig = Rig::new();
        annotate(&mut rig, "beta", "10.0.0.5:15443");
        let host = format!("web.shop.svc.{peer}.example");
        let document = private(2, &["10.0.0.5"], vec![offered(&host, &[("http", 80)])]);
        rig.absorb(peer, &document, at(1));
        let federation = rig.federate();
        let owned = found(&federation.findings, Reason::OwnGateway);
        assert_eq!(owned.len(), usize::from(refused), "{peer}: {owned:?}");
        assert_eq!(federation.probe_targets.contains_key(&name(peer)), !refused);
    }
}

#[test]
fn localities_are_told_of_the_addresses_that_have_one() {
    let mut rig = Rig::new();
    let general = advertised(&["192.0.2.1:15443@eu/a", "192.0.2.2:15443"]);
    let (gateways, localities) = Reach::split(&general);
    (rig.local.gateways, rig.local.reach.localities) = (gateways, localities);
    annotate(&mut rig, "beta", "10.0.0.5:15443@eu/b,10.0.0.6:15443");
    let federation = rig.federate();
    assert_eq!(told(&federation, "beta"), ["10.0.0.5:15443@eu/b", "10.0.0.6:15443"]);
    assert_eq!(told(&federation, "gamma"), ["192.0.2.1:15443@eu/a", "192.0.2.2:15443"]);
}

#[test]
fn imports_know_where_the_gateways_of_a_peer_are() {
    let mut rig = Rig::new();
    let web = offered("web.shop.svc.beta.example", &[("http", 80)]);
    let mut document = private(2, &["192.0.2.9", "192.0.2.8"], vec![web]);
    let located = LocatedGateway {
        gateway: gateway("192.0.2.8"),
        locality: Locality::parse("eu-west/a").unwrap(),
    };
    document.extension.as_mut().unwrap().gateway_localities = vec![located];
    rig.absorb("beta", &document, at(1));
    let federation = rig.federate();
    let import = federation.imports.iter().find(|import| import.peer == name("beta")).unwrap();
    let endpoints: Vec<_> = import
        .endpoints()
        .map(|(address, locality)| (address.to_string(), locality.map(Locality::as_str)))
        .collect();
    let expected =
        [("192.0.2.8:15443".to_owned(), Some("eu-west/a")), ("192.0.2.9:15443".to_owned(), None)];
    assert_eq!(endpoints, expected);
}
