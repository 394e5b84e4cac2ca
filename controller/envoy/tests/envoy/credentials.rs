//! Findings about this cluster's certificates match what a peer's Envoy does with them.

use super::authority::{ca_params, leaf_params, only_uris_of, uri};
use super::tls::{Echo, open_plain};
use super::world::Cluster;
use fedgate_envoy::Identity;
use fedgate_federation::bundle::{Root, TrustBundle};
use fedgate_federation::credentials::{Credentials, RootSource, Source};
use fedgate_federation::{Finding, ObjectRef, Severity};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use std::time::{Duration, SystemTime};

const WEB: &str = "web.shop.svc.beta.example:80";
const NAME: &str = "spiffe://alpha.example/ns/istio-system/sa/gateway";
const DAY: Duration = Duration::from_secs(86_400);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn root(name: &str) -> Ca {
    Ca::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn below(issuer: &Ca, name: &str, change: impl Fn(&mut CertificateParams)) -> Ca {
    let mut params = ca_params(name);
    change(&mut params);
    Ca::signed_by(params, KeyPair::generate().unwrap(), issuer).unwrap()
}

/// A certificate of the egress, with the roots that peers are given for it.
struct Case {
    what: &'static str,
    works: bool,
    chain: String,
    key: String,
    roots: Vec<Root>,
}

impl Case {
    fn new(
        what: &'static str,
        works: bool,
        issuer: &Ca,
        change: impl Fn(&mut CertificateParams),
    ) -> Self {
        Self::with_key(what, works, issuer, &PKCS_ECDSA_P256_SHA256, change)
    }

    fn with_key(
        what: &'static str,
        works: bool,
        issuer: &Ca,
        algorithm: &'static SignatureAlgorithm,
        change: impl Fn(&mut CertificateParams),
    ) -> Self {
        let mut params = leaf_params(NAME);
        change(&mut params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = params.signed_by(&key, issuer).unwrap().pem();
        Self { what, works, chain, key: key.serialize_pem(), roots: Vec::new() }
    }

    fn then(self, ca: &Ca) -> Self {
        Self { chain: self.chain + &ca.pem(), ..self }
    }

    fn believed_by(self, roots: &[&Ca]) -> Self {
        Self { roots: trusted(roots), ..self }
    }

    fn errors(&self) -> Vec<Finding> {
        let ours = fedgate_core::TrustDomain::parse("alpha.example").unwrap();
        let object = ObjectRef::cluster(ours.as_str());
        let roots = RootSource { roots: &self.roots, object, field: "identity.roots" };
        let (chain, key) = (
            source("identity.certificateChain", &self.chain),
            source("identity.privateKey", &self.key),
        );
        let credentials = Credentials::of_identity(&chain, &key, &roots, &ours);
        let findings = credentials.findings(Timestamp::now()).into_iter();
        findings.filter(|finding| finding.severity == Severity::Error).collect()
    }
}

fn source<'a>(field: &'a str, text: &'a str) -> Source<'a> {
    Source { object: ObjectRef::cluster("alpha.example"), field, bytes: Ok(text.as_bytes()) }
}

fn trusted(roots: &[&Ca]) -> Vec<Root> {
    roots.iter().map(|root| Root::from_der(root.der()).unwrap()).collect()
}

fn expired(params: &mut CertificateParams) {
    params.not_before = (SystemTime::now() - 9 * DAY).into();
    params.not_after = (SystemTime::now() - DAY).into();
}

/// Cases under a root that the peer trusts.
fn under(ca: &Ca) -> Vec<Case> {
    let inner = below(ca, "inner", |_| {});
    let ended = below(ca, "ended", expired);
    let short =
        below(ca, "short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let deeper = below(&short, "deeper", |_| {});
    let elsewhere =
        below(ca, "elsewhere", |params| params.custom_extensions = vec![only_uris_of("b.example")]);
    let fits =
        below(ca, "fits", |params| params.custom_extensions = vec![only_uris_of("alpha.example")]);
    let cases = [
        Case::new("P-256", true, ca, |_| {}),
        Case::with_key("P-384", true, ca, &PKCS_ECDSA_P384_SHA384, |_| {}),
        Case::with_key("RSA", true, ca, &PKCS_RSA_SHA256, |_| {}),
        Case::with_key("P-521", false, ca, &PKCS_ECDSA_P521_SHA512, |_| {}),
        Case::with_key("Ed25519", false, ca, &PKCS_ED25519, |_| {}),
        Case::new("usage for clients only", true, ca, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        Case::new("no key usage", false, ca, |params| params.key_usages.clear()),
        Case::new("a CA's key usage", false, ca, |params| {
            params.key_usages.push(KeyUsagePurpose::KeyCertSign)
        }),
        Case::new("CA:TRUE", false, ca, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
        }),
        Case::new("expired", false, ca, expired),
        Case::new("not valid yet", false, ca, |params| {
            params.not_before = (SystemTime::now() + DAY).into()
        }),
        Case::new("another trust domain", false, ca, |params| {
            params.subject_alt_names = vec![uri("spiffe://c.example/x")]
        }),
        Case::new("two names", false, ca, |params| {
            params.subject_alt_names.push(uri("spiffe://alpha.example/x"))
        }),
        Case::new("no name", false, ca, |params| params.subject_alt_names.clear()),
        Case::new("an unknown critical extension", false, ca, |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        }),
        Case::new("an intermediate", true, &inner, |_| {}).then(&inner),
        Case::new("an intermediate, and the root", true, &inner, |_| {}).then(ca).then(&inner),
        Case::new("no intermediate", false, &inner, |_| {}),
        Case::new("an expired intermediate", false, &ended, |_| {}).then(&ended),
        Case::new("a path that is too long", false, &deeper, |_| {}).then(&deeper).then(&short),
        Case::new("name constraints", false, &elsewhere, |_| {}).then(&elsewhere),
        Case::new("name constraints that fit", true, &fits, |_| {}).then(&fits),
    ];
    cases.into_iter().map(|case| case.believed_by(&[ca])).collect()
}

#[test]
fn certificate_findings_match_what_a_peers_envoy_refuses() {
    let (ca, stranger) = (root("alpha"), root("stranger"));
    let (absent, present) = (root("absent"), root("present"));
    let (alone, with_root) =
        (below(&absent, "alone", |_| {}), below(&present, "with-root", |_| {}));
    let mut cases = under(&ca);
    cases.push(Case::new("another root", false, &stranger, |_| {}).believed_by(&[&ca]));
    cases.push(Case::new("an intermediate as root", false, &alone, |_| {}).believed_by(&[&alone]));
    cases.push(
        Case::new("an intermediate beside its root", true, &with_root, |_| {})
            .believed_by(&[&with_root, &present]),
    );

    let echo = Echo::start();
    let alpha = Cluster::new("alpha.example");
    let mut beta = Cluster::new("beta.example");
    beta.export(WEB, echo.address, &[&alpha.authority]);
    let roots = trusted(&[&ca, &alone, &with_root, &present]);
    let trust_domain = alpha.authority.trust_domain.clone();
    beta.bundles.insert(trust_domain.clone(), TrustBundle { trust_domain, roots });
    beta.publish();
    let _gateway = beta.gateway();
    for case in cases {
        let errors = case.errors();
        assert_eq!(errors.is_empty(), case.works, "{}: {errors:#?}", case.what);
        assert_eq!(is_let_in(&case, &beta), case.works, "{}: Envoy", case.what);
    }
}

fn is_let_in(case: &Case, beta: &Cluster) -> bool {
    let mut alpha = Cluster::new("alpha.example");
    // A certificate that the controller does not pass to Envoy never reaches a peer.
    let Ok(identity) = Identity::from_pem(case.chain.as_bytes(), case.key.as_bytes()) else {
        return false;
    };
    alpha.identity = identity;
    alpha.peer(&beta.authority);
    alpha.import(WEB, &[("127.0.0.1", beta.address().port())]);
    alpha.publish_imports();
    let _egress = alpha.egress();
    open_plain(alpha.port(WEB)).is_ok()
}
