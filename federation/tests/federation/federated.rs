//! One name for the same service in several clusters.

use crate::rig::{Rig, at, found, name, offered, port, private, public, service, the};
use fedgate_federation::federate::{
    FederatedPort, Federation, MemberPlace, MemberState, Memory, PassedOver, federate_again,
};
use fedgate_federation::knowledge::{Dataplane, DataplaneReason};
use fedgate_federation::object::{FederatedServiceObject, FederatedServiceSpec, FederatedSuffix};
use fedgate_federation::{FindingReason, Severity};
use serde_json::{Value, json};

/// A `FederatedService` with this spec.
pub(crate) fn object(namespace: &str, name: &str, spec: &Value) -> FederatedServiceObject {
    let spec = FederatedServiceSpec::of_object(&json!({ "spec": spec })).unwrap();
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    FederatedServiceObject { namespace, name, source: None, spec }
}

fn with_members(members: &Value) -> Rig {
    let mut rig = ready();
    rig.objects.federated_services = vec![object(
        "shop",
        "web",
        &json!({"ports": [{"name": "http", "port": 80}], "members": members}),
    )];
    rig
}

/// A rig whose peers and local workloads are known to be ready.
fn ready() -> Rig {
    let mut rig = Rig::new();
    for peer in ["beta", "gamma"] {
        probe(&mut rig, peer, DataplaneReason::Succeeded);
    }
    for service in &mut rig.objects.services {
        service.ports.iter_mut().for_each(|port| port.ready = Some(1));
    }
    rig
}

fn probe(rig: &mut Rig, peer: &str, reason: DataplaneReason) {
    rig.known(peer).dataplane = Some(Dataplane {
        reason,
        message: String::new(),
        since: at(1),
        at: at(1),
        server_only: false,
    });
}

fn only_port(federation: &Federation) -> &FederatedPort {
    match federation.federated_services.as_slice() {
        [service] => service.ports.first().unwrap(),
        others => panic!("expected one, found {others:#?} and {:#?}", federation.findings),
    }
}

/// The members as `place priority*weight state`.
fn members(federation: &Federation) -> Vec<String> {
    let text = |member: &fedgate_federation::federate::FederatedMember| {
        format!("{} {}*{} {}", member.place, member.priority, member.weight, member.state.word())
    };
    only_port(federation).members.iter().map(text).collect()
}

fn taken(federation: &Federation) -> Vec<String> {
    only_port(federation).taken().map(|member| member.place.to_string()).collect()
}

#[test]
fn members_are_in_order_of_priority() {
    let rig = with_members(&json!([{"local": {}}, {"peers": ["gamma", "beta"]}]));
    let federation = rig.federate();
    assert_eq!(
        members(&federation),
        ["this cluster 0*1 ready", "gamma 1*1 ready", "beta 1*1 ready"]
    );
    assert_eq!(taken(&federation), ["this cluster"]);
    let port = only_port(&federation);
    assert_eq!(port.service.to_string(), "web.shop.global:80");
    let services: Vec<_> =
        port.members.iter().map(|member| member.service.as_ref().unwrap().to_string()).collect();
    assert_eq!(
        services,
        [
            "web.shop.svc.alpha.example:80",
            "web.shop.svc.gamma.example:80",
            "web.shop.svc.beta.example:80"
        ]
    );
    assert!(federation.findings.is_empty(), "{:#?}", federation.findings);
}

#[test]
fn entries_with_one_priority_share_by_weight() {
    let rig = with_members(&json!([
        {"local": {}, "priority": 0, "weight": 3},
        {"peers": ["beta"], "priority": 0},
        {"allPeers": {}},
    ]));
    let federation = rig.federate();
    assert_eq!(
        members(&federation),
        ["this cluster 0*3 ready", "beta 0*1 ready", "gamma 1*1 ready"]
    );
    assert_eq!(taken(&federation), ["this cluster", "beta"]);
}

#[test]
fn all_peers_are_those_that_offer_the_service() {
    let mut rig = with_members(&json!([{"allPeers": {}}]));
    assert_eq!(members(&rig.federate()), ["beta 0*1 ready", "gamma 0*1 ready"]);
    rig.absorb("beta", &private(2, &["192.0.2.9"], vec![]), at(1));
    rig.absorb(
        "beta",
        &private(3, &["192.0.2.9"], vec![offered("api.shop.svc.beta.example", &[("http", 80)])]),
        at(2),
    );
    assert_eq!(members(&rig.federate()), ["gamma 0*1 ready"]);
    assert!(rig.federate().findings.iter().all(|finding| finding.severity != Severity::Error));
}

#[test]
fn what_differs_at_a_member_is_mapped() {
    let mut rig = with_members(&json!([{
        "peers": ["beta"],
        "service": {"name": "api", "namespace": "prod"},
        "ports": {"http": 8080},
    }]));
    let api = offered("api.prod.svc.beta.example", &[("http", 8080)]);
    rig.absorb("beta", &private(2, &["192.0.2.9"], vec![api]), at(1));
    let federation = rig.federate();
    let member = only_port(&federation).members.first().unwrap();
    assert_eq!(member.service.as_ref().unwrap().to_string(), "api.prod.svc.beta.example:8080");
    assert_eq!(member.state, MemberState::Ready);
}

/// As during a rename: the new Service where it exists, the old one as long as it does.
#[test]
fn a_cluster_may_have_several_services_among_the_members() {
    let new = json!({"name": "api"});
    let mut rig = with_members(&json!([
        {"peers": ["beta"], "service": new},
        {"peers": ["beta", "gamma"]},
        {"local": {}, "service": new},
        {"local": {}},
    ]));
    let expected = |first: &str| {
        [
            first,
            "beta 1*1 ready",
            "gamma 1*1 ready",
            "this cluster 2*1 no_local_service",
            "this cluster 3*1 ready",
        ]
        .map(str::to_owned)
    };
    assert_eq!(members(&rig.federate()), expected("beta 0*1 not_offered"));
    the(&rig.federate().findings, FindingReason::MemberNotOffered);
    let both = ["api.shop.svc.beta.example", "web.shop.svc.beta.example"]
        .map(|host| offered(host, &[("http", 80)]));
    rig.absorb("beta", &private(2, &["192.0.2.9"], both.into()), at(1));
    let federation = rig.federate();
    assert_eq!(members(&federation), expected("beta 0*1 ready"));
    assert_eq!(federation.findings, []);
}

#[test]
fn a_service_that_is_a_member_already_is_reported() {
    let repeated = [
        (json!([{"peers": ["beta", "gamma", "beta"]}]), "spec.members[0].peers", "spec.members[0]"),
        (
            json!([{"peers": ["gamma", "beta"], "priority": 1}, {"peers": ["beta"], "priority": 0}]),
            "spec.members[0].peers",
            "spec.members[1]",
        ),
        (json!([{"local": {}}, {"local": {}}]), "spec.members[1].local", "spec.members[0]"),
        (
            json!([{"peers": ["delta"]}, {"peers": ["delta"]}]),
            "spec.members[1].peers",
            "spec.members[0]",
        ),
    ];
    for (entries, field, first) in repeated {
        let federation = with_members(&entries).federate();
        let finding = the(&federation.findings, FindingReason::InvalidMember);
        assert_eq!((finding.severity, finding.field.as_deref()), (Severity::Warning, Some(field)));
        assert!(finding.message.contains(first), "{finding}");
    }
    // The twin: another name or another port makes another Service.
    let other = json!([
        {"peers": ["delta"]},
        {"peers": ["delta"], "service": {"name": "api"}},
        {"peers": ["delta"], "ports": {"http": 81}},
    ]);
    let federation = with_members(&other).federate();
    assert_eq!(found(&federation.findings, FindingReason::InvalidMember), Vec::<&_>::new());
    assert_eq!(members(&federation).len(), 3);
}

#[test]
fn members_that_cannot_take_calls_are_passed_over() {
    let words = |rig: &Rig| {
        let federation = rig.federate();
        only_port(&federation).members.iter().map(|member| member.state.word()).collect::<Vec<_>>()
    };
    let two = json!([{"peers": ["beta"]}, {"peers": ["gamma"]}]);

    let mut rig = with_members(&two);
    probe(&mut rig, "beta", DataplaneReason::ProbeFailed);
    assert_eq!(words(&rig), ["peer_not_ready", "ready"]);
    assert_eq!(taken(&rig.federate()), ["gamma"]);
    rig.known("beta").dataplane = None;
    assert_eq!(words(&rig), ["unproven", "ready"]);
    assert_eq!(taken(&rig.federate()), ["beta"]);

    let mut rig = with_members(&two);
    let api = offered("api.shop.svc.beta.example", &[("http", 80)]);
    rig.absorb("beta", &private(2, &["192.0.2.9"], vec![api]), at(1));
    assert_eq!(words(&rig), ["not_offered", "ready"]);
    assert_eq!(
        the(&rig.federate().findings, FindingReason::MemberNotOffered).field.as_deref(),
        Some("spec.members[0].peers")
    );

    let mut rig = with_members(&two);
    let web = offered("web.shop.svc.beta.example", &[("http", 80)]);
    rig.absorb("beta", &private(2, &["192.0.2.1"], vec![web]), at(1));
    assert_eq!(words(&rig), ["no_gateways", "ready"]);

    let mut rig = with_members(&two);
    rig.known("beta").public.as_mut().unwrap().document.roots.clear();
    assert_eq!(words(&rig), ["no_roots", "ready"]);

    let mut rig = with_members(&two);
    rig.known("beta").private = None;
    assert_eq!(words(&rig), ["not_fetched", "ready"]);

    let mut rig = with_members(&two);
    rig.now = at(3600);
    assert_eq!(words(&rig), ["expired", "expired"]);
    assert_eq!(taken(&rig.federate()), Vec::<String>::new());
    let finding = rig.federate().findings;
    let message = &the(&finding, FindingReason::NoMemberReady).message;
    assert!(message.contains("beta: expired; gamma: expired"), "{message}");

    let mut rig = with_members(&two);
    rig.object("gamma").spec.trust_domain = "beta.example".to_owned();
    rig.known("gamma").trust_domain = "beta.example".parse().unwrap();
    assert_eq!(words(&rig), ["ready", "peer_refused"]);
    rig.object("gamma").spec.trust_domain = "!".to_owned();
    assert_eq!(words(&rig), ["ready", "peer_refused"]);

    let rig = with_members(&json!([{"peers": ["delta"]}, {"peers": ["gamma"]}]));
    assert_eq!(words(&rig), ["unknown_peer", "ready"]);
    the(&rig.federate().findings, FindingReason::UnknownPeer);
}

#[test]
fn this_clusters_service_is_a_member_while_its_workloads_are_ready() {
    let words = |rig: &Rig| {
        let federation = rig.federate();
        only_port(&federation).members.first().unwrap().state.word()
    };
    let mut rig = with_members(&json!([{"local": {}}]));
    assert_eq!(words(&rig), "ready");
    rig.objects.services[0].ports[0].ready = None;
    assert_eq!(words(&rig), "unproven");
    rig.objects.services[0].ports[0].ready = Some(0);
    assert_eq!(words(&rig), "no_workloads");
    rig.objects.services[0] = service("web", vec![port("http", 81)]);
    assert_eq!(words(&rig), "no_local_port");
    // It need not be exported.
    rig.objects.services[0] = service("web", vec![port("http", 80)]);
    rig.objects.services[0].labels.clear();
    assert_eq!(words(&rig), "unproven");
    rig.objects.services[0].service_type = Some("ExternalName".to_owned());
    assert_eq!(words(&rig), "no_local_service");
    rig.objects.services.remove(0);
    assert_eq!(words(&rig), "no_local_service");

    rig.local.trust_domain = crate::rig::long_domain(250);
    assert_eq!(words(&rig), "name_too_long");
}

#[test]
fn a_peer_can_not_claim_a_name_or_attract_its_calls() {
    let mut rig = with_members(&json!([{"peers": ["beta"]}]));
    let before = rig.federate().federated_services;
    let claim = offered("web.shop.global", &[("http", 80)]);
    let other = offered("web.shop.svc.global", &[("http", 80)]);
    let web = offered("web.shop.svc.gamma.example", &[("http", 80)]);
    rig.absorb("gamma", &private(2, &["192.0.2.66"], vec![claim, other, web]), at(1));
    let federation = rig.federate();
    assert_eq!(federation.federated_services, before);
    assert!(
        federation.imports.iter().all(|import| !import.service.host.as_str().ends_with("global"))
    );
    // The same if the document comes from a state file, where the names are not checked yet.
    let services = vec![offered("web.shop.global", &[("http", 80)])].into();
    rig.known("gamma").private.as_mut().unwrap().document.services = services;
    assert_eq!(rig.federate().federated_services, before);
    assert!(rig.federate().imports.of("gamma.example").is_empty());
}

#[test]
fn no_name_is_in_a_trust_domain() {
    let host = |host: &str| json!({"host": host, "ports": [{"name": "http", "port": 80}], "members": [{"local": {}}]});
    let mut rig = ready();
    rig.local.federated_suffix = FederatedSuffix::parse("example").unwrap();
    rig.objects.federated_services = vec![
        object("shop", "a", &host("web.shop.svc.beta.example")),
        object("shop", "b", &host("beta.example")),
        object("shop", "c", &host("web.alpha.example")),
        object("shop", "d", &host("web.shop.example")),
    ];
    let federation = rig.federate();
    let hosts: Vec<_> =
        federation.federated_services.iter().map(|service| service.host.as_str()).collect();
    assert_eq!(hosts, ["web.shop.example"]);
    assert_eq!(found(&federation.findings, FindingReason::InvalidHost).len(), 3);
    let clashes = found(&federation.findings, FindingReason::SuffixClash);
    assert_eq!(clashes.len(), 3, "{clashes:#?}");
    assert!(clashes.iter().all(|finding| finding.severity == Severity::Warning));
    assert!(clashes.iter().any(|finding| {
        finding.message.contains("example") && finding.message.contains("IstioFederation beta")
    }));

    for within in ["beta.example", "x.beta.example", "alpha.example", "svc.cluster.local"] {
        rig.local.federated_suffix = FederatedSuffix::parse(within).unwrap();
        rig.objects.federated_services =
            vec![object("shop", "a", &host(&format!("web.shop.{within}")))];
        let federation = rig.federate();
        assert!(federation.federated_services.is_empty(), "{within}");
        let clash = the(&federation.findings, FindingReason::SuffixClash);
        assert_eq!(clash.severity, Severity::Error);
    }
}

#[test]
fn a_name_belongs_to_the_namespace_in_it() {
    let spec = |host: Option<&str>| {
        let mut spec = json!({"ports": [{"name": "http", "port": 80}], "members": [{"local": {}}]});
        if let Some(host) = host {
            spec["host"] = json!(host);
        }
        spec
    };
    let mut rig = ready();
    rig.objects.federated_services = vec![
        object("attic", "web", &spec(Some("Web.Shop.global"))),
        object("shop", "web", &spec(None)),
        object("shop", "a", &spec(Some("shared.global"))),
        object("attic", "b", &spec(Some("shared.global"))),
    ];
    let owners = |rig: &Rig| {
        let services = rig.federate().federated_services;
        let owner = |service: &fedgate_federation::federate::FederatedService| {
            format!("{}={}/{}", service.host, service.namespace, service.name)
        };
        services.iter().map(owner).collect::<Vec<_>>()
    };
    let expected = ["shared.global=attic/b", "web.shop.global=shop/web"];
    assert_eq!(owners(&rig), expected);
    assert_eq!(found(&rig.federate().findings, FindingReason::HostClaimed).len(), 2);
    rig.objects.federated_services.reverse();
    assert_eq!(owners(&rig), expected);
    // The twin: nobody else wants it.
    rig.objects.federated_services.retain(|object| object.namespace == "attic");
    assert_eq!(owners(&rig), ["shared.global=attic/b", "web.shop.global=attic/web"]);
}

#[test]
fn mistakes_are_reported_and_stop_one_object_only() {
    let http = json!([{"name": "http", "port": 80}]);
    let local = json!([{"local": {}}]);
    let bad = [
        (
            json!({"host": "web.shop.beta", "ports": http, "members": local}),
            FindingReason::InvalidHost,
            "spec.host",
        ),
        (
            json!({"host": "global", "ports": http, "members": local}),
            FindingReason::InvalidHost,
            "spec.host",
        ),
        (
            json!({"host": "a..global", "ports": http, "members": local}),
            FindingReason::InvalidHost,
            "spec.host",
        ),
        (
            json!({"host": "xglobal", "ports": http, "members": local}),
            FindingReason::InvalidHost,
            "spec.host",
        ),
        (json!({"ports": [], "members": local}), FindingReason::NoPorts, "spec.ports"),
        (
            json!({"ports": [{"name": "", "port": 80}], "members": local}),
            FindingReason::UnnamedPort,
            "spec.ports[0]",
        ),
        (
            json!({"ports": [{"name": "A", "port": 80}], "members": local}),
            FindingReason::InvalidPort,
            "spec.ports[0]",
        ),
        (
            json!({"ports": [{"name": "udp-dns", "port": 53}], "members": local}),
            FindingReason::InvalidPort,
            "spec.ports[0]",
        ),
        (
            json!({"ports": [{"name": "a", "port": 0}], "members": local}),
            FindingReason::InvalidPort,
            "spec.ports[0]",
        ),
        (
            json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}], "members": local}),
            FindingReason::DuplicatePort,
            "spec.ports[1]",
        ),
        (json!({"ports": http, "members": []}), FindingReason::NoMembers, "spec.members"),
        (json!({"ports": http, "members": [{}]}), FindingReason::InvalidMember, "spec.members[0]"),
        (
            json!({"ports": http, "members": [{"local": {}, "allPeers": {}}]}),
            FindingReason::InvalidMember,
            "spec.members[0]",
        ),
        (
            json!({"ports": http, "members": [{"peers": []}]}),
            FindingReason::InvalidMember,
            "spec.members[0].peers",
        ),
        (
            json!({"ports": http, "members": [{"peers": ["!"]}]}),
            FindingReason::InvalidMember,
            "spec.members[0].peers",
        ),
        (
            json!({"ports": http, "members": [{"local": {}, "weight": 0}]}),
            FindingReason::InvalidMember,
            "spec.members[0].weight",
        ),
        (
            json!({"ports": http, "members": [{"local": {}, "weight": 101}]}),
            FindingReason::InvalidMember,
            "spec.members[0].weight",
        ),
        (
            json!({"ports": http, "members": [{"local": {}, "priority": 101}]}),
            FindingReason::InvalidMember,
            "spec.members[0].priority",
        ),
        (
            json!({"ports": http, "members": [{"local": {}, "ports": {"x": 1}}]}),
            FindingReason::InvalidMember,
            "spec.members[0].ports",
        ),
        (
            json!({"ports": http, "members": [{"local": {}, "ports": {"http": 0}}]}),
            FindingReason::InvalidMember,
            "spec.members[0].ports",
        ),
        (
            json!({"ports": [{"name": "http", "port": 80, "healthCheck": {}}], "members": local}),
            FindingReason::InvalidHealthCheck,
            "spec.ports[0].healthCheck",
        ),
        (
            json!({"ports": http, "members": [{"local": {}, "service": {"name": "a.b"}}]}),
            FindingReason::InvalidMember,
            "spec.members[0].service.name",
        ),
    ];
    for (spec, reason, field) in bad {
        let mut rig = with_members(&local);
        rig.objects.federated_services.push(object("shop", "bad", &spec));
        let federation = rig.federate();
        assert_eq!(the(&federation.findings, reason).field.as_deref(), Some(field), "{spec}");
        assert_eq!(taken(&federation), ["this cluster"], "{spec}");
    }
}

#[test]
fn a_spec_is_read_strictly() {
    let read = |spec: Value| {
        FederatedServiceSpec::of_object(&json!({ "spec": spec })).unwrap_err().to_string()
    };
    let http = json!([{"name": "http", "port": 80}]);
    assert_eq!(read(json!(null)), "spec: expected ports and members, found nothing");
    assert_eq!(
        read(json!({"ports": http, "members": [{"local": null}]})),
        "spec.members[0].local: expected {}, found nothing; write {}"
    );
    let unknown = read(json!({"ports": http, "members": [{"peer": ["beta"]}]}));
    assert!(unknown.starts_with("spec.members[0].peer: there is no such field"), "{unknown}");
    let inner = read(json!({"ports": http, "members": [{"local": {"x": 1}}]}));
    assert!(inner.starts_with("spec.members[0].local.x: "), "{inner}");
}

#[test]
fn all_members_are_listed_up_to_a_limit() {
    let mut rig = with_members(&json!([{"allPeers": {}}]));
    for number in 0..70 {
        let (peer, domain) = (format!("p{number:02}"), format!("p{number}.example"));
        rig.add_peer(&peer, &domain, '4');
        let document = public('4', 4, &domain, vec![]);
        let known = rig.known(&peer).public.as_mut().unwrap();
        let uuid = format!("{number:08}-aaaa-4aaa-8aaa-444444444444");
        known.document.cluster_uuid =
            fedgate_federation::document::ClusterUuid::parse(&uuid).unwrap();
        assert_eq!(document.roots.len(), 0);
    }
    let federation = rig.federate();
    assert_eq!(only_port(&federation).members.len(), 64);
    let finding = the(&federation.findings, FindingReason::InvalidMember);
    assert!(finding.message.contains("found 72"), "{finding}");
}

/// Everything that `reasons.rs` wants to see produced.
pub(crate) fn everything() -> Vec<fedgate_federation::Finding> {
    let mut rig = with_members(&json!([{"peers": ["beta"], "ports": {"http": 81}}]));
    let http = json!([{"name": "http", "port": 80}]);
    let local = json!([{"local": {}}]);
    rig.objects.federated_services.extend([
        object("shop", "a", &json!({"host": "web.beta.example", "ports": http, "members": local})),
        object("attic", "a", &json!({"host": "web.shop.global", "ports": http, "members": local})),
        object("attic", "b", &json!({"ports": http, "members": []})),
        object("attic", "c", &json!({"ports": http, "members": [{}]})),
        object("attic", "D", &json!({"ports": http, "members": local})),
        object("attic", "e", &json!({"ports": [], "members": local})),
        object(
            "attic",
            "f",
            &json!({"ports": [{"name": "tls", "port": 80, "healthCheck": {}}], "members": local}),
        ),
    ]);
    let mut findings = rig.federate().findings;
    rig.local.federated_suffix = FederatedSuffix::parse("alpha.example").unwrap();
    findings.extend(rig.federate().findings);
    rig.local.federated_suffix = FederatedSuffix::parse("example").unwrap();
    findings.extend(rig.federate().findings);
    findings
}

/// Only the first member that is ready takes calls, whatever the others are.
#[test]
fn whoever_takes_calls_is_ready_and_none_before_it_is() {
    use proptest::prelude::*;
    let state = || prop_oneof![Just(None), Just(Some(true)), Just(Some(false))];
    let entry = (0u32..3, any::<bool>());
    let inputs = (
        proptest::collection::vec(entry, 1..4),
        state(),
        state(),
        prop_oneof![Just(None), Just(Some(0usize)), Just(Some(1))],
    );
    proptest!(|((entries, beta, gamma, local) in inputs)| {
        let who = [json!({"local": {}}), json!({"peers": ["beta"]}), json!({"peers": ["gamma"]})];
        let rows: Vec<_> = entries.iter().zip(who).map(|((priority, explicit), mut row)| {
            if *explicit { row["priority"] = json!(priority); }
            row
        }).collect();
        let mut rig = with_members(&json!(rows));
        for (peer, state) in [("beta", beta), ("gamma", gamma)] {
            match state {
                None => rig.known(peer).dataplane = None,
                Some(true) => probe(&mut rig, peer, DataplaneReason::Succeeded),
                Some(false) => probe(&mut rig, peer, DataplaneReason::ProbeFailed),
            }
        }
        rig.objects.services[0].ports[0].ready = local;
        let federation = federate_again(&rig.inputs(), &mut Memory::default());
        let port = only_port(&federation);
        let dead = |place: &MemberPlace| match place {
            MemberPlace::Local => local == Some(0),
            MemberPlace::Peer(peer) if *peer == name("beta") => beta == Some(false),
            MemberPlace::Peer(_) => gamma == Some(false),
        };
        prop_assert_eq!(port.members.len(), rows.len());
        prop_assert!(port.members.is_sorted_by_key(|member| member.priority));
        for member in &port.members {
            prop_assert_eq!(member.state.is_used(), !dead(&member.place), "{:?}", member);
        }
        let taken: Vec<_> = port.taken().collect();
        let first = port.members.iter().filter(|member| !dead(&member.place)).map(|member| member.priority).min();
        prop_assert!(taken.iter().all(|member| Some(member.priority) == first && !dead(&member.place)));
        let all = port.members.iter().filter(|member| Some(member.priority) == first && !dead(&member.place)).count();
        prop_assert_eq!(taken.len(), all);
        let none = !found(&federation.findings, FindingReason::NoMemberReady).is_empty();
        prop_assert_eq!(none, taken.is_empty());
    });
}

#[test]
fn words_of_states_are_unique() {
    let words: std::collections::BTreeSet<_> =
        PassedOver::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(words.len(), PassedOver::ALL.len());
}
