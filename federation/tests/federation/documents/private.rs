//! The private document, row by row.

use super::{public_value, read_limited, read_private, read_public, web, with_services};
use crate::rig::{at, domain, found, gateway, offered, private, root, the};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::document::{
    DocumentError, Limits, Outcome, Parsed, PrivateDocument, PublicDocument, View,
};
use fedgate_federation::knowledge::{DataplaneReason, ExchangeReason};
use serde_json::{Value, json};

#[test]
fn a_bad_row_is_reported_with_its_position_and_value() {
    let body = "{\n  \"ingressGateways\": [{\"address\": \"192.0.2.1\", \"port\": 70000}],\n  \"publicServices\": [\n    \
                {\"hostname\": 5, \"ports\": []},\n    {\"hostname\": \"a.b.svc.beta.example\",\n     \"ports\": [{\"port\": 80}, \
                {\"name\": \"http\", \"port\": \"80\"}, {\"name\": \"x\", \"port\": -1}, {\"name\": \"y\", \"port\": 1.5}]}\n  ],\n  \
                \"fedgate\": {\"sequence\": -1}\n}";
    let parsed = PrivateDocument::parse(
        body.as_bytes(),
        &domain("beta.example"),
        &crate::rig::beta(),
        &Limits::default(),
    );
    let findings = parsed.unwrap().findings;
    let message_of = |field: &str| {
        let finding = findings.iter().find(|finding| finding.field.as_deref() == Some(field));
        finding.unwrap_or_else(|| panic!("{field}: {findings:#?}")).message.clone()
    };
    let port = "expected a port from 1 to 65535, found";
    assert_eq!(
        message_of("ingressGateways[0]"),
        format!("{port} 70000; the row was dropped, ask the peer's operator to correct it")
    );
    assert!(
        message_of("publicServices[0]")
            .starts_with("line 4, column 18: expected a string, found 5"),
        "{findings:#?}"
    );
    assert!(
        message_of("publicServices[1].ports[0]").starts_with("line 6, column "),
        "{findings:#?}"
    );
    assert!(
        message_of("publicServices[1].ports[0]").contains("expected a field name, found none"),
        "{findings:#?}"
    );
    assert_eq!(
        message_of("publicServices[1].ports[1]"),
        format!("{port} \"80\"; the row was dropped, ask the peer's operator to correct it")
    );
    assert_eq!(
        message_of("publicServices[1].ports[2]"),
        format!("{port} -1; the row was dropped, ask the peer's operator to correct it")
    );
    assert_eq!(
        message_of("publicServices[1].ports[3]"),
        format!("{port} 1.5; the row was dropped, ask the peer's operator to correct it")
    );
    let extension = message_of("fedgate");
    assert!(
        extension.contains("line 8, ") && extension.contains("a whole number that is not negative"),
        "{extension}"
    );
}

#[test]
fn a_private_document_round_trips() {
    let services = vec![
        offered("db.shop.svc.beta.example", &[("tcp-sql", 5432)]),
        offered("web.shop.svc.beta.example", &[("http", 80), ("dns", 53), ("dns-tcp", 53)]),
    ];
    let document = private(7, &["192.0.2.1", "2001:db8::1", "gw.beta.example"], services);
    let parsed = PrivateDocument::parse(
        &document.to_json(),
        &domain("beta.example"),
        &crate::rig::beta(),
        &Limits::default(),
    )
    .unwrap();
    assert_eq!(parsed.document, document);
    assert_eq!(parsed.findings, []);
}

fn assert_is_read_as_written(document: PrivateDocument) {
    let parsed = PrivateDocument::parse(
        &document.to_json(),
        &domain("beta.example"),
        &crate::rig::beta(),
        &Limits::default(),
    );
    assert_eq!(parsed.unwrap(), Parsed { document, findings: vec![] });
}

#[test]
fn applied_roots_round_trip_even_if_empty_or_absent() {
    for applied in [None, Some(vec![]), Some(vec![root().fingerprint()])] {
        let mut document = private(7, &["192.0.2.1"], vec![]);
        document.extension.as_mut().unwrap().applied_roots = applied;
        assert_is_read_as_written(document);
    }
}

#[test]
fn applied_roots_are_checked_and_limited() {
    let good = root().fingerprint();
    let with = |roots: Value| {
        let mut value = with_services(json!([]));
        value["fedgate"] = json!({"sequence": 1, "serviceCount": 0, "appliedRoots": roots});
        read_private(&value).unwrap()
    };
    let parsed = with(json!([good.to_string(), "sha256:12", good.to_string()]));
    assert_eq!(parsed.document.extension.unwrap().applied_roots, Some(vec![good]));
    let finding = the(&parsed.findings, Reason::InvalidExtension);
    assert_eq!(finding.field.as_deref(), Some("fedgate.appliedRoots[1]"));

    let many = |count: usize| json!(vec![good.to_string(); count]);
    assert!(with(many(Limits::default().roots)).document.extension.is_some());
    let parsed = with(many(Limits::default().roots + 1));
    assert_eq!(parsed.document.extension, None);
    assert!(the(&parsed.findings, Reason::InvalidExtension).message.contains("at most 16"));
}

#[test]
fn a_view_is_checked_on_its_own_and_limited() {
    let with = |view: Value| {
        let mut value = with_services(json!([]));
        value["fedgate"] = json!({"sequence": 1, "serviceCount": 0, "view": view});
        let parsed = read_private(&value).unwrap();
        (parsed.document.extension.unwrap().view, parsed.findings)
    };
    let since = at(3);
    let full = json!({
        "sequence": 7,
        "gateways": [{"address": "192.0.2.1", "port": 15443, "new": 1}],
        "fetch": {"reason": "FetchFailed", "since": since, "new": 1},
        "probe": {"reason": "Succeeded", "since": since},
        "clockAhead": -40,
        "new": {},
    });
    let expected = View {
        sequence: Some(7),
        gateways: vec![gateway("192.0.2.1")],
        fetch: Some(Outcome { reason: ExchangeReason::FetchFailed, since }),
        probe: Some(Outcome { reason: DataplaneReason::Succeeded, since }),
        clock_ahead: Some(-40),
    };
    assert_eq!(with(full), (Some(expected.clone()), vec![]));
    let mut document = private(7, &["192.0.2.1"], vec![]);
    document.extension.as_mut().unwrap().view = Some(expected);
    assert_is_read_as_written(document);
    assert_eq!(with(json!({})), (Some(View::default()), vec![]));
    assert_eq!(with(Value::Null), (None, vec![]));
    // A word that we do not know yet is no mistake.
    let (view, findings) = with(json!({"probe": {"reason": "NewWord", "since": since}}));
    assert_eq!((view.unwrap().probe, findings), (None, vec![]));
    let gateways =
        |count: usize| json!({"gateways": vec![json!({"address": "192.0.2.1", "port": 1}); count]});
    assert!(with(gateways(View::MOST_GATEWAYS)).0.is_some());
    let bad = [
        gateways(View::MOST_GATEWAYS + 1),
        json!({"gateways": [{"address": "0.0.0.0", "port": 1}]}),
        json!({"sequence": -1}),
        json!({"clockAhead": "late"}),
        json!({"fetch": {"reason": "Succeeded", "since": "yesterday"}}),
        json!([]),
    ];
    for view in bad {
        let (read, findings) = with(view.clone());
        assert_eq!(read, None, "{view}");
        let finding = the(&findings, Reason::InvalidExtension);
        assert_eq!(finding.field.as_deref(), Some("fedgate.view"));
    }
}

#[test]
fn a_private_document_has_dkps_keys_and_no_null() {
    let value: Value = serde_json::from_slice(&private(7, &[], vec![]).to_json()).unwrap();
    assert_eq!(value["ingressGateways"], json!([]));
    assert_eq!(value["publicServices"], json!([]));
    assert_eq!(value["fedgate"]["sequence"], 7);
    assert_eq!(value["fedgate"]["serviceCount"], 0);
    let services = vec![offered("web.shop.svc.beta.example", &[("http", 80)])];
    let value: Value =
        serde_json::from_slice(&private(7, &["192.0.2.1"], services).to_json()).unwrap();
    assert_eq!(value["ingressGateways"], json!([{"address": "192.0.2.1", "port": 15443}]));
    assert_eq!(value["publicServices"], json!([web()]));
}

#[test]
fn a_missing_list_is_not_an_empty_list() {
    for value in [
        json!({}),
        json!({"publicServices": []}),
        json!({"ingressGateways": []}),
        json!({"ingressGateways": null, "publicServices": []}),
    ] {
        assert!(matches!(read_private(&value), Err(DocumentError::Invalid { .. })), "{value}");
    }
    assert!(matches!(
        read_private(&json!({"ingressGateways": {}, "publicServices": []})),
        Err(DocumentError::Json(_))
    ));
    // A DKP cluster that offers nothing.
    assert!(
        read_private(&json!({"ingressGateways": [], "publicServices": null}))
            .unwrap()
            .document
            .services
            .is_empty()
    );
}

#[test]
fn foreign_names_are_dropped_and_the_rest_is_kept() {
    for foreign in [
        "web.shop.svc.alpha.example",
        "web.shop.svc.evilbeta.example",
        "beta.example",
        "x.a.web.shop.svc.beta.example",
        "web.shop.svc.cluster.local",
    ] {
        let row = json!({"hostname": foreign, "ports": [{"name": "http", "port": 80}]});
        let parsed = read_private(&with_services(json!([row, web()]))).unwrap();
        assert_eq!(parsed.document.services.len(), 1, "{foreign}");
        let finding = the(&parsed.findings, Reason::ForeignName);
        assert_eq!(finding.field.as_deref(), Some("publicServices[0].hostname"));
        assert!(finding.message.contains(foreign), "{finding}");
    }
}

#[test]
fn bad_rows_are_dropped_and_the_rest_is_kept() {
    for (row, reason) in [
        (json!(5), Reason::InvalidService),
        (json!(["a.b.svc.beta.example", [{"name": "http", "port": 80}]]), Reason::InvalidService),
        (json!({"hostname": "web.shop.svc.beta.example"}), Reason::InvalidService),
        (json!({"hostname": "web shop", "ports": []}), Reason::InvalidService),
        (json!({"hostname": "a.b.svc.beta.example", "ports": []}), Reason::InvalidService),
        (
            json!({"hostname": "a.b.svc.beta.example", "ports": [{"name": "http", "port": 0}]}),
            Reason::InvalidPort,
        ),
        (
            json!({"hostname": "a.b.svc.beta.example", "ports": [{"name": "http", "port": 70000}]}),
            Reason::InvalidPort,
        ),
        (
            json!({"hostname": "a.b.svc.beta.example", "ports": [{"name": "{{x}}", "port": 80}]}),
            Reason::InvalidPort,
        ),
        (json!({"hostname": "a.b.svc.beta.example", "ports": [{"port": 80}]}), Reason::InvalidPort),
        (web(), Reason::DuplicateService),
    ] {
        let parsed = read_private(&with_services(json!([web(), row]))).unwrap();
        assert_eq!(parsed.document.services.len(), 1, "{row}");
        assert_eq!(found(&parsed.findings, reason).len(), 1, "{row}: {:?}", parsed.findings);
    }
}

#[test]
fn a_bad_port_is_dropped_and_the_others_are_kept() {
    let ports = json!([{"name": "http", "port": 80}, {"name": "http", "port": 81}, {"name": "", "port": 82}, {"name": "tcp", "port": 83}]);
    let parsed = read_private(&with_services(
        json!([{"hostname": "web.shop.svc.beta.example", "ports": ports}]),
    ))
    .unwrap();
    let numbers: Vec<_> =
        parsed.document.services[0].ports.iter().map(|port| port.port.get()).collect();
    assert_eq!(numbers, [80, 83]);
    the(&parsed.findings, Reason::DuplicatePort);
    the(&parsed.findings, Reason::InvalidPort);
}

#[test]
fn bad_gateways_are_dropped_and_the_rest_is_kept() {
    let rows = json!([{"address": "0.0.0.0", "port": 1}, {"address": "192.0.2.1", "port": 0}, {"address": "127.0.0.1", "port": 15443}, 5]);
    let parsed = read_private(&json!({"ingressGateways": rows, "publicServices": []})).unwrap();
    assert_eq!(parsed.document.gateways, [crate::rig::gateway("127.0.0.1")]);
    assert_eq!(found(&parsed.findings, Reason::InvalidGateway).len(), 3);
}

#[test]
fn a_document_beyond_a_limit_is_refused_as_a_whole() {
    let rows = |count: usize| -> Value {
        (0..count)
            .map(
                |n| json!({"hostname": format!("s{n}.shop.svc.beta.example"), "ports": [{"name": "http", "port": 80}]}),
            )
            .collect()
    };
    let limits = Limits {
        services: 3,
        gateways: 1,
        ports_per_service: 1,
        body_bytes: 500,
        ..Limits::default()
    };
    assert_eq!(read_limited(&with_services(rows(3)), &limits).unwrap().document.services.len(), 3);
    assert!(matches!(
        read_limited(&with_services(rows(4)), &limits),
        Err(DocumentError::Invalid { field: "publicServices", .. })
    ));
    assert!(matches!(
        read_limited(&with_services(rows(40)), &limits),
        Err(DocumentError::TooLarge(_, 500))
    ));
    let gateway = json!({"address": "192.0.2.1", "port": 1});
    let two = json!({"ingressGateways": [gateway, gateway], "publicServices": []});
    assert!(matches!(
        read_limited(&two, &limits),
        Err(DocumentError::Invalid { field: "ingressGateways", .. })
    ));
    let ports = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
    let parsed = read_limited(
        &with_services(json!([{"hostname": "web.shop.svc.beta.example", "ports": ports}])),
        &limits,
    )
    .unwrap();
    assert!(parsed.document.services.is_empty());
    let mut three_roots = public_value();
    three_roots["rootCA"] = json!(root().to_pem().repeat(3));
    let limits = Limits { roots: 2, ..Limits::default() };
    let refused =
        PublicDocument::parse(three_roots.to_string().as_bytes(), &crate::rig::beta(), &limits);
    assert!(matches!(refused, Err(DocumentError::Invalid { field: "rootCA", .. })));
}

#[test]
fn a_hostile_document_causes_few_findings() {
    let rows: Value =
        (0..1000).map(|n| json!({"hostname": format!("x{n}"), "ports": []})).collect();
    let parsed = read_private(&with_services(rows)).unwrap();
    assert_eq!(parsed.findings.len(), 21);
    assert!(the(&parsed.findings, Reason::MoreFindings).message.starts_with("980 more"));
}

#[test]
fn untrusted_text_in_a_message_is_shortened_and_escaped() {
    let host = format!("\u{1b}[2J{}", "x".repeat(5000));
    let parsed = read_private(&with_services(json!([{"hostname": host, "ports": []}]))).unwrap();
    let message = &the(&parsed.findings, Reason::InvalidService).message;
    assert!(message.len() < 400 && !message.contains('\u{1b}'), "{message}");
}

#[test]
fn an_invalid_extension_is_left_out() {
    for extension in [
        json!(5),
        json!({}),
        json!({"sequence": -1, "serviceCount": 1}),
        json!({"sequence": 1, "serviceCount": 1, "network": {"podCIDRs": ["x"]}}),
        json!({"sequence": 1, "serviceCount": 1, "gatewayIdentities": vec!["x"; 65]}),
        json!({"sequence": 1, "serviceCount": 1, "gatewayLocalities": vec![json!({}); 65]}),
        json!({"sequence": 1, "serviceCount": 1, "gatewayLocalities": "eu"}),
    ] {
        let mut value = with_services(json!([web()]));
        value["fedgate"] = extension.clone();
        let parsed = read_private(&value).unwrap();
        assert_eq!(parsed.document.extension, None, "{extension}");
        the(&parsed.findings, Reason::InvalidExtension);
    }
    let mut value = public_value();
    value["fedgate"] = json!({"trustDomain": "NO"});
    the(&read_public(&value).unwrap().findings, Reason::InvalidExtension);
}

#[test]
fn the_service_count_must_match_the_rows() {
    let mut value = with_services(json!([web()]));
    value["fedgate"] = json!({"sequence": 1, "serviceCount": 1, "future": true});
    assert!(read_private(&value).is_ok());
    value["fedgate"]["serviceCount"] = json!(2);
    assert!(matches!(
        read_private(&value),
        Err(DocumentError::Invalid { field: "fedgate.serviceCount", .. })
    ));
}

#[test]
fn gateway_identities_outside_the_trust_domain_are_dropped() {
    let mut value = with_services(json!([]));
    let own = "spiffe://beta.example/ns/istio-system/sa/gateway";
    value["fedgate"] = json!({"sequence": 1, "serviceCount": 0, "gatewayIdentities": [own, "spiffe://alpha.example/ns/a/sa/b", "x"]});
    let parsed = read_private(&value).unwrap();
    let identities = parsed.document.extension.unwrap().gateway_identities;
    assert_eq!(identities.iter().map(|identity| identity.as_str()).collect::<Vec<_>>(), [own]);
    assert_eq!(found(&parsed.findings, Reason::ForeignIdentity).len(), 2);
}

/// A gateway whose locality is dropped may be anywhere.
#[test]
fn localities_that_cannot_be_read_are_dropped_one_by_one() {
    let row = |address: &str, port: u16, locality: &str| json!({"address": address, "port": port, "locality": locality});
    let mut value = with_services(json!([]));
    value["fedgate"] = json!({"sequence": 1, "serviceCount": 0, "gatewayLocalities": [
        row("192.0.2.1", 15_443, "eu-west/a"),
        row("192.0.2.1", 15_443, "us/b"),
        row("192.0.2.2", 15_443, "eu//a"),
        row("192.0.2.3", 15_443, &"a".repeat(64)),
        row("169.254.169.254", 15_443, "eu"),
        row("192.0.2.4", 0, "eu"),
        {"address": "192.0.2.5", "port": 15_443},
    ]});
    let parsed = read_private(&value).unwrap();
    assert_eq!(
        found(&parsed.findings, Reason::InvalidExtension).len(),
        5,
        "{:#?}",
        parsed.findings
    );
    let extension = parsed.document.extension.unwrap();
    let known: Vec<_> =
        extension.gateway_localities.iter().map(|one| one.locality.as_str()).collect();
    assert_eq!(known, ["eu-west/a"], "the first one counts");
    let gateway = |host| extension.locality(&gateway(host)).map(|locality| locality.as_str());
    assert_eq!((gateway("192.0.2.1"), gateway("192.0.2.3")), (Some("eu-west/a"), None));
}
