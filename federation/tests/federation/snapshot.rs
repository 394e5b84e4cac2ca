//! A federation of three clusters, seen by the first, in a form that people can read.

use crate::rig::{Rig, at, federation_object, offered, private};
use fedgate_federation::Federation;
use fedgate_federation::object::PolicyObject;
use serde_json::json;
use std::fmt::Write;

fn render(federation: &Federation) -> String {
    let mut out = String::new();
    let table = federation.table.as_ref().unwrap();
    writeln!(
        out,
        "table: generation {}, {} rows, {} grant sets",
        table.generation(),
        table.rows(),
        table.grant_set_count()
    )
    .unwrap();
    for (service, export) in table.exports() {
        writeln!(out, "  {service} -> {}", service.cluster()).unwrap();
        for (peer, callers) in table.grants(export) {
            writeln!(out, "    {} {:?} {callers:?}", peer.name, peer.mode).unwrap();
        }
    }
    writeln!(out, "exports:").unwrap();
    for export in &federation.exports {
        for grant in export.grants.iter() {
            writeln!(out, "  {} {}: {grant}", export.service, grant.peer).unwrap();
        }
    }
    writeln!(out, "imports:").unwrap();
    for import in federation.imports.iter() {
        let gateways: Vec<_> = import.gateways.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "  {} {} {} by {} as {:?}",
            import.peer,
            import.service,
            import.protocol.word(),
            gateways.join(" "),
            import.server
        )
        .unwrap();
    }
    writeln!(out, "bundles:").unwrap();
    for (trust_domain, bundle) in &federation.bundles {
        writeln!(out, "  {trust_domain}: {} roots", bundle.roots.len()).unwrap();
    }
    writeln!(out, "documents:").unwrap();
    for (peer, document) in &federation.private_documents {
        let json = String::from_utf8(document.to_json()).unwrap();
        writeln!(out, "  {peer}: {}", without_fingerprints(&json)).unwrap();
    }
    writeln!(out, "members:").unwrap();
    for (uuid, member) in &federation.members {
        writeln!(out, "  {uuid}: {}", member.peer).unwrap();
    }
    writeln!(out, "peers:").unwrap();
    for report in &federation.peers {
        writeln!(
            out,
            "  {} {:?} {} granted, {} imports",
            report.peer.name, report.mode, report.granted_exports, report.imports
        )
        .unwrap();
        for condition in &report.conditions {
            writeln!(
                out,
                "    {:?}={:?} {} {}",
                condition.kind, condition.status, condition.reason, condition.message
            )
            .unwrap();
        }
    }
    writeln!(out, "findings:").unwrap();
    for finding in &federation.findings {
        writeln!(out, "  {:?} {finding}", finding.severity).unwrap();
    }
    writeln!(out, "next change: {:?}", federation.next_change).unwrap();
    out
}

/// Removes what depends on the roots, which are made at run time.
fn without_fingerprints(json: &str) -> String {
    let json = without(json, "sha256:", 64);
    without(&json, "\"publicTag\":\"", 32)
}

/// Removes so many bytes after each `mark`.
fn without(json: &str, mark: &str, bytes: usize) -> String {
    let (first, others) = json.split_once(mark).unwrap();
    let others = others.split(mark).map(|part| format!("{mark}...{}", part.get(bytes..).unwrap()));
    others.fold(first.to_owned(), |all, part| all + &part)
}

#[test]
fn three_clusters() {
    let mut rig = Rig::new();
    rig.objects.federations.push(federation_object("alpha", "alpha.example"));
    rig.objects.services[1].annotations.insert("fedgate.dev/peers".to_owned(), "beta".to_owned());
    let policies = [
        (
            "shop",
            json!({"peers": ["beta"], "services": [{"namespaces": ["shop"], "ports": ["http"]}], "callers": [{"namespace": "front-*"}]}),
        ),
        ("trial", json!({"peers": ["gamma"], "services": [{"ports": [9000]}], "mode": "Audit"})),
    ];
    rig.objects.policies =
        policies.into_iter().map(|(name, spec)| PolicyObject::read(name, None, &spec).0).collect();
    let services = vec![
        offered("web.shop.svc.beta.example", &[("http", 80), ("grpc-api", 90), ("tcp-sql", 5432)]),
        offered("web.shop.svc.gamma.example", &[("http", 80)]),
    ];
    rig.absorb("beta", &private(2, &["192.0.2.9", "gw.beta.example"], services), at(5));
    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.10"])], at(5));
    insta::assert_snapshot!(render(&rig.federate()));
}
