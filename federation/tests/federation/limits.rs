//! What peers would refuse is reported by the cluster that publishes it.

use crate::rig::{Rig, domain, found, gateway, port, root, service, the};
use fedgate_federation::document::{Limits, PrivateDocument};
use fedgate_federation::{FindingReason as Reason, ObjectRef};

const LIMITS: Limits = Limits::DEFAULT;

/// What a peer accepts of alpha's document for beta.
fn accepted_by_peer(rig: &Rig) -> PrivateDocument {
    let federation = rig.federate();
    let document = federation.private_documents.values().next().unwrap();
    let read = PrivateDocument::parse(
        &document.to_json(),
        &domain("alpha.example"),
        &crate::rig::beta(),
        &LIMITS,
    );
    let read = read.unwrap();
    assert_eq!(read.findings, [], "what is published is accepted in full");
    read.document
}

fn ports(count: usize) -> Vec<fedgate_federation::object::ServicePortSpec> {
    (1..=count).map(|n| port(&format!("p{n}"), n as u16)).collect()
}

#[test]
fn a_service_with_more_ports_than_peers_accept_is_refused() {
    let mut rig = Rig::new();
    rig.objects.services = vec![service("most", ports(LIMITS.ports_per_service))];
    assert_eq!(accepted_by_peer(&rig).services[0].ports.len(), LIMITS.ports_per_service);
    assert!(found(&rig.federate().findings, Reason::TooManyPorts).is_empty());
    rig.objects.services.push(service("more", ports(LIMITS.ports_per_service + 1)));
    let federation = rig.federate();
    let finding = the(&federation.findings, Reason::TooManyPorts);
    assert_eq!(
        (&finding.object, finding.field.as_deref()),
        (&ObjectRef::service("shop", "more"), Some("spec.ports"))
    );
    assert!(
        finding.message.contains("at most 64 ports") && finding.message.contains("found 65"),
        "{}",
        finding.message
    );
    assert!(federation.exports.iter().all(|export| export.name != "more"));
    assert_eq!(accepted_by_peer(&rig).services.len(), 1);
}

#[test]
fn surplus_gateways_are_left_out_and_reported() {
    let mut rig = Rig::new();
    rig.local.gateways = (0..LIMITS.gateways).map(|n| gateway(&format!("192.0.2.{n}"))).collect();
    assert!(found(&rig.federate().findings, Reason::LimitExceeded).is_empty());
    rig.local.gateways.push(gateway("198.51.100.1"));
    assert_eq!(
        the(&rig.federate().findings, Reason::LimitExceeded).field.as_deref(),
        Some("gateway.advertise")
    );
    assert_eq!(accepted_by_peer(&rig).gateways.len(), LIMITS.gateways);
}

#[test]
fn what_peers_would_refuse_is_reported() {
    let field = |change: &dyn Fn(&mut Rig)| {
        let mut rig = Rig::new();
        change(&mut rig);
        the(&rig.federate().findings, Reason::LimitExceeded).field.clone().unwrap()
    };
    let cidrs =
        || (0..=LIMITS.extension_rows).map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect();
    assert_eq!(
        field(&|rig| rig.local.roots = (0..=LIMITS.roots).map(|_| root()).collect()),
        "identity.roots"
    );
    assert_eq!(field(&|rig| rig.local.network.pod_cidrs = cidrs()), "network.podCIDRs");
    assert_eq!(field(&|rig| rig.local.network.service_cidrs = cidrs()), "network.serviceCIDRs");
}

#[test]
fn a_document_with_too_many_services_is_reported_with_its_peers() {
    let mut rig = Rig::new();
    rig.objects.services =
        (0..=LIMITS.services).map(|n| service(&format!("s{n}"), ports(1))).collect();
    let federation = rig.federate();
    let message = &the(&federation.findings, Reason::LimitExceeded).message;
    assert!(
        message.contains("and those for 1 more peers") && message.contains("found 20001"),
        "{message}"
    );
}
