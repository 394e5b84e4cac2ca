//! Every finding reason can be produced. The adapters test their own.

use crate::rig::{
    Rig, at, ca_parameters, dkp, federation_object, port, private, public, root, root_until,
    service,
};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::Limits;
use fedgate_federation::federate::Passthrough;
use fedgate_federation::knowledge::Delivery;
use fedgate_federation::object::{
    APPROVE_ANNOTATION, GATEWAY_MODE_ANNOTATION, PEERS_ANNOTATION, PIN_ROOTS_ANNOTATION,
    PODS_ANNOTATION, PolicyObject, ROOT_CHANGE_ANNOTATION, ServiceObject, ServicePortSpec,
};
use fedgate_federation::own::OwnListener;
use fedgate_federation::signature::Signatures;
use fedgate_federation::{Finding, FindingReason, Severity};
use serde_json::json;
use std::collections::BTreeSet;

/// Objects with all possible faults.
fn objects() -> Vec<Finding> {
    let mut rig = Rig::new();
    let mut insecure = federation_object("delta", "delta.example");
    insecure.spec.metadata.insecure_skip_verify = true;
    let mut bad = federation_object("Epsilon", "Epsilon.example");
    bad.spec.metadata_endpoint = "http://x".to_owned();
    bad.spec.metadata.ca = Some("x".to_owned());
    rig.objects.federations.extend([insecure, bad]);
    rig.objects.federations.push(federation_object("local", "cluster.local"));
    rig.objects.federations.push(federation_object("us", "alpha.example"));
    rig.objects.federations.push(federation_object("us", "alpha.example"));
    rig.local.own_addresses.listeners = vec![OwnListener {
        name: "the egress".to_owned(),
        address: "192.0.2.64".parse().unwrap(),
        ports: 15_443..=15_443,
        is_gateway: false,
    }];
    rig.local.gateways = (0..65).map(|n| crate::rig::gateway(&format!("192.0.2.{n}"))).collect();
    let unnamed = ServicePortSpec { port: 80, ..ServicePortSpec::default() };
    let mut external = service("external", vec![port("http", 80)]);
    external.service_type = Some("ExternalName".to_owned());
    let mut labelled = service("labelled", vec![port("http", 80)]);
    labelled.labels.values_mut().for_each(|value| *value = "yes".to_owned());
    let mut annotated = service("annotated", vec![port("http", 80)]);
    annotated.annotations.insert(PEERS_ANNOTATION.to_owned(), "*,nobody".to_owned());
    rig.objects.services.extend([
        external,
        labelled,
        annotated,
        service("empty", vec![]),
        service("many", (1..=65).map(|n| port(&format!("p{n}"), n)).collect()),
        service("unnamed", vec![unnamed]),
        service("zero", vec![port("http", 0)]),
        service("twice", vec![port("http", 80), port("http", 81)]),
    ]);
    let callers = |prefix: &str| {
        (0..600).map(|n| json!({"namespace": format!("{prefix}{n}")})).collect::<Vec<_>>()
    };
    let policies =
        [json!({"peers": []}), json!({"callers": callers("a")}), json!({"callers": callers("b")})];
    rig.objects.policies = policies
        .iter()
        .enumerate()
        .map(|(n, spec)| PolicyObject::read(format!("p{n}"), None, spec).0)
        .collect();
    rig.federate().findings
}

/// A cluster whose name leaves no room for the names of its Services.
fn long_names() -> Vec<Finding> {
    let mut rig = Rig::new();
    rig.local.trust_domain = crate::rig::long_domain(227);
    rig.federate().findings
}

/// Services that ask for TLS passthrough but cannot have it.
fn passthrough() -> Vec<Finding> {
    let mut rig = Rig::new();
    let mut web = service("through", vec![port("http", 80)]);
    web.annotations.insert(GATEWAY_MODE_ANNOTATION.to_owned(), "passthrough".to_owned());
    rig.objects.services.push(web.clone());
    let mut findings = rig.federate().findings;
    rig.local.passthrough = Passthrough::Prepared(BTreeSet::new());
    findings.extend(rig.federate().findings);
    web.selector.insert("app".to_owned(), "through".to_owned());
    rig.objects.services.push(ServiceObject { name: "pending".to_owned(), ..web });
    findings.extend(rig.federate().findings);
    findings
}

/// Services that offer Pods that cannot be offered.
fn pods() -> Vec<Finding> {
    let mut rig = Rig::new();
    for (name, pods) in [("none", vec![]), ("bad", vec!["A b"]), ("refused", vec![])] {
        let mut headless = service(name, vec![port("tcp", 80)]);
        headless.headless = true;
        headless.annotations.insert(PODS_ANNOTATION.to_owned(), "true".to_owned());
        headless.pods = pods.into_iter().map(str::to_owned).collect();
        headless.pods_refused = name == "refused";
        rig.objects.services.push(headless);
    }
    rig.federate().findings
}

/// Peers that conflict with each other.
fn clashes() -> Vec<Finding> {
    let mut rig = Rig::new();
    rig.add_peer("beta2", "beta.example", '4');
    rig.add_peer("delta", "delta.example", '3');
    rig.add_peer("epsilon", "epsilon.example", '1');
    let network: fedgate_federation::document::Network =
        serde_json::from_value(json!({"podCIDRs": ["10.0.0.0/8"]})).unwrap();
    rig.local.network = network.clone();
    let mut document = private(2, &["192.0.2.9"], vec![]);
    document.extension.as_mut().unwrap().network = network;
    rig.absorb("beta", &document, at(1));
    rig.federate().findings
}

/// A pin that excludes a peer, and a change that is held.
fn trust() -> Vec<Finding> {
    let mut rig = Rig::new();
    rig.object("gamma")
        .annotations
        .insert(PIN_ROOTS_ANNOTATION.to_owned(), root().fingerprint().to_string());
    let approve = "Approve".to_owned();
    rig.object("beta").annotations.insert(ROOT_CHANGE_ANNOTATION.to_owned(), approve);
    let peer = fedgate_federation::object::Peer::parse(rig.object("beta")).unwrap().0;
    let new = public('2', b'2', "beta.example", vec![root()]).to_json();
    rig.known("beta").absorb_public(&peer, &new, Default::default(), &Limits::default(), at(1));
    let garbage = Some(Signatures::parse(b"x"));
    let delivery = Delivery { signatures: garbage, ..Delivery::default() };
    rig.known("beta").absorb_public(&peer, &new, delivery, &Limits::default(), at(1));
    rig.object("beta").annotations.insert("fedgate.dev/approved".to_owned(), String::new());
    rig.object("beta").annotations.insert(APPROVE_ANNOTATION.to_owned(), String::new());
    rig.federate().findings
}

/// Documents with all possible faults.
fn documents() -> Vec<Finding> {
    let mut rig = Rig::new();
    let peer = fedgate_federation::object::Peer::parse(rig.object("beta")).unwrap().0;
    let limits = Limits { findings: 12, ..Limits::default() };
    let row = |host: &str, ports: serde_json::Value| json!({"hostname": host, "ports": ports});
    let http = json!([{"name": "http", "port": 80}, {"name": "http", "port": 81}, {"name": "x", "port": 0}]);
    let mut rows = vec![
        row("a.b.svc.beta.example", http.clone()),
        row("a.b.svc.beta.example", json!([{"name": "http", "port": 80}])),
        row("foreign.example", http),
    ];
    rows.extend(vec![json!(0); 20]);
    let count = rows.len();
    let body = json!({
        "ingressGateways": [{"address": "0.0.0.0", "port": 1}],
        "publicServices": rows,
        "fedgate": {"sequence": 2, "serviceCount": count, "gatewayIdentities": ["x"]},
    });
    let known = rig.known("beta");
    known.private = None;
    known.absorb_private(
        &peer,
        body.to_string().as_bytes(),
        Default::default(),
        &limits,
        &crate::rig::TIMES,
        at(1),
    );
    let mut body = serde_json::from_slice::<serde_json::Value>(
        &public('5', 9, "beta.example", vec![root(), root_until(2021)]).to_json(),
    )
    .unwrap();
    body["rootCA"] = json!(format!("{}-----BEGIN X", body["rootCA"].as_str().unwrap()));
    let mut findings = known
        .absorb_public(&peer, body.to_string().as_bytes(), Default::default(), &limits, at(1))
        .into_findings();
    findings.extend(
        known.absorb_public(&peer, b"{}", Default::default(), &limits, at(1)).into_findings(),
    );
    body["fedgate"] = json!(1);
    findings.extend(
        known
            .absorb_public(&peer, body.to_string().as_bytes(), Default::default(), &limits, at(1))
            .into_findings(),
    );
    findings.extend(rig.federate().findings);

    let (ours, theirs) = (at(1), at(100));
    rig.known("beta").record_clock(fedgate_federation::knowledge::ClockReading { ours, theirs });
    findings
        .extend(rig.absorb("gamma", &private(0, &["192.0.2.9"], vec![]), at(1)).into_findings());
    rig.known("gamma").private.as_mut().unwrap().document.extension = None;
    findings.extend(rig.absorb("gamma", &dkp(private(0, &[], vec![])), at(1)).into_findings());
    rig.now = at(300);
    findings.extend(rig.federate().findings);
    rig.now = at(3600);
    findings.extend(rig.federate().findings);
    findings
}

/// A gateway at our own address, one whose name is not found, and a root that is not valid yet.
fn gateways() -> Vec<Finding> {
    let mut rig = Rig::new();
    rig.absorb("beta", &private(2, &["192.0.2.1", "gw.beta.example"], vec![]), at(1));
    rig.not_found("beta", "gw.beta.example", "no name server answers", at(1));
    let mut tomorrow = ca_parameters(2100);
    tomorrow.not_before = rcgen::date_time_ymd(2099, 1, 1);
    let root =
        Root::from_der(tomorrow.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der())
            .unwrap();
    rig.known("gamma").public.as_mut().unwrap().document.roots = vec![root];
    rig.federate().findings
}

/// More than fits in a table.
fn table() -> Vec<Finding> {
    let mut rig = Rig::new();
    rig.objects.federations = crate::rig::more_peers_than_fit();
    rig.objects.services.clear();
    rig.federate().findings
}

#[test]
fn every_reason_is_produced() {
    let own = [crate::credentials::everything(), crate::gateway_pods::everything()].concat();
    let findings = [
        objects(),
        long_names(),
        passthrough(),
        pods(),
        clashes(),
        trust(),
        documents(),
        gateways(),
        table(),
        crate::far_side::everything(),
        crate::federated::everything(),
        own,
    ]
    .concat();
    let produced: BTreeSet<_> = findings.iter().map(|finding| finding.reason).collect();
    let missing: Vec<_> = FindingReason::ALL
        .iter()
        .filter(|reason| !produced.contains(reason) && !FindingReason::OF_ADAPTERS.contains(reason))
        .collect();
    assert_eq!(missing, Vec::<&FindingReason>::new());
    for finding in &findings {
        assert!(!finding.message.is_empty() && finding.message.len() < 600, "{finding}");
        assert!(!finding.message.chars().any(char::is_control), "{finding}");
    }
    let is_info = |finding: &&Finding| finding.severity == Severity::Info;
    let infos: BTreeSet<_> = findings.iter().filter(is_info).map(ToString::to_string).collect();
    crate::readable::assert_readable(&Vec::from_iter(infos), crate::readable::problems);
    let others: BTreeSet<_> =
        findings.iter().filter(|finding| !is_info(finding)).map(ToString::to_string).collect();
    crate::readable::assert_readable(&Vec::from_iter(others), crate::advice::problems_of_finding);
}
