//! What the Pods of a gateway show, where istiod issues their certificates: each bad kind, next to
//! a good one.

use crate::credentials::{Ca, DAY, lasts};
use crate::rig::{at, domain, the};
use fedgate_federation::credentials::{CertificateRole, Credentials, PodChain, RootSource};
use fedgate_federation::{Finding, FindingReason as Reason, ObjectRef, Severity};
use rcgen::{CertificateParams, DistinguishedName, PKCS_ED25519};

/// The ConfigMap with the published roots.
fn config_map() -> ObjectRef {
    ObjectRef {
        namespace: Some("fedgate-system".into()),
        ..ObjectRef::new("ConfigMap", "istio-ca-root-cert")
    }
}

/// What follows from the chains (PEM) of the Pods a, b, c and so on, under the root of `ca`.
fn of(chains: &[&[u8]], ca: &Ca) -> Credentials {
    let der = |pem: &&[u8]| {
        pem::parse_many(pem).unwrap().into_iter().map(pem::Pem::into_contents).collect::<Vec<_>>()
    };
    let chains: Vec<_> = chains.iter().map(der).collect();
    let pod = |(name, certificates)| {
        let object = ObjectRef {
            namespace: Some("fedgate-system".into()),
            ..ObjectRef::new("Pod", format!("gateway-{name}"))
        };
        PodChain { object, certificates }
    };
    let pods: Vec<_> = ('a'..).zip(chains.iter().map(Vec::as_slice)).map(pod).collect();
    let roots =
        RootSource { roots: &[ca.trusted()], object: config_map(), field: "data[root-cert.pem]" };
    Credentials::of_gateway(&pods, &roots, &domain("alpha.example"))
}

/// A leaf as istiod signs it, which has no subject, after `change`.
fn leaf(ca: &Ca, change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
    let issued = |params: &mut CertificateParams| {
        params.distinguished_name = DistinguishedName::new();
        change(params);
    };
    ca.leaf(issued).chain
}

fn good(ca: &Ca) -> Vec<u8> {
    leaf(ca, |params| lasts(params, -DAY / 2, DAY / 2))
}

fn uris(params: &mut CertificateParams, uris: &[&str]) {
    params.subject_alt_names = uris.iter().map(|uri| crate::authority::uri(uri)).collect();
}

/// One bad chain of each kind, with the reason and parts of the message.
fn kinds(ca: &Ca) -> Vec<(&'static str, Vec<u8>, Reason, [&'static str; 2])> {
    use Reason::{
        CertificateEndsSoon, CertificateExpired, CertificateNotYetValid, InvalidCertificate,
        UntrustedCertificate,
    };
    let ours = "spiffe://alpha.example/ns/fedgate-system/sa/fedgate-gateway";
    let theirs = "spiffe://cluster.local/ns/fedgate-system/sa/fedgate-gateway";
    let ended = ca.intermediate("ended", |params| lasts(params, -9 * DAY, -DAY));
    vec![
        (
            "expired",
            leaf(ca, |p| lasts(p, -2 * DAY, -DAY)),
            CertificateExpired,
            ["istio-agent", "this Pod"],
        ),
        (
            "soon",
            leaf(ca, |p| lasts(p, -99 * DAY, DAY)),
            CertificateEndsSoon,
            ["istio-agent", "from then on"],
        ),
        (
            "not yet",
            leaf(ca, |p| lasts(p, DAY, 9 * DAY)),
            CertificateNotYetValid,
            ["clocks", "wait"],
        ),
        (
            "trust domain",
            leaf(ca, |p| uris(p, &[theirs])),
            InvalidCertificate,
            ["cluster.local", "--trust-domain"],
        ),
        (
            "two names",
            leaf(ca, |p| uris(p, &[ours, theirs])),
            InvalidCertificate,
            ["and 1 more", "istiod's CA"],
        ),
        ("no name", leaf(ca, |p| uris(p, &[])), InvalidCertificate, ["no URI SAN", "istiod's CA"]),
        (
            "a key",
            ca.leaf_with(&PKCS_ED25519, |_| {}).chain,
            InvalidCertificate,
            ["Ed25519", "istiod's CA"],
        ),
        (
            "another root",
            good(&Ca::root("x")),
            UntrustedCertificate,
            ["ConfigMap fedgate-system/istio-ca", "cacerts"],
        ),
        (
            "the same name",
            good(&Ca::root("alpha")),
            UntrustedCertificate,
            ["another key", "restart istiod"],
        ),
        ("by itself", ca.pem().into_bytes(), InvalidCertificate, ["CA:TRUE", "istiod's CA"]),
        (
            "intermediate",
            [good(&ended), ended.pem().into_bytes()].concat(),
            CertificateExpired,
            ["CN=ended", "cacerts"],
        ),
        ("too many", good(ca).repeat(17), InvalidCertificate, ["at most 16", "istiod's CA"]),
        ("nothing", Vec::new(), InvalidCertificate, ["found none", "istiod's CA"]),
    ]
}

#[test]
fn each_kind_of_bad_certificate_is_reported_with_its_pod() {
    let ca = Ca::root("alpha");
    for (what, chain, reason, parts) in kinds(&ca) {
        let findings = of(&[&good(&ca), &chain], &ca).findings(at(0));
        let finding = the(&findings, reason);
        assert_eq!(
            (finding.object.name.as_str(), findings.len()),
            ("gateway-b", 1),
            "{what}: {findings:#?}"
        );
        let soon = reason == Reason::CertificateEndsSoon;
        assert_eq!(
            finding.severity,
            if soon { Severity::Warning } else { Severity::Error },
            "{what}"
        );
        for part in parts {
            assert!(finding.message.contains(part), "{what}: {part}: {finding}");
        }
        for of_files in ["identity.", "replace the files", "trustDomain if"] {
            assert!(!finding.message.contains(of_files), "{what}: {finding}");
        }
    }
}

#[test]
fn good_certificates_of_pods_cause_no_findings() {
    let ca = Ca::root("alpha");
    let inner = ca.intermediate("inner", |_| {});
    let through = [good(&inner), inner.pem().into_bytes()].concat();
    let credentials = of(&[&good(&ca), &through, &through], &ca);
    assert_eq!(credentials.findings(at(0)), []);
    let count =
        |role| credentials.validities.iter().filter(|validity| validity.role == role).count();
    let counts =
        [CertificateRole::Leaf, CertificateRole::Intermediate, CertificateRole::Root].map(count);
    assert_eq!(counts, [3, 1, 1], "all have the same intermediate");
    let leaf = credentials
        .validities
        .iter()
        .find(|validity| validity.role == CertificateRole::Leaf)
        .unwrap();
    assert_eq!(
        leaf.name, "spiffe://alpha.example/ns/istio-system/sa/gateway",
        "there is no subject"
    );
    assert_eq!(of(&[], &ca).findings(at(0)), [], "nothing is known");
}

#[test]
fn the_same_fault_of_several_pods_is_one_finding() {
    let ca = Ca::root("alpha");
    let ends = |after: i64| leaf(&ca, move |params| lasts(params, -9 * DAY, -after));
    let expired: Vec<_> = (1..=6).map(|day| ends(day * DAY)).collect();
    let two = [leaf(&Ca::root("x"), |_| {}), leaf(&Ca::root("x"), |_| {})];
    let chains: Vec<_> = expired.iter().chain(&two).map(Vec::as_slice).collect();
    let findings = of(&chains, &ca).findings(at(0));
    let expired = the(&findings, Reason::CertificateExpired);
    assert_eq!(expired.object.name, "gateway-f", "the one that ended first: {expired}");
    assert!(
        expired
            .message
            .ends_with("5 more Pods of the gateway: gateway-e, gateway-d, gateway-c and 2 more")
    );
    let untrusted = the(&findings, Reason::UntrustedCertificate);
    assert!(untrusted.message.ends_with("one more Pod of the gateway: gateway-h"), "{untrusted}");
    assert_eq!(findings.len(), 2, "{findings:#?}");
}

#[test]
fn different_faults_are_separate_findings() {
    let ca = Ca::root("alpha");
    let named = |uri: &'static str| leaf(&ca, move |params| uris(params, &[uri]));
    let chains = [named("spiffe://x.example/ns/a/sa/a"), named("spiffe://y.example/ns/a/sa/a")];
    let findings = of(&[&chains[0], &chains[1]], &ca).findings(at(0));
    assert_eq!(findings.len(), 2, "{findings:#?}");
}

#[test]
fn an_expired_root_that_the_gateway_depends_on_is_an_error() {
    let old = Ca::of("old", |params| lasts(params, -9 * DAY, -DAY), &rcgen::PKCS_ECDSA_P256_SHA256);
    let roots = [old.trusted(), Ca::root("new").trusted()];
    let source = RootSource { roots: &roots, object: config_map(), field: "data[root-cert.pem]" };
    let chain = [pem::parse(good(&old)).unwrap().into_contents()];
    let pod = PodChain { object: ObjectRef::new("Pod", "gateway-a"), certificates: &chain };
    let severity = |pods: &[PodChain<'_>]| {
        let findings =
            Credentials::of_gateway(pods, &source, &domain("alpha.example")).findings(at(0));
        the(&findings, Reason::CertificateExpired).severity
    };
    assert_eq!((severity(&[pod]), severity(&[])), (Severity::Error, Severity::Warning));
}

#[test]
fn of_pods_selects_only_what_is_about_pods() {
    let ca = Ca::root("alpha");
    let all = of(&[&good(&Ca::root("x")), &good(&ca)], &ca);
    let of_pods = all.of_pods();
    assert_eq!((of_pods.faults.len(), of_pods.validities.len()), (1, 2));
    assert_eq!(all.validities.len(), 3, "the root is none of theirs");
}

/// For the tests of the messages.
pub(crate) fn everything() -> Vec<Finding> {
    let ca = Ca::root("alpha");
    kinds(&ca)
        .into_iter()
        .flat_map(|(_, chain, ..)| of(&[&chain, &chain], &ca).findings(at(0)))
        .collect()
}
