//! Exports and imports whose TLS passes through the gateway to the workload.

use crate::rig::{Rig, at, domain, found, name, offered, private, the};
use fedgate_core::{Outcome, Reason, decide, decide_passthrough};
use fedgate_federation::document::{Limits, PrivateDocument, WorkloadIdentity};
use fedgate_federation::federate::{Passthrough, PassthroughService, ServerIdentity};
use fedgate_federation::object::{
    GATEWAY_MODE_ANNOTATION, GatewayMode, PEERS_ANNOTATION, PolicyObject,
};
use fedgate_federation::{Federation, FindingReason, ObjectRef};
use serde_json::json;
use std::collections::BTreeMap;

const WEB: &str = "outbound_.80_._.web.shop.svc.alpha.example";
const BETA: &str = "spiffe://beta.example/ns/shop/sa/web";

/// `web` asks for passthrough, and its workloads are prepared.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.local.passthrough = Passthrough::Prepared([("shop".to_owned(), "web".to_owned())].into());
    let web = &mut rig.objects.services[0];
    web.annotations.insert(GATEWAY_MODE_ANNOTATION.to_owned(), "passthrough".to_owned());
    web.selector.insert("app".to_owned(), "web".to_owned());
    rig
}

fn announced<'a>(federation: &'a Federation, peer: &str) -> Vec<&'a str> {
    federation.private_documents[&name(peer)]
        .services
        .iter()
        .map(|service| service.hostname.as_str())
        .collect()
}

/// Checks that `web` is neither in the table nor announced, and that `db` is not affected.
#[track_caller]
fn is_not_exported(federation: &Federation) {
    let table = federation.table.as_ref().unwrap();
    assert_eq!(decide_passthrough(table, Some(WEB)).reason, Reason::UnknownService);
    assert_eq!(decide(table, Some(WEB), Some(BETA)).reason, Reason::UnknownService);
    for peer in ["beta", "gamma"] {
        assert_eq!(announced(federation, peer), ["db.shop.svc.alpha.example"]);
    }
}

#[test]
fn a_passthrough_export_is_in_the_table_and_announced_as_such() {
    let federation = rig().federate();
    let table = federation.table.as_ref().unwrap();
    assert_eq!(decide_passthrough(table, Some(WEB)).outcome, Outcome::Allowed);
    assert_eq!(
        decide(table, Some(WEB), Some(BETA)).reason,
        Reason::UnknownService,
        "not where TLS ends at the gateway"
    );
    let sql = "outbound_.5432_._.db.shop.svc.alpha.example";
    assert_eq!(decide_passthrough(table, Some(sql)).reason, Reason::UnknownService);
    assert_eq!(decide(table, Some(sql), Some(BETA)).outcome, Outcome::Allowed);
    assert_eq!(
        announced(&federation, "beta"),
        ["db.shop.svc.alpha.example", "web.shop.svc.alpha.example"]
    );
    let extension = federation.private_documents[&name("beta")].extension.as_ref().unwrap();
    assert_eq!(extension.passthrough_hosts, ["web.shop.svc.alpha.example".parse().unwrap()]);
    let modes: Vec<_> =
        federation.exports.iter().map(|export| (export.name.as_str(), export.mode)).collect();
    let through = GatewayMode::Passthrough;
    assert_eq!(modes, [("db", GatewayMode::Terminate), ("web", through), ("web", through)]);
    let selector = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let wanted =
        PassthroughService { namespace: "shop".to_owned(), name: "web".to_owned(), selector };
    assert_eq!(federation.passthrough, [wanted]);
    assert!(federation.findings.is_empty(), "{:?}", federation.findings);
}

#[test]
fn without_passthrough_documents_and_tables_are_unchanged() {
    let federation = Rig::new().federate();
    let json = String::from_utf8(federation.private_documents[&name("beta")].to_json()).unwrap();
    assert!(!json.contains("passthrough"), "{json}");
    assert_eq!(federation.table.unwrap().format_version(), 1);
    assert!(federation.passthrough.is_empty());
}

#[test]
fn a_service_is_not_announced_before_its_workloads_trust_the_peers() {
    let mut rig = rig();
    rig.local.passthrough = Passthrough::Prepared([("shop".to_owned(), "db".to_owned())].into());
    let federation = rig.federate();
    is_not_exported(&federation);
    assert_eq!(federation.passthrough.len(), 1, "they are to be prepared");
    let finding = the(&federation.findings, FindingReason::PassthroughPending);
    assert_eq!(finding.object, ObjectRef::service("shop", "web"));
}

#[test]
fn if_passthrough_is_impossible_the_service_is_refused_with_advice() {
    let mut rig = rig();
    rig.local.passthrough = Passthrough::Impossible("start it with --passthrough".to_owned());
    let federation = rig.federate();
    is_not_exported(&federation);
    assert!(federation.passthrough.is_empty());
    let finding = the(&federation.findings, FindingReason::PassthroughUnavailable);
    assert_eq!(finding.field.as_deref(), Some("metadata.annotations[fedgate.dev/gateway-mode]"));
    assert!(finding.message.contains("--passthrough"), "{finding}");
}

#[test]
fn a_restriction_that_the_gateway_cannot_enforce_refuses_the_export() {
    let policy = |spec| PolicyObject::read("p".to_owned(), None, &spec).0;
    let shop = json!([{"namespaces": ["shop"]}]);
    let narrow = [
        json!({"peers": ["beta"], "services": [{"namespaces": ["other"]}]}),
        json!({"peers": ["beta"], "services": shop, "callers": [{"namespace": "orders"}]}),
        // Audit mode is refused as well: the gateway sees no callers, so it could not report them.
        json!({"mode": "Audit", "services": [{"namespaces": ["other"]}]}),
    ];
    for spec in narrow {
        let mut rig = rig();
        rig.objects.policies.push(policy(spec.clone()));
        let federation = rig.federate();
        let table = federation.table.as_ref().unwrap();
        assert_eq!(decide_passthrough(table, Some(WEB)).reason, Reason::UnknownService, "{spec}");
        let finding = the(&federation.findings, FindingReason::PassthroughRefused);
        assert!(
            finding.message.contains("FederationPolicy") && finding.message.contains("peer beta"),
            "{finding}"
        );
        assert!(federation.passthrough.is_empty(), "{spec}");
    }
    let mut annotated = rig();
    annotated.objects.services[0]
        .annotations
        .insert(PEERS_ANNOTATION.to_owned(), "beta,gamma".to_owned());
    let federation = annotated.federate();
    is_not_exported(&federation);
    assert!(
        the(&federation.findings, FindingReason::PassthroughRefused)
            .message
            .contains(PEERS_ANNOTATION)
    );
    // A policy that keeps no caller out is no obstacle.
    let mut wide = rig();
    wide.objects.policies.push(policy(json!({"services": shop})));
    assert_eq!(announced(&wide.federate(), "beta").len(), 1 + 1);
}

#[test]
fn a_passthrough_service_without_a_selector_is_refused() {
    let mut rig = rig();
    rig.objects.services[0].selector.clear();
    let federation = rig.federate();
    is_not_exported(&federation);
    let finding = the(&federation.findings, FindingReason::PassthroughRefused);
    assert_eq!(finding.field.as_deref(), Some("spec.selector"));
}

#[test]
fn an_unknown_gateway_mode_refuses_the_export() {
    for value in ["Passthrough", "terminate", ""] {
        let mut rig = rig();
        rig.objects.services[0]
            .annotations
            .insert(GATEWAY_MODE_ANNOTATION.to_owned(), value.to_owned());
        let federation = rig.federate();
        is_not_exported(&federation);
        let finding = the(&federation.findings, FindingReason::InvalidAnnotation);
        assert_eq!(finding.object, ObjectRef::service("shop", "web"));
        assert!(finding.message.contains("expected \"passthrough\""), "{finding}");
    }
}

fn with_gateway_identity(document: PrivateDocument, hosts: &[&str]) -> PrivateDocument {
    let mut document = document;
    let extension = document.extension.as_mut().unwrap();
    extension.gateway_identities =
        vec![WorkloadIdentity::parse("spiffe://beta.example/ns/gw/sa/gw").unwrap()];
    extension.passthrough_hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    document
}

#[test]
fn a_passthrough_import_expects_the_workloads_identity() {
    let mut rig = Rig::new();
    let rows = vec![
        offered("a.shop.svc.beta.example", &[("http", 80)]),
        offered("b.shop.svc.beta.example", &[("http", 80)]),
    ];
    let document =
        with_gateway_identity(private(2, &["192.0.2.9"], rows), &["a.shop.svc.beta.example"]);
    assert!(rig.absorb("beta", &document, at(1)).is_taken());
    let federation = rig.federate();
    let import = |host: &str| {
        federation.imports.iter().find(|import| import.service.host.as_str() == host).unwrap()
    };
    let through = import("a.shop.svc.beta.example");
    assert_eq!(
        (through.passthrough, through.server.as_ref()),
        (true, &ServerIdentity::AnyOf(domain("beta.example")))
    );
    let terminated = import("b.shop.svc.beta.example");
    assert!(
        !terminated.passthrough && matches!(terminated.server.as_ref(), ServerIdentity::Exactly(_))
    );
    let target = &federation.probe_targets[&name("beta")];
    assert_eq!(
        target.service.as_ref().unwrap().host.as_str(),
        "b.shop.svc.beta.example",
        "the gateway answers there"
    );
    assert!(matches!(target.server.as_ref(), ServerIdentity::Exactly(_)));
}

#[test]
fn a_foreign_passthrough_host_is_dropped() {
    let mut rig = Rig::new();
    let row = || vec![offered("a.shop.svc.beta.example", &[("http", 80)])];
    let document =
        with_gateway_identity(private(2, &["192.0.2.9"], row()), &["a.shop.svc.gamma.example"]);
    let findings = rig.absorb("beta", &document, at(1)).into_findings();
    assert_eq!(found(&findings, FindingReason::ForeignName).len(), 1);
    let federation = rig.federate();
    assert!(federation.imports.iter().all(|import| !import.passthrough));
    let mut many = with_gateway_identity(private(3, &["192.0.2.9"], row()), &[]);
    many.extension.as_mut().unwrap().passthrough_hosts =
        vec!["a.shop.svc.beta.example".parse().unwrap(); 3];
    let limits = Limits { services: 2, ..Limits::default() };
    let object = ObjectRef::federation("beta");
    let parsed =
        PrivateDocument::parse(&many.to_json(), &domain("beta.example"), &object, &limits).unwrap();
    assert_eq!(
        the(&parsed.findings, FindingReason::InvalidExtension).field.as_deref(),
        Some("fedgate")
    );
}
