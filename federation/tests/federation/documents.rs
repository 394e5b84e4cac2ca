use crate::rig::{
    ca_parameters, domain, found, offered, private, public, root, root_until, the, uuid,
};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::bundle::{
    KeyType, Root, RootError, TrustBundle, bundle_map, roots_from_pem,
};
use fedgate_federation::document::{
    DocumentError, Limits, Parsed, PrivateDocument, PublicDocument, SpiffeBundle,
};
use serde_json::{Value, json};

fn read_public(value: &Value) -> Result<Parsed<PublicDocument>, DocumentError> {
    PublicDocument::parse(value.to_string().as_bytes(), &crate::rig::beta(), &Limits::default())
}

fn read_private(value: &Value) -> Result<Parsed<PrivateDocument>, DocumentError> {
    read_limited(value, &Limits::default())
}

fn read_limited(value: &Value, limits: &Limits) -> Result<Parsed<PrivateDocument>, DocumentError> {
    PrivateDocument::parse(
        value.to_string().as_bytes(),
        &domain("beta.example"),
        &crate::rig::beta(),
        limits,
    )
}

fn public_value() -> Value {
    serde_json::from_slice(&public('2', 2, "beta.example", vec![root()]).to_json()).unwrap()
}

fn web() -> Value {
    json!({"hostname": "web.shop.svc.beta.example", "ports": [{"name": "http", "port": 80}]})
}

fn with_services(services: Value) -> Value {
    json!({"ingressGateways": [{"address": "192.0.2.1", "port": 15443}], "publicServices": services})
}

#[test]
fn a_public_document_comes_back_as_it_went() {
    let document = public('2', 2, "beta.example", {
        let mut roots = vec![root(), root()];
        roots.sort();
        roots
    });
    let parsed =
        PublicDocument::parse(&document.to_json(), &crate::rig::beta(), &Limits::default())
            .unwrap();
    assert_eq!(parsed.document, document);
    assert_eq!(parsed.findings, []);
}

#[test]
fn a_public_document_has_dkps_keys() {
    let value = public_value();
    assert_eq!(value["clusterUUID"], uuid('2').as_str());
    assert!(
        value["authnKeyPub"].as_str().unwrap().starts_with("-----BEGIN ED25519 PUBLIC KEY-----\n")
    );
    assert!(value["rootCA"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(value["fedgate"], json!({"trustDomain": "beta.example"}));
}

#[test]
fn a_public_document_of_dkp_is_taken() {
    let mut value = public_value();
    value.as_object_mut().unwrap().remove("fedgate");
    value["something"] = json!({"else": [1, 2]});
    assert_eq!(read_public(&value).unwrap().document.extension, None);
}

#[test]
fn a_public_document_without_its_parts_is_invalid() {
    for key in ["clusterUUID", "authnKeyPub", "rootCA"] {
        let mut empty = public_value();
        empty[key] = json!("");
        assert!(
            matches!(read_public(&empty), Err(DocumentError::Invalid { field, .. }) if field == key),
            "{key}"
        );
        let mut missing = public_value();
        missing.as_object_mut().unwrap().remove(key);
        assert!(
            matches!(read_public(&missing), Err(DocumentError::Invalid { field, .. }) if field == key),
            "{key}"
        );
        let mut number = public_value();
        number[key] = json!(5);
        assert!(matches!(read_public(&number), Err(DocumentError::Json(_))), "{key}");
    }
    assert!(matches!(read_public(&json!([])), Err(DocumentError::Json(_))));
}

#[test]
fn one_bad_root_spoils_no_other() {
    let good = root();
    let mut value = public_value();
    value["rootCA"] = json!(format!(
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n{}-----BEGIN X",
        good.to_pem()
    ));
    let parsed = read_public(&value).unwrap();
    assert_eq!(parsed.document.roots, [good]);
    assert_eq!(found(&parsed.findings, Reason::InvalidRoot).len(), 2);
}

#[test]
fn a_root_is_a_ca_certificate_with_a_usable_key() {
    let signed = |parameters: rcgen::CertificateParams, algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        Root::from_der(parameters.self_signed(&key).unwrap().der())
    };
    let ec = &rcgen::PKCS_ECDSA_P256_SHA256;
    assert_eq!(signed(ca_parameters(2100), ec).unwrap().key_type(), KeyType::Ec);
    assert_eq!(
        signed(ca_parameters(2100), &rcgen::PKCS_ECDSA_P384_SHA384).unwrap().key_type(),
        KeyType::Ec
    );
    assert_eq!(
        signed(ca_parameters(2100), &rcgen::PKCS_ED25519).unwrap_err(),
        RootError::Key("an Ed25519 key")
    );

    let mut leaf = ca_parameters(2100);
    leaf.is_ca = rcgen::IsCa::ExplicitNoCa;
    assert_eq!(signed(leaf, ec).unwrap_err(), RootError::NotCa);
    let mut silent = ca_parameters(2100);
    silent.is_ca = rcgen::IsCa::NoCa;
    assert_eq!(signed(silent, ec).unwrap_err(), RootError::NotCa);
    let mut signs_nothing = ca_parameters(2100);
    signs_nothing.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    assert_eq!(signed(signs_nothing, ec).unwrap_err(), RootError::NotSigning);

    let mut longer = root().der().to_vec();
    longer.push(0);
    assert_eq!(Root::from_der(&longer).unwrap_err(), RootError::Der);
    assert_eq!(Root::from_der(&[]).unwrap_err(), RootError::Der);
}

/// The error says what was found in place of the roots and never quotes it.
#[test]
fn a_document_without_a_usable_root_says_what_is_there_instead() {
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf =
        rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = ca_parameters(2100).self_signed(&ed25519).unwrap().pem();
    let good = root().to_pem();
    let block = |tag: &str| format!("-----BEGIN {tag}-----\nAAAA\n-----END {tag}-----\n");
    let naked: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    for (text, expected) in [
        (String::new(), "found nothing"),
        (key.serialize_pem(), "found a private key"),
        (block("ENCRYPTED PRIVATE KEY"), "with a passphrase"),
        (leaf.pem(), "not a CA's"),
        (ed25519, "an Ed25519 key"),
        (version_1(), "version 1"),
        (block("PKCS7"), "PKCS #7"),
        (block("CERTIFICATE REQUEST"), "signing request"),
        (block("PUBLIC KEY"), "a public key"),
        (block("X509 CRL"), "revocation list"),
        (block("CERTIFICATE"), "not an X.509 certificate"),
        (good.replace("-----END", ""), "cut off"),
        (naked, "base64 without"),
        ("https://pki.example/".to_owned(), "a URL"),
        ("<html>".to_owned(), "HTML"),
    ] {
        let mut value = public_value();
        value["rootCA"] = json!(text);
        let message = read_public(&value).unwrap_err().to_string();
        assert!(
            message.starts_with("rootCA: expected at least one CA certificate in PEM"),
            "{message}"
        );
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!text.lines().any(|line| line.len() > 40 && message.contains(line)), "{message}");
    }
}

/// `openssl x509 -req` makes such a certificate without an extensions file. Its key may be of any
/// kind, because it is refused for its version.
fn version_1() -> String {
    let der = root().der().to_vec();
    let header = |der: &[u8]| 2 + usize::from(der[1].saturating_sub(0x80));
    let element = |value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82][..], &length, value].concat()
    };
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let signed: &[u8] = certificate.tbs_certificate.as_ref();
    let key_ends =
        certificate.public_key().raw.as_ptr_range().end as usize - signed.as_ptr() as usize;
    // A certificate without its first part, the version (five bytes), and without extensions after
    // the key is of version 1.
    let body = element(&signed[header(signed) + 5..key_ends]);
    let rest = &der[header(&der) + signed.len()..];
    pem::encode(&pem::Pem::new("CERTIFICATE", element(&[&body[..], rest].concat())))
}

#[test]
fn a_bad_row_is_told_with_its_place_in_the_document_and_what_was_found() {
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
    let told = |field: &str| {
        let finding = findings.iter().find(|finding| finding.field.as_deref() == Some(field));
        finding.unwrap_or_else(|| panic!("{field}: {findings:#?}")).message.clone()
    };
    let port = "expected a port from 1 to 65535, found";
    assert_eq!(
        told("ingressGateways[0]"),
        format!("{port} 70000; the row was dropped, ask the peer's operator to correct it")
    );
    assert!(
        told("publicServices[0]").starts_with("line 4, column 18: expected a string, found 5"),
        "{findings:#?}"
    );
    assert!(told("publicServices[1].ports[0]").starts_with("line 6, column "), "{findings:#?}");
    assert!(
        told("publicServices[1].ports[0]").contains("expected a field name, found none"),
        "{findings:#?}"
    );
    assert_eq!(
        told("publicServices[1].ports[1]"),
        format!("{port} \"80\"; the row was dropped, ask the peer's operator to correct it")
    );
    assert_eq!(
        told("publicServices[1].ports[2]"),
        format!("{port} -1; the row was dropped, ask the peer's operator to correct it")
    );
    assert_eq!(
        told("publicServices[1].ports[3]"),
        format!("{port} 1.5; the row was dropped, ask the peer's operator to correct it")
    );
    let extension = told("fedgate");
    assert!(
        extension.contains("line 8, ") && extension.contains("a whole number that is not negative"),
        "{extension}"
    );
}

#[test]
fn a_certificate_has_a_limit() {
    let pem = root().to_pem();
    assert!(roots_from_pem(&pem, 2000)[0].is_ok());
    assert!(matches!(roots_from_pem(&pem, 100)[0], Err(RootError::TooLong(_, 100))));
}

#[test]
fn a_private_document_comes_back_as_it_went() {
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

#[test]
fn applied_roots_come_back_as_they_went_none_at_all_included() {
    for applied in [None, Some(vec![]), Some(vec![root().fingerprint()])] {
        let mut document = private(7, &["192.0.2.1"], vec![]);
        document.extension.as_mut().unwrap().applied_roots = applied;
        let parsed = PrivateDocument::parse(
            &document.to_json(),
            &domain("beta.example"),
            &crate::rig::beta(),
            &Limits::default(),
        );
        assert_eq!(parsed.unwrap(), Parsed { document, findings: vec![] });
    }
}

#[test]
fn applied_roots_are_fingerprints_and_few() {
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
fn a_private_document_has_dkps_keys_and_never_null() {
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
fn a_missing_list_is_no_empty_list() {
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
fn names_of_others_are_dropped_and_the_rest_stays() {
    for foreign in [
        "web.shop.svc.alpha.example",
        "web.shop.svc.evilbeta.example",
        "beta.example",
        "a.web.shop.svc.beta.example",
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
fn bad_rows_are_dropped_and_the_rest_stays() {
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
fn a_bad_port_is_dropped_and_the_others_stay() {
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
fn bad_gateways_are_dropped_and_the_rest_stays() {
    let rows = json!([{"address": "0.0.0.0", "port": 1}, {"address": "192.0.2.1", "port": 0}, {"address": "127.0.0.1", "port": 15443}, 5]);
    let parsed = read_private(&json!({"ingressGateways": rows, "publicServices": []})).unwrap();
    assert_eq!(parsed.document.gateways, [crate::rig::gateway("127.0.0.1")]);
    assert_eq!(found(&parsed.findings, Reason::InvalidGateway).len(), 3);
}

#[test]
fn what_exceeds_a_limit_is_refused_whole() {
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
fn a_hostile_document_makes_few_findings() {
    let rows: Value =
        (0..1000).map(|n| json!({"hostname": format!("x{n}"), "ports": []})).collect();
    let parsed = read_private(&with_services(rows)).unwrap();
    assert_eq!(parsed.findings.len(), 21);
    assert!(the(&parsed.findings, Reason::MoreFindings).message.starts_with("980 more"));
}

#[test]
fn a_strangers_text_is_shown_short_and_escaped() {
    let host = format!("\u{1b}[2J{}", "x".repeat(5000));
    let parsed = read_private(&with_services(json!([{"hostname": host, "ports": []}]))).unwrap();
    let message = &the(&parsed.findings, Reason::InvalidService).message;
    assert!(message.len() < 400 && !message.contains('\u{1b}'), "{message}");
}

#[test]
fn an_extension_that_cannot_be_read_is_left_out() {
    for extension in [
        json!(5),
        json!({}),
        json!({"sequence": -1, "serviceCount": 1}),
        json!({"sequence": 1, "serviceCount": 1, "network": {"podCIDRs": ["x"]}}),
        json!({"sequence": 1, "serviceCount": 1, "gatewayIdentities": vec!["x"; 65]}),
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
fn an_extension_knows_how_many_rows_there_are() {
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
fn gateway_identities_are_of_the_peers_trust_domain() {
    let mut value = with_services(json!([]));
    let own = "spiffe://beta.example/ns/istio-system/sa/gateway";
    value["fedgate"] = json!({"sequence": 1, "serviceCount": 0, "gatewayIdentities": [own, "spiffe://alpha.example/ns/a/sa/b", "x"]});
    let parsed = read_private(&value).unwrap();
    let identities = parsed.document.extension.unwrap().gateway_identities;
    assert_eq!(identities.iter().map(|identity| identity.as_str()).collect::<Vec<_>>(), [own]);
    assert_eq!(found(&parsed.findings, Reason::ForeignIdentity).len(), 2);
}

#[test]
fn a_bundle_map_is_what_envoy_reads() {
    let (a, b) = (root(), root());
    let bundle = TrustBundle { trust_domain: domain("beta.example"), roots: vec![a.clone(), b] };
    let empty = TrustBundle { trust_domain: domain("gamma.example"), roots: vec![] };
    let map: Value = serde_json::from_slice(&bundle_map([&bundle, &empty])).unwrap();
    assert_eq!(map["trust_domains"].as_object().unwrap().len(), 1);
    let keys = map["trust_domains"]["beta.example"]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!((&keys[0]["use"], &keys[0]["kty"]), (&json!("x509-svid"), &json!("EC")));
    use base64::{Engine, prelude::BASE64_STANDARD};
    assert_eq!(keys[0]["x5c"], json!([BASE64_STANDARD.encode(a.der())]));
}

#[test]
fn a_spiffe_bundle_comes_back_as_it_went() {
    let mut roots = vec![root(), root_until(2030)];
    roots.sort();
    let bundle = SpiffeBundle { sequence: 12, roots };
    assert_eq!(SpiffeBundle::parse(&bundle.to_json(), &Limits::default()).unwrap(), bundle);
    let value: Value = serde_json::from_slice(&bundle.to_json()).unwrap();
    assert_eq!(value["spiffe_sequence"], 12);
    assert_eq!(
        (&value["keys"][0]["kty"], &value["keys"][0]["crv"]),
        (&json!("EC"), &json!("P-256"))
    );
    assert_eq!(value["keys"][0]["x"].as_str().unwrap().len(), 43);
    assert!(SpiffeBundle::parse(b"{\"keys\": []}", &Limits::default()).is_err());
    assert!(SpiffeBundle::parse(b"[]", &Limits::default()).is_err());
}

#[test]
fn a_spiffe_bundles_other_keys_are_passed_over() {
    let bundle = SpiffeBundle { sequence: 1, roots: vec![root()] };
    let mut value: Value = serde_json::from_slice(&bundle.to_json()).unwrap();
    value["keys"]
        .as_array_mut()
        .unwrap()
        .push(json!({"use": "jwt-svid", "kty": "EC", "x5c": ["AAAA"]}));
    assert_eq!(
        SpiffeBundle::parse(value.to_string().as_bytes(), &Limits::default()).unwrap(),
        bundle
    );
}
