use crate::rig::{domain, federation_object, found, name, root, the};
use fedgate_federation::FindingReason as Reason;
use fedgate_federation::object::{
    EndpointTls, IstioFederationSpec, MetadataEndpoint, Named, Peer, PeerSelection, PolicyBody,
    PolicyObject, peers,
};
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn an_endpoint_is_an_https_url() {
    for (text, normalized) in [
        ("https://beta.test", "https://beta.test"),
        ("https://beta.test/", "https://beta.test"),
        ("https://beta.test/metadata/", "https://beta.test/metadata"),
        ("https://beta.test:8443/a/b", "https://beta.test:8443/a/b"),
        ("https://127.0.0.1:1/metadata", "https://127.0.0.1:1/metadata"),
        ("https://[::1]:1/metadata", "https://[::1]:1/metadata"),
    ] {
        let endpoint = MetadataEndpoint::parse(text).unwrap();
        assert_eq!(
            endpoint.document("/public/public.json"),
            format!("{normalized}/public/public.json")
        );
    }
    for bad in [
        "",
        "beta.test",
        "http://beta.test",
        "https://",
        "https://beta.test?x",
        "https://beta.test/#",
        "https://beta.test#x",
        "https://user:secret@beta.test",
        "https://user@beta.test",
        "ftp://beta.test",
        "file:///etc/passwd",
    ] {
        assert!(MetadataEndpoint::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn only_one_trailing_slash_is_removed() {
    let endpoint = MetadataEndpoint::parse("https://beta.test/metadata//").unwrap();
    assert_eq!(endpoint.document("/x"), "https://beta.test/metadata//x");
}

#[test]
fn a_secret_in_an_endpoint_is_not_repeated() {
    for (endpoint, shown) in [
        ("https://user:secret@beta.test", "https://…@beta.test"),
        ("https://user:sec?ret@beta.test", "https://…@beta.test"),
        ("https://beta.test/metadata?token=secret", "https://beta.test/metadata?…"),
        ("https://beta.test/metadata#secret", "https://beta.test/metadata#…"),
        ("https://secret@beta.test/?token=secret#secret", "https://…@beta.test/?…"),
    ] {
        let mut object = federation_object("beta", "beta.example");
        object.spec.metadata_endpoint = endpoint.to_owned();
        let findings = Peer::parse(&object).unwrap_err();
        let message = &the(&findings, Reason::InvalidEndpoint).message;
        assert!(message.contains(&format!("found {shown:?}")), "{message}");
    }
}

#[test]
fn every_wrong_field_is_named() {
    let object = Named {
        name: "Beta".to_owned(),
        source: Some("manifests/beta.yaml".to_owned()),
        annotations: Default::default(),
        spec: IstioFederationSpec {
            trust_domain: "Beta.example".to_owned(),
            metadata_endpoint: "beta".to_owned(),
            ..Default::default()
        },
    };
    let findings = Peer::parse(&object).unwrap_err();
    the(&findings, Reason::InvalidName);
    the(&findings, Reason::InvalidTrustDomain);
    let endpoint = the(&findings, Reason::InvalidEndpoint);
    assert_eq!(
        endpoint.to_string(),
        "IstioFederation Beta (manifests/beta.yaml) spec.metadataEndpoint: invalid_endpoint: expected a URL such as https://host/metadata, found \"beta\"; correct it"
    );
}

#[test]
fn cluster_local_is_refused() {
    let findings = Peer::parse(&federation_object("beta", "cluster.local")).unwrap_err();
    assert!(the(&findings, Reason::ClusterLocal).message.contains("alias"));
    // It must be a DNS name as well as a trust domain.
    assert!(Peer::parse(&federation_object("beta", "a..b")).is_err());
}

#[test]
fn a_ca_must_consist_of_certificates() {
    let with_ca = |ca: &str| {
        let mut object = federation_object("beta", "beta.example");
        object.spec.metadata.ca = Some(ca.to_owned());
        object.spec.metadata.insecure_skip_verify = true;
        Peer::parse(&object)
    };
    let (a, b) = (root(), root());
    let (peer, findings) = with_ca(&format!("{}{}", a.to_pem(), b.to_pem())).unwrap();
    // insecureSkipVerify is ignored in that case.
    assert_eq!(peer.tls, EndpointTls::SystemAnd(vec![a.der().into(), b.der().into()]));
    assert_eq!(findings, []);
    for bad in [
        "",
        "x",
        &a.to_pem().replace("CERTIFICATE", "PUBLIC KEY"),
        &a.to_pem().replace("MII", "MIJ"),
    ] {
        the(&with_ca(bad).unwrap_err(), Reason::InvalidCa);
    }
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let cut: String = b.to_pem().lines().take(4).map(|line| format!("{line}\n")).collect();
    for (second, expected) in
        [(cut, "cut off"), (key.clone(), "a private key"), ("-----BEGIN X".to_owned(), "block 2")]
    {
        for text in [
            format!("{}{second}", a.to_pem()),
            format!("{second}{}", a.to_pem()).replace("block 2", "block 1"),
        ] {
            let findings = with_ca(&text).unwrap_err();
            let message = &the(&findings, Reason::InvalidCa).message;
            assert!(message.contains(expected) || message.contains("block 1"), "{message}");
            assert!(!message.contains(key.lines().nth(1).unwrap()), "{message}");
        }
    }
}

#[test]
fn an_endpoint_that_is_not_verified_is_reported() {
    let mut object = federation_object("beta", "beta.example");
    assert_eq!(Peer::parse(&object).unwrap().0.tls, EndpointTls::System);
    object.spec.metadata.insecure_skip_verify = true;
    let (peer, findings) = Peer::parse(&object).unwrap();
    assert_eq!(peer.tls, EndpointTls::Unverified);
    the(&findings, Reason::InsecureEndpoint);
}

#[test]
fn a_spec_is_read_as_kubernetes_writes_it() {
    let spec: IstioFederationSpec = serde_json::from_value(json!({
        "trustDomain": "beta.example",
        "metadataEndpoint": "https://beta.test/metadata",
        "metadata": {"ca": "x", "insecureSkipVerify": true},
        "later": 1,
    }))
    .unwrap();
    assert_eq!(
        (spec.metadata.ca.as_deref(), spec.metadata.insecure_skip_verify),
        (Some("x"), true)
    );
}

#[test]
fn an_object_with_our_trust_domain_is_not_a_peer() {
    let objects = [
        federation_object("us", "alpha.example"),
        federation_object("beta", "beta.example"),
        federation_object("beta", "other.example"),
    ];
    let (peers, findings) = peers(&objects, &domain("alpha.example"));
    assert_eq!(
        peers.iter().map(|peer| peer.trust_domain.as_str()).collect::<Vec<_>>(),
        ["beta.example"]
    );
    assert_eq!(the(&findings, Reason::ThisCluster).object.name, "us");
    the(&findings, Reason::DuplicateObject);
}

#[test]
fn a_policy_that_cannot_be_read_is_kept_as_unreadable() {
    let read = |spec| PolicyObject::read("p", None, &spec);
    let (good, finding) = read(json!({"peers": ["beta"], "mode": "Audit"}));
    assert!(matches!(good.body, PolicyBody::Spec(_)) && finding.is_none());
    let only = |names: &[&str]| {
        PeerSelection::Only(names.iter().map(|n| name(n)).collect::<BTreeSet<_>>())
    };
    for (spec, selection) in [
        (json!({"peers": ["beta"], "mode": "audit"}), only(&["beta"])),
        (json!({"peers": ["beta", "-"], "typo": 1}), only(&["beta"])),
        (json!({"peers": ["-"], "typo": 1}), PeerSelection::All),
        (json!({"peers": "beta"}), PeerSelection::All),
        (json!({"peers": ["beta", 5]}), PeerSelection::All),
        (json!({"services": 5}), PeerSelection::All),
        (json!(5), PeerSelection::All),
    ] {
        let (policy, finding) = read(spec.clone());
        assert_eq!(policy.body, PolicyBody::Unreadable(selection), "{spec}");
        assert_eq!(found(finding.as_slice(), Reason::InvalidPolicy).len(), 1, "{spec}");
    }
}

#[test]
fn a_policy_with_a_field_next_to_its_spec_is_unreadable() {
    let object = |more: serde_json::Value| {
        let mut object = json!({
            "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederationPolicy", "metadata": {"name": "p"}, "spec": {"peers": ["beta"]}
        });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        PolicyObject::read_object("p", None, &object)
    };
    let (good, finding) = object(json!({}));
    assert!(matches!(good.body, PolicyBody::Spec(_)) && finding.is_none());

    let (bad, finding) = object(json!({"callers": [{"namespace": "shop"}]}));
    let PolicyBody::Unreadable(selection) = &bad.body else { panic!("{bad:?}") };
    assert!(selection.selects(&name("beta")) && !selection.selects(&name("gamma")));
    let finding = finding.unwrap();
    assert_eq!(
        (finding.reason, finding.field.as_deref()),
        (Reason::InvalidPolicy, Some("callers"))
    );

    assert!(matches!(
        object(json!({"spec": null})).0.body,
        PolicyBody::Unreadable(PeerSelection::All)
    ));
}
