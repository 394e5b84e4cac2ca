//! Pods that are exported by name.

use crate::grants::{GRANTED, NOT_GRANTED};
use crate::rig::{Rig, at, found, name, offered, port, private, service, the};
use fedgate_core::{Outcome, Reason as Word, ServiceName, decide};
use fedgate_federation::federate::{Federation, MOST_PODS, owner};
use fedgate_federation::object::{
    GATEWAY_MODE_ANNOTATION, PEERS_ANNOTATION, PODS_ANNOTATION, PolicyObject, ServiceObject,
};
use fedgate_federation::{FindingReason as Reason, Severity};
use proptest::prelude::*;
use serde_json::json;

/// The headless Service `db` with these Pods, which its owner exports by name.
fn db(pods: &[&str]) -> ServiceObject {
    let mut db = service("db", vec![port("tcp-sql", 5432), port("http", 80)]);
    db.annotations.insert(PODS_ANNOTATION.to_owned(), "true".to_owned());
    db.headless = true;
    db.pods = pods.iter().map(|pod| (*pod).to_owned()).collect();
    db
}

/// `alpha` exports only this Service.
fn rig(service: ServiceObject) -> Rig {
    let mut rig = Rig::new();
    rig.objects.services = vec![service];
    rig
}

/// The rows of the table.
fn rows(federation: &Federation) -> Vec<String> {
    federation.table.as_ref().unwrap().exports().map(|(service, _)| service.to_string()).collect()
}

/// The hosts that are announced to a peer.
fn announced<'a>(federation: &'a Federation, peer: &str) -> Vec<&'a str> {
    let services = &federation.private_documents[&name(peer)].services;
    services.iter().map(|service| service.hostname.as_str()).collect()
}

/// The decision on a call of `peer` to `host:5432`.
fn call(federation: &Federation, peer: &str, host: &str) -> (Outcome, Word) {
    let (sni, san) =
        (format!("outbound_.5432_._.{host}"), format!("spiffe://{peer}.example/ns/shop/sa/app"));
    let decision = decide(federation.table.as_ref().unwrap(), Some(&sni), Some(&san));
    (decision.outcome, decision.reason)
}

const DB: &str = "db.shop.svc.alpha.example";
const DB_0: &str = "db-0.db.shop.svc.alpha.example";

#[test]
fn pods_have_the_rows_of_their_service() {
    let federation = rig(db(&["db-0", "db-1"])).federate();
    assert_eq!(
        announced(&federation, "beta"),
        [DB_0, "db-1.db.shop.svc.alpha.example", DB],
        "each peer reads them as it reads any other row"
    );
    let document = &federation.private_documents[&name("beta")];
    assert!(document.services.iter().all(|row| row.ports == document.services[0].ports));
    assert_eq!(rows(&federation).len(), 6);
    for host in [DB, DB_0] {
        assert_eq!(call(&federation, "beta", host), GRANTED);
    }
    assert_eq!(federation.table.as_ref().unwrap().grant_set_count(), 1, "one set for all of them");
    let pods: Vec<_> = federation
        .exports
        .iter()
        .filter_map(|export| Some((export.pod.as_ref()?.name.as_str(), export.name.as_str())))
        .collect();
    assert_eq!(pods, [("db-0", "db"), ("db-0", "db"), ("db-1", "db"), ("db-1", "db")]);
    assert!(federation.findings.is_empty(), "{:?}", federation.findings);
}

#[test]
fn pods_of_a_service_that_does_not_ask_have_no_name() {
    type Change = (&'static str, fn(&mut ServiceObject));
    let changes: [Change; 5] = [
        ("no annotation", |db| db.annotations.clear()),
        ("false", |db| drop(db.annotations.insert(PODS_ANNOTATION.into(), "false".into()))),
        ("another word", |db| drop(db.annotations.insert(PODS_ANNOTATION.into(), "yes".into()))),
        ("an address", |db| db.headless = false),
        ("misspelt", |db| {
            db.annotations.clear();
            db.annotations.insert("fedgate.dev/pod".into(), "true".into());
        }),
    ];
    for (why, change) in changes {
        let mut service = db(&["db-0"]);
        change(&mut service);
        let federation = rig(service).federate();
        assert_eq!(
            call(&federation, "beta", DB_0),
            (Outcome::Refused, Word::UnknownService),
            "{why}"
        );
        assert_eq!(call(&federation, "beta", DB), GRANTED, "{why}: the Service stays");
        assert_eq!(announced(&federation, "beta"), [DB], "{why}");
    }
    let mut unlabelled = db(&["db-0"]);
    unlabelled.labels.clear();
    let federation = rig(unlabelled).federate();
    assert!(rows(&federation).is_empty() && announced(&federation, "beta").is_empty());
}

#[test]
fn whoever_cannot_reach_the_service_cannot_reach_its_pods() {
    let mut narrowed = db(&["db-0"]);
    narrowed.annotations.insert(PEERS_ANNOTATION.to_owned(), "gamma".to_owned());
    let federation = rig(narrowed).federate();
    assert_eq!(call(&federation, "beta", DB_0), NOT_GRANTED);
    assert_eq!(call(&federation, "gamma", DB_0), GRANTED);
    assert_eq!(announced(&federation, "beta"), Vec::<&str>::new());

    let policy = |spec| PolicyObject::read("p", None, &spec).0;
    let sql = json!({ "peers": ["beta"], "services": [{ "namespaces": ["shop"], "ports": [80] }] });
    let mut rig = rig(db(&["db-0"]));
    rig.objects.policies = vec![policy(sql.clone())];
    let federation = rig.federate();
    assert_eq!(call(&federation, "beta", DB_0), NOT_GRANTED, "another port of the Service");
    assert_eq!(call(&federation, "gamma", DB_0), GRANTED, "no policy selects it");
    let ports = &federation.private_documents[&name("beta")].services[0].ports;
    assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["http"]);

    let callers = json!({ "peers": ["beta"], "callers": [{ "namespace": "other" }] });
    rig.objects.policies = vec![policy(callers)];
    assert_eq!(call(&rig.federate(), "beta", DB_0), (Outcome::Refused, Word::CallerNotGranted));

    let mut audited = sql;
    audited["mode"] = "Audit".into();
    rig.objects.policies = vec![policy(audited)];
    assert_eq!(call(&rig.federate(), "beta", DB_0).0, Outcome::Audited);
}

#[test]
fn pods_come_and_go_without_a_change_of_their_service() {
    let mut rig = rig(db(&["db-0"]));
    let first = rig.federate();
    rig.previous = first.published.clone();
    rig.objects.services = vec![db(&["db-0", "db-1"])];
    let second = rig.federate();
    assert_ne!(first.published.table, second.published.table);
    rig.previous = second.published.clone();
    rig.objects.services = vec![db(&[])];
    let third = rig.federate();
    assert_eq!(call(&third, "beta", DB_0), (Outcome::Refused, Word::UnknownService));
    for federation in [&first, &second, &third] {
        let document = &federation.private_documents[&name("beta")];
        let service = document.services.iter().find(|row| row.hostname.as_str() == DB).unwrap();
        assert_eq!(service.ports.len(), 2);
        assert_eq!(call(federation, "beta", DB), GRANTED);
    }
    let none = the(&third.findings, Reason::NoPods);
    assert_eq!(none.severity, Severity::Warning);
    assert!(none.message.contains("serviceName: db"), "{}", none.message);
}

/// Without the permission nothing is wrong with the Service.
#[test]
fn a_missing_permission_is_reported_instead_of_missing_pods() {
    let federation = rig(ServiceObject { pods_refused: true, ..db(&[]) }).federate();
    let refused = the(&federation.findings, Reason::PodsRefused);
    assert!(refused.message.contains("endpointslices.discovery.k8s.io"), "{}", refused.message);
    let reasons = || federation.findings.iter().map(|finding| finding.reason);
    assert!(!reasons().any(|reason| reason == Reason::NoPods));
    assert_eq!(call(&federation, "beta", DB), GRANTED);
    // Pods that were read before the permission was lost stay known.
    let federation = rig(ServiceObject { pods_refused: true, ..db(&["db-0"]) }).federate();
    assert_eq!(call(&federation, "beta", DB_0), GRANTED);
    let mut reasons = federation.findings.iter().map(|finding| finding.reason);
    assert!(!reasons.any(|reason| reason == Reason::PodsRefused));
}

#[test]
fn the_first_pods_are_offered_and_a_finding_counts_the_others() {
    let names: Vec<_> = (0..MOST_PODS + 5).map(|number| format!("db-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let federation = rig(db(&names)).federate();
    assert_eq!(rows(&federation).len(), 2 * (MOST_PODS + 1));
    assert_eq!(call(&federation, "beta", "db-127.db.shop.svc.alpha.example"), GRANTED);
    assert_eq!(
        call(&federation, "beta", "db-128.db.shop.svc.alpha.example"),
        (Outcome::Refused, Word::UnknownService)
    );
    let left_out = the(&federation.findings, Reason::PodsLeftOut);
    assert!(
        left_out.message.starts_with("left out db-128, db-129, db-130 and 2 more: "),
        "{}",
        left_out.message
    );
}

#[test]
fn a_pod_with_an_unusable_name_is_left_out_and_the_others_stay() {
    let long = "x".repeat(63);
    let bad =
        ["", "Db-1", "db.1", "db_1", "-db", "db 1", "*", "db/1", "dß", "x\n", &"x".repeat(64)];
    let federation = rig(db(&[bad.as_slice(), &["db-0", &long]].concat())).federate();
    assert_eq!(rows(&federation).len(), 6, "{:?}", rows(&federation));
    assert_eq!(found(&federation.findings, Reason::PodsLeftOut).len(), 1);

    let mut rig = rig(db(&["db-0", &long]));
    rig.local.trust_domain = crate::rig::long_domain(200);
    let federation = rig.federate();
    assert_eq!(rows(&federation).len(), 4, "the long name does not fit in a server name");
    assert!(the(&federation.findings, Reason::PodsLeftOut).message.contains("too long"));
}

/// Otherwise `a.b.svc.svc.x` would be a Pod of `x` and a Service of `svc.x`.
#[test]
fn pods_of_a_namespace_called_svc_have_no_name() {
    let mut service = db(&["db-0"]);
    service.namespace = "svc".to_owned();
    let federation = rig(service).federate();
    assert_eq!(announced(&federation, "beta"), ["db.svc.svc.alpha.example"]);
    assert!(the(&federation.findings, Reason::PodsLeftOut).message.contains("namespace"));
}

#[test]
fn pods_and_passthrough_exclude_each_other() {
    let mut service = db(&["db-0"]);
    service.selector.insert("app".to_owned(), "db".to_owned());
    service.annotations.insert(GATEWAY_MODE_ANNOTATION.to_owned(), "passthrough".to_owned());
    let mut rig = rig(service);
    rig.local.passthrough = fedgate_federation::federate::Passthrough::Prepared(
        [("shop".to_owned(), "db".to_owned())].into(),
    );
    let federation = rig.federate();
    assert_eq!(announced(&federation, "beta"), [DB]);
    assert!(
        the(&federation.findings, Reason::InvalidAnnotation).message.contains("passes through")
    );
}

#[test]
fn a_peers_pods_are_imported_under_their_names() {
    let mut rig = Rig::new();
    let rows = ["db-0.db.shop", "db-1.db.shop", "db.shop"]
        .map(|host| offered(&format!("{host}.svc.beta.example"), &[("tcp-sql", 5432)]));
    rig.absorb("beta", &private(3, &["192.0.2.9"], rows.to_vec()), at(1));
    let federation = rig.federate();
    let imports: Vec<_> =
        federation.imports.of("beta.example").iter().map(|row| row.service.to_string()).collect();
    assert_eq!(
        imports,
        [
            "db-0.db.shop.svc.beta.example:5432",
            "db-1.db.shop.svc.beta.example:5432",
            "db.shop.svc.beta.example:5432"
        ]
    );
    for import in federation.imports.of("beta.example") {
        assert_eq!(owner(&import.service), "beta.example");
        assert!(federation.imports.find(&import.service).is_some());
    }
    let probed = federation.probe_targets[&name("beta")].service.as_ref().unwrap();
    assert_eq!(probed.to_string(), "db.shop.svc.beta.example:5432", "Pods come and go");
}

#[test]
fn a_pod_of_another_trust_domain_is_foreign() {
    let mut rig = Rig::new();
    let peer = fedgate_federation::object::Peer::parse(rig.object("beta")).unwrap().0;
    for (sequence, foreign) in [
        "db-0.db.shop.svc.gamma.example",
        "db-0.db.shop.svc.alpha.example",
        "x.db-0.db.shop.svc.beta.example",
    ]
    .into_iter()
    .enumerate()
    {
        let rows = vec![offered(foreign, &[("tcp", 1)])];
        let body = private(10 + sequence as u64, &["192.0.2.9"], rows).to_json();
        rig.known("beta").absorb_private(
            &peer,
            &body,
            Default::default(),
            &Default::default(),
            &Default::default(),
            at(1),
        );
        let federation = rig.federate();
        assert!(federation.imports.of("beta.example").is_empty(), "{foreign}");
        the(&federation.findings, Reason::ForeignName);
    }
}

fn hostile() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![
        "[a-z0-9-]{1,8}",
        "\\PC{0,80}",
        Just("svc".to_owned()),
        Just("db-0.db.shop.svc.beta.example".to_owned())
    ];
    proptest::collection::vec(name, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever names the EndpointSlices have, the rows are bounded, are the Service's own, and
    /// have its grants.
    #[test]
    fn any_pods_are_handled(pods in hostile(), namespace in "shop|svc|a", asks: bool) {
        let mut service = db(&[]);
        service.namespace = namespace.clone();
        service.pods = pods.into_iter().collect();
        if !asks {
            service.annotations.clear();
        }
        let federation = rig(service).federate();
        let suffix = format!(".db.{namespace}.svc.alpha.example");
        let of_pods: Vec<_> =
            federation.exports.iter().filter(|export| export.pod.is_some()).collect();
        prop_assert!(of_pods.len() <= 2 * MOST_PODS && (asks || of_pods.is_empty()));
        prop_assert_eq!(rows(&federation).len(), of_pods.len() + 2);
        let service = federation.exports.iter().find(|export| export.pod.is_none()).unwrap();
        for export in of_pods {
            let pod = &export.pod.as_ref().unwrap().name;
            prop_assert_eq!(export.service.host.as_str(), format!("{pod}{suffix}"));
            prop_assert_eq!(&export.grants, &service.grants);
            prop_assert!(ServiceName::parse(&export.service.to_string()).is_ok());
        }
        prop_assert!(federation.findings.len() <= 4, "{:?}", federation.findings);
    }
}
