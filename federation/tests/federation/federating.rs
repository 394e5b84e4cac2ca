//! Exports, imports, documents and the numbers that grow.

use crate::rig::{Rig, at, found, gateway, name, offered, port, private, root, service, the};
use fedgate_federation::Federation;
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::document::{Limits, PrivateDocument, PublicDocument, WorkloadIdentity};
use fedgate_federation::federate::{Protocol, Published, ServerIdentity};
use fedgate_federation::object::{PUBLIC_SERVICE_LABEL, ServicePortSpec, TransportProtocol};

fn exported(federation: &Federation) -> Vec<String> {
    federation.exports.iter().map(|export| export.service.to_string()).collect()
}

fn imported(federation: &Federation) -> Vec<String> {
    federation.imports.iter().map(|import| import.service.to_string()).collect()
}

fn only(services: Vec<fedgate_federation::object::ServiceObject>) -> Federation {
    let mut rig = Rig::new();
    rig.objects.services = services;
    rig.federate()
}

#[test]
fn only_a_labelled_service_is_exported() {
    let mut rig = Rig::new();
    rig.objects.services[0].labels.clear();
    rig.objects.services[1].labels.insert(PUBLIC_SERVICE_LABEL.to_owned(), "true".to_owned());
    let federation = rig.federate();
    assert!(exported(&federation).is_empty());
    assert_eq!(the(&federation.findings, Reason::LabelNotEmpty).object.name, "db");
}

#[test]
fn a_service_that_cannot_be_exported_is_refused_and_the_others_are_kept() {
    let unnamed = ServicePortSpec { port: 80, ..ServicePortSpec::default() };
    let mut external = service("external", vec![port("http", 80)]);
    external.service_type = Some("ExternalName".to_owned());
    for (bad, reason) in [
        (service("bad", vec![]), Reason::NoPorts),
        (service("bad", vec![port("http", 80), unnamed]), Reason::UnnamedPort),
        (service("bad", vec![port("", 80)]), Reason::UnnamedPort),
        (service("bad", vec![port("http", 0)]), Reason::InvalidPort),
        (service("bad", vec![port("Http", 80)]), Reason::InvalidPort),
        (service("bad", vec![port("http", 80), port("http", 81)]), Reason::DuplicatePort),
        (service("bad", vec![port("http", 80), port("web", 80)]), Reason::DuplicatePort),
        (service("bad.name", vec![port("http", 80)]), Reason::InvalidName),
        (service("Bad", vec![port("http", 80)]), Reason::InvalidName),
        (service(&"b".repeat(64), vec![port("http", 80)]), Reason::InvalidName),
        (service("", vec![port("http", 80)]), Reason::InvalidName),
        (service("web", vec![port("http", 81)]), Reason::DuplicateObject),
        (external, Reason::ExternalName),
    ] {
        let federation = only(vec![service("web", vec![port("http", 80)]), bad]);
        assert_eq!(exported(&federation), ["web.shop.svc.alpha.example:80"], "{reason}");
        the(&federation.findings, reason);
        assert!(federation.table.is_ok());
    }
}

#[test]
fn udp_ports_are_announced_but_not_in_the_table() {
    let udp = ServicePortSpec { protocol: TransportProtocol::Udp, ..port("dns", 53) };
    let federation = only(vec![service("dns", vec![udp, port("dns-tcp", 53)])]);
    assert_eq!(exported(&federation), ["dns.shop.svc.alpha.example:53"]);
    let ports = &federation.private_documents[&name("beta")].services[0].ports;
    assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["dns", "dns-tcp"]);
}

#[test]
fn a_port_number_is_imported_once() {
    let mut rig = Rig::new();
    let dns = offered("dns.net.svc.beta.example", &[("dns", 53), ("dns-tcp", 53), ("grpc", 80)]);
    rig.absorb("beta", &private(2, &["192.0.2.9"], vec![dns]), at(1));
    assert_eq!(
        imported(&rig.federate()),
        [
            "dns.net.svc.beta.example:53",
            "dns.net.svc.beta.example:80",
            "web.shop.svc.gamma.example:80"
        ]
    );
}

#[test]
fn the_protocol_is_derived_from_the_port_name() {
    use Protocol::{Http, Http2, Tcp, Tls};
    for (name, protocol) in [
        ("https", Tls),
        ("https-api", Tls),
        ("http2", Http2),
        ("http2-x", Http2),
        ("http", Http),
        ("http-https", Http),
        ("grpc", Http2),
        ("grpc-web", Http2),
        ("tls", Tls),
        ("tls-x", Tls),
        ("tcp", Tcp),
        ("tcp-http", Tcp),
        ("mysql", Tcp),
        ("xhttpx", Http),
        ("", Tcp),
    ] {
        assert_eq!(Protocol::of_port_name(name), protocol, "{name}");
    }
}

#[test]
fn an_import_names_its_gateways_and_the_expected_server() {
    let mut rig = Rig::new();
    let mut document = private(
        2,
        &["192.0.2.9", "gw.beta.example"],
        vec![offered("web.shop.svc.beta.example", &[("http", 80)])],
    );
    let own = WorkloadIdentity::parse("spiffe://beta.example/ns/istio-system/sa/gateway").unwrap();
    document.extension.as_mut().unwrap().gateway_identities = vec![own.clone()];
    rig.absorb("beta", &document, at(1));
    rig.looked_up("beta", &[("gw.beta.example", &["192.0.2.10"])], at(1));
    let federation = rig.federate();
    let imports: Vec<_> = federation.imports.iter().collect();
    let [beta, gamma] = imports.as_slice() else { panic!("{imports:?}") };
    assert_eq!(*beta.server, ServerIdentity::Exactly(vec![own]));
    assert_eq!(*gamma.server, ServerIdentity::AnyOf(crate::rig::domain("gamma.example")));
    assert_eq!(beta.gateways.len(), 2);
    assert_eq!((beta.protocol, beta.port_name.as_str()), (Protocol::Http, "http"));
    // Documents from a state file are not trusted either.
    let known = rig.known("beta").private.as_mut().unwrap();
    known.document.services = vec![offered("web.shop.svc.gamma.example", &[("http", 80)])].into();
    let foreign = WorkloadIdentity::parse("spiffe://gamma.example/ns/a/sa/b").unwrap();
    known.document.extension.as_mut().unwrap().gateway_identities = vec![foreign];
    assert_eq!(imported(&rig.federate()), ["web.shop.svc.gamma.example:80"]);
}

#[test]
fn published_documents_are_accepted_by_peers() {
    let mut rig = Rig::new();
    rig.local.gateways = vec![gateway("192.0.2.2"), gateway("192.0.2.10"), gateway("192.0.2.2")];
    rig.local.roots = vec![root(), root()];
    let federation = rig.federate();
    let about = crate::rig::beta();
    let limits = Limits::default();
    let public =
        PublicDocument::parse(&federation.public_document.to_json(), &about, &limits).unwrap();
    assert_eq!((public.document, public.findings.len()), (federation.public_document.clone(), 0));
    let body = federation.private_documents[&name("beta")].to_json();
    let private = PrivateDocument::parse(&body, &rig.local.trust_domain, &about, &limits).unwrap();
    assert_eq!(private.findings, []);
    assert_eq!(private.document.services, federation.private_documents[&name("beta")].services);
    // Ordered by address as text, like DKP's.
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains(",\"ingressGateways\":[{\"address\":\"192.0.2.10\"")
    );
    assert_eq!(federation.spiffe_bundle.roots.len(), 2);
}

/// `outbound_.80_._.web.shop.svc.<trust domain>` is 29 bytes longer than the trust domain, and TLS
/// allows 255.
#[test]
fn a_service_with_a_server_name_that_is_too_long_is_refused() {
    for (length, fits) in [(226, true), (227, false)] {
        let mut rig = Rig::new();
        rig.local.trust_domain = crate::rig::long_domain(length);
        rig.objects.services = vec![service("web", vec![port("http", 80)])];
        let federation = rig.federate();
        assert_eq!(exported(&federation).len(), usize::from(fits), "{length}");
        let announced = &federation.private_documents[&name("beta")].services;
        let announced = announced
            .iter()
            .filter(|service| service.hostname.as_str().starts_with("web."))
            .count();
        assert_eq!(announced, usize::from(fits), "{length}");
        if !fits {
            let finding = the(&federation.findings, Reason::NameTooLong);
            assert_eq!(finding.field.as_deref(), Some("spec.ports[0]"));
            let named = finding.message.contains("web.shop.svc.a")
                && finding.message.contains("has 256 bytes");
            assert!(named && finding.message.contains("at most 255"), "{}", finding.message);
        }
    }
}

#[test]
fn a_peers_service_with_a_server_name_that_is_too_long_is_dropped() {
    let ours = crate::rig::long_domain(226);
    let document = |port: u16| {
        let host = format!("web.shop.svc.{ours}");
        let ports = serde_json::json!([{"name": "http", "port": 8}, {"name": "tls", "port": port}]);
        let body = serde_json::json!({"ingressGateways": [], "publicServices": [{"hostname": host, "ports": ports}]});
        PrivateDocument::parse(
            body.to_string().as_bytes(),
            &ours,
            &crate::rig::beta(),
            &Limits::default(),
        )
        .unwrap()
    };
    assert_eq!(document(80).findings, []);
    let parsed = document(443);
    assert_eq!(parsed.document.services[0].ports.len(), 1, "the other port stays");
    let finding = the(&parsed.findings, Reason::NameTooLong);
    assert_eq!(finding.field.as_deref(), Some("publicServices[0].ports[1]"));
    assert!(
        finding.message.contains(":443: ") && finding.message.contains("has 256 bytes"),
        "{}",
        finding.message
    );
}

#[test]
fn an_unchanged_table_keeps_its_generation() {
    let mut rig = Rig::new();
    let first = rig.federate();
    let generation = first.table.as_ref().unwrap().generation();
    assert_eq!(generation, at(10).as_millisecond() as u64);
    rig.previous = first.published;
    rig.now = at(20);
    // Another import does not change the table.
    rig.absorb("beta", &private(2, &["192.0.2.9"], vec![]), at(11));
    let second = rig.federate();
    assert_eq!(second.table.as_ref().unwrap().generation(), generation);
    assert_eq!(second.table.as_ref().unwrap().hash(), first.table.as_ref().unwrap().hash());
    rig.previous = second.published;
    rig.objects.services.pop();
    let third = rig.federate();
    assert_eq!(third.table.as_ref().unwrap().generation(), at(20).as_millisecond() as u64);
    // Going back to the old content still makes a new generation.
    rig.previous = third.published;
    rig.objects.services = Rig::new().objects.services;
    assert_eq!(rig.federate().table.unwrap().generation(), at(20).as_millisecond() as u64 + 1);
}

#[test]
fn a_generation_is_never_reused() {
    let generation_after = |previous: Published, now: i64| {
        let mut rig = Rig::new();
        (rig.previous, rig.now) = (previous, at(now));
        rig.federate().table.unwrap().generation()
    };
    let counted = |generation| Published {
        generation,
        table: Some("another".to_owned()),
        ..Published::default()
    };
    let millisecond = |seconds| at(seconds).as_millisecond() as u64;
    assert_eq!(
        generation_after(counted(12), 10),
        millisecond(10),
        "an upgrade from the time when they were counted"
    );
    assert_eq!(generation_after(Published::default(), 10), millisecond(10), "the state is lost");
    assert_eq!(
        generation_after(counted(millisecond(90)), 10),
        millisecond(90) + 1,
        "the clock went back"
    );
    assert_eq!(generation_after(counted(u64::MAX), 10), u64::MAX, "nothing is higher");
}

#[test]
fn after_a_restart_generations_continue_from_the_gateways_table() {
    let mut rig = Rig::new();
    let first = rig.federate();
    let (table, kept) = (first.table.unwrap(), first.published);
    rig.now = at(20);
    let mut generation_after = |previous: Published| {
        rig.previous = previous;
        rig.federate().table.unwrap().generation()
    };
    let (same, new) = (table.generation(), at(20).as_millisecond() as u64);
    assert_eq!(generation_after(kept.clone().resumed(Some(&table))), same);
    assert_eq!(
        generation_after(Published::default().resumed(Some(&table))),
        same,
        "the state is lost"
    );
    let older = Published { generation: 7, ..kept.clone() };
    assert_eq!(
        generation_after(older.resumed(Some(&table))),
        same,
        "the state is older than the table"
    );
    assert_eq!(generation_after(kept.clone().resumed(None)), new, "the gateway's table is lost");
    let other = Published { table: Some("another".to_owned()), ..kept };
    assert_eq!(generation_after(other.resumed(Some(&table))), new, "one generation, two tables");

    rig.objects.services.pop();
    let second = rig.federate();
    rig.now = at(30);
    rig.previous = second.published.resumed(Some(&table));
    let third = rig.federate().table.unwrap().generation();
    assert_eq!(third, second.table.unwrap().generation(), "it was kept and not handed over");
}

#[test]
fn a_sequence_grows_with_the_content() {
    let mut rig = Rig::new();
    let sequence = |federation: &Federation, peer: &str| {
        federation.private_documents[&name(peer)].extension.as_ref().unwrap().sequence
    };
    let first = rig.federate();
    assert_eq!(sequence(&first, "beta"), at(10).as_millisecond() as u64);
    rig.previous = first.published.clone();
    rig.now = at(20);
    assert_eq!(sequence(&rig.federate(), "beta"), sequence(&first, "beta"));
    // A change for one peer does not affect the others.
    rig.objects.services[0].annotations.insert("fedgate.dev/peers".to_owned(), "gamma".to_owned());
    let second = rig.federate();
    assert_eq!(sequence(&second, "beta"), at(20).as_millisecond() as u64);
    assert_eq!(sequence(&second, "gamma"), sequence(&first, "gamma"));
    // Setting the clock back does not make the sequence smaller.
    rig.previous = second.published.clone();
    rig.now = at(5);
    rig.objects.services[0].annotations.clear();
    let third = rig.federate();
    assert_eq!(sequence(&third, "beta"), sequence(&second, "beta") + 1);
    // What is saved is what was published.
    let json = serde_json::to_string(&third.published).unwrap();
    assert_eq!(
        serde_json::from_str::<fedgate_federation::federate::Published>(&json).unwrap(),
        third.published
    );
}

#[test]
fn the_bundles_sequence_grows_with_the_roots() {
    let mut rig = Rig::new();
    let first = rig.federate();
    rig.previous = first.published.clone();
    rig.now = at(20);
    assert_eq!(rig.federate().spiffe_bundle, first.spiffe_bundle);
    rig.local.roots.push(root());
    assert!(rig.federate().spiffe_bundle.sequence > first.spiffe_bundle.sequence);
}

#[test]
fn a_table_that_cannot_be_built_affects_nothing_else() {
    let mut rig = Rig::new();
    let first = rig.federate();
    rig.previous = first.published.clone();
    rig.objects.federations.extend(crate::rig::more_peers_than_fit());
    let federation = rig.federate();
    assert!(federation.table.is_err());
    the(&federation.findings, Reason::TableNotBuilt);
    assert_eq!(federation.imports.len(), 2);
    assert_eq!(
        (federation.published.generation, federation.published.table),
        (first.published.generation, first.published.table)
    );
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let mut rig = Rig::new();
    rig.objects.services.push(service("api", vec![port("grpc", 90)]));
    let first = rig.federate();
    rig.objects.services.reverse();
    rig.objects.federations.reverse();
    let second = rig.federate();
    assert_eq!(first.table.unwrap().hash(), second.table.unwrap().hash());
    assert_eq!(
        (first.exports, first.imports, first.findings, first.published),
        (second.exports, second.imports, second.findings, second.published)
    );
}

/// Prints how long it takes: `cargo test -p fedgate-federation --release -- --ignored --nocapture
/// how_long`.
#[test]
#[ignore = "a measurement"]
fn how_long_ten_thousand_services_take() {
    let mut rig = Rig::new();
    for n in 0..198 {
        rig.objects
            .federations
            .push(crate::rig::federation_object(&format!("p{n}"), &format!("t{n}.example")));
    }
    rig.objects.services =
        (0..10_000).map(|n| service(&format!("service-{n}"), vec![port("http", 80)])).collect();
    let policy = |n: usize| {
        let spec = serde_json::json!({"peers": [format!("p{n}")], "services": [{"namespaces": ["shop"], "selector": {"matchLabels": {"n": "x"}}}]});
        fedgate_federation::object::PolicyObject::read(format!("policy-{n}"), None, &spec).0
    };
    rig.objects.policies = (0..100).map(policy).collect();
    #[expect(clippy::disallowed_methods, reason = "it says what it measured")]
    let start = std::time::Instant::now();
    let federation = rig.federate();
    println!(
        "{} exports, {} peers: {:?}",
        federation.exports.len(),
        federation.peers.len(),
        start.elapsed()
    );
    assert_eq!(federation.private_documents.len(), 200);
}

#[test]
fn findings_of_the_adapter_are_passed_on() {
    let mut rig = Rig::new();
    let finding = fedgate_federation::Finding::error(
        Reason::Unreadable,
        fedgate_federation::ObjectRef::new("File", "x.yaml"),
        "",
        "no YAML",
    );
    rig.objects.findings = vec![finding.clone()];
    assert_eq!(found(&rig.federate().findings, Reason::Unreadable), [&finding]);
}
