//! This cluster's own certificates: one bad certificate of each kind, made at run time, beside one that is good.

use crate::authority::{ca_params, leaf_params, only_uris_of, uri};
use crate::rig::{Rig, at, domain, found, the};
use fedgate_federation::bundle::Root;
use fedgate_federation::credentials::{CertificateRole, Credentials, RootSource, Source, keys_match};
use fedgate_federation::{Finding, FindingReason as Reason, ObjectRef, Severity};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};

const OURS: &str = "spiffe://alpha.example/ns/istio-system/sa/gateway";

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn root(name: &str) -> Self {
        Self::of(name, |_| {}, &PKCS_ECDSA_P256_SHA256)
    }

    fn of(name: &str, change: impl Fn(&mut CertificateParams), algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate_for(algorithm).unwrap()).unwrap())
    }

    fn intermediate(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn trusted(&self) -> Root {
        Root::from_der(self.0.der()).unwrap()
    }

    fn sign(&self, key: &impl PublicKeyData, change: impl Fn(&mut CertificateParams)) -> Certificate {
        let mut params = leaf_params(OURS);
        change(&mut params);
        params.signed_by(key, &self.0).unwrap()
    }

    /// A good identity, after `change`.
    fn leaf(&self, change: impl Fn(&mut CertificateParams)) -> Shown {
        self.leaf_with(&PKCS_ECDSA_P256_SHA256, change)
    }

    fn leaf_with(&self, algorithm: &'static SignatureAlgorithm, change: impl Fn(&mut CertificateParams)) -> Shown {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = self.sign(&key, change).pem();
        Shown {
            chain: chain.into_bytes(),
            key: Ok(key.serialize_pem().into_bytes()),
            roots: Root::from_der(self.0.der()).into_iter().collect(),
        }
    }
}

/// What a cluster shows.
#[derive(Clone)]
struct Shown {
    chain: Vec<u8>,
    key: Result<Vec<u8>, String>,
    roots: Vec<Root>,
}

impl Shown {
    fn then(mut self, ca: &Ca) -> Self {
        self.chain.extend(ca.pem().bytes());
        self
    }

    fn under(self, roots: &[&Ca]) -> Self {
        Self { roots: roots.iter().map(|ca| ca.trusted()).collect(), ..self }
    }

    fn with_key(self, key: impl Into<Vec<u8>>) -> Self {
        Self { key: Ok(key.into()), ..self }
    }

    fn credentials(&self) -> Credentials {
        let object = ObjectRef::cluster("alpha.example");
        let chain = Source { object: object.clone(), field: "identity.certificateChain", bytes: Ok(&self.chain) };
        let bytes = self.key.as_deref().map_err(Clone::clone);
        let key = Source { object: object.clone(), field: "identity.privateKey", bytes };
        let roots = RootSource { roots: &self.roots, object, field: "identity.roots" };
        Credentials::of_identity(&chain, &key, &roots, &domain("alpha.example"))
    }

    fn findings(&self) -> Vec<Finding> {
        self.credentials().findings(at(0))
    }
}

/// An RSA key that is too short for anybody to make one.
pub(crate) struct ShortRsa(Vec<u8>);

impl ShortRsa {
    pub(crate) fn new() -> Self {
        let modulus = [&[0x02, 0x81, 0x81, 0x00][..], &[0xc5; 128]].concat();
        let body = [&modulus[..], &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
        Self([&[0x30, 0x81, u8::try_from(body.len()).unwrap()][..], &body].concat())
    }
}

impl PublicKeyData for ShortRsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// Sets the time of validity, in seconds from the beginning of 2026.
fn lasts(params: &mut CertificateParams, from: i64, to: i64) {
    params.not_before = std::time::SystemTime::from(at(from)).into();
    params.not_after = std::time::SystemTime::from(at(to)).into();
}

const DAY: i64 = 86_400;

type Kind = (&'static str, Shown, Reason, &'static str, &'static str);

/// Each with the reason, the field and a part of the message that the finding has.
fn kinds() -> Vec<Kind> {
    use Reason::{
        CertificateExpired, CertificateNotYetValid, IntermediateRoot, InvalidCertificate, InvalidKey, KeyMismatch,
        UntrustedCertificate,
    };
    let (chain, key, roots) = ("identity.certificateChain", "identity.privateKey", "identity.roots");
    let ca = Ca::root("alpha");
    let good = || ca.leaf(|_| {});
    let with = |change: fn(&mut CertificateParams)| ca.leaf(change);
    let inner = ca.intermediate("inner", |_| {});
    let under = |ca: &Ca| ca.leaf(|_| {});
    let bytes = |chain: &[u8]| Shown { chain: chain.to_vec(), ..good() };
    let other_key = KeyPair::generate().unwrap();
    let ended = ca.intermediate("ended", |params| {
        lasts(params, -9 * DAY, -DAY);
    });
    let no_ca = ca.intermediate("no ca", |params| params.is_ca = IsCa::ExplicitNoCa);
    let short = ca.intermediate("short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = short.intermediate("below", |_| {});
    let elsewhere = ca.intermediate("elsewhere", |params| params.custom_extensions = vec![only_uris_of("b.example")]);
    let expired_root = Ca::of(
        "old",
        |params| {
            lasts(params, -9 * DAY, -DAY);
        },
        &PKCS_ECDSA_P256_SHA256,
    );
    let future_root = Ca::of("new", |params| lasts(params, DAY, 999 * DAY), &PKCS_ECDSA_P256_SHA256);
    let cut: Vec<u8> = [&good().chain[..], &good().chain[..200]].concat();
    let short_rsa = Shown { chain: ca.sign(&ShortRsa::new(), |_| {}).pem().into_bytes(), ..good() };
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    vec![
        ("expired", with(|params| lasts(params, -9 * DAY, -DAY)), CertificateExpired, chain, "expired at 2025-12-31"),
        (
            "not yet valid",
            with(|params| lasts(params, DAY, 999 * DAY)),
            CertificateNotYetValid,
            chain,
            "not valid before 2026-01-02",
        ),
        (
            "another root",
            good().under(&[&Ca::root("other")]),
            UntrustedCertificate,
            chain,
            "put the root into identity.roots",
        ),
        ("a root of the same name", good().under(&[&Ca::root("alpha")]), UntrustedCertificate, chain, "another key"),
        ("signed by itself", Ca::root("x").leaf(|_| {}).under(&[&ca]), UntrustedCertificate, chain, "issued by CN=x"),
        ("no intermediate", under(&inner).under(&[&ca]), UntrustedCertificate, chain, "intermediate CA"),
        (
            "an expired intermediate",
            under(&ended).then(&ended).under(&[&ca]),
            CertificateExpired,
            chain,
            "intermediate CA",
        ),
        (
            "an intermediate that is no CA",
            under(&no_ca).then(&no_ca).under(&[&ca]),
            InvalidCertificate,
            chain,
            "is not a CA",
        ),
        (
            "a chain that is too long",
            under(&below).then(&below).then(&short).under(&[&ca]),
            InvalidCertificate,
            chain,
            "pathlen",
        ),
        (
            "name constraints",
            under(&elsewhere).then(&elsewhere).under(&[&ca]),
            InvalidCertificate,
            chain,
            "name constraints",
        ),
        (
            "an unknown critical extension",
            with(|params| {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions = vec![extension];
            }),
            InvalidCertificate,
            chain,
            "1.2.3.4",
        ),
        (
            "the intermediate first",
            Shown { chain: [inner.pem().into_bytes(), under(&inner).chain].concat(), ..good() },
            InvalidCertificate,
            chain,
            "CA certificate",
        ),
        (
            "a CA's",
            with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            InvalidCertificate,
            chain,
            "CA:TRUE",
        ),
        ("no usage", with(|params| params.key_usages.clear()), InvalidCertificate, chain, "keyUsage=digitalSignature"),
        (
            "another usage",
            with(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            InvalidCertificate,
            chain,
            "keyUsage=digitalSignature",
        ),
        (
            "a CA's usage",
            with(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            InvalidCertificate,
            chain,
            "keyCertSign",
        ),
        ("Ed25519", ca.leaf_with(&PKCS_ED25519, |_| {}), InvalidCertificate, chain, "Ed25519"),
        ("P-521", ca.leaf_with(&PKCS_ECDSA_P521_SHA512, |_| {}), InvalidCertificate, chain, "P-521"),
        ("RSA 1024", short_rsa, InvalidCertificate, chain, "1024 bits"),
        (
            "another trust domain",
            with(|params| params.subject_alt_names = vec![uri("spiffe://beta.example/ns/x/sa/y")]),
            InvalidCertificate,
            chain,
            "trust domain beta.example",
        ),
        (
            "two names",
            with(|params| params.subject_alt_names.push(uri("spiffe://alpha.example/x"))),
            InvalidCertificate,
            chain,
            "1 more",
        ),
        ("no name", with(|params| params.subject_alt_names.clear()), InvalidCertificate, chain, "no URI SAN"),
        (
            "no SPIFFE ID",
            with(|params| params.subject_alt_names = vec![uri("https://alpha.example/")]),
            InvalidCertificate,
            chain,
            "https://alpha.example/",
        ),
        (
            "a key in its place",
            bytes(other_key.serialize_pem().as_bytes()),
            InvalidCertificate,
            chain,
            "found a private key",
        ),
        ("DER", bytes(ca.sign(&other_key, |_| {}).der()), InvalidCertificate, chain, "in DER"),
        ("nothing", bytes(b""), InvalidCertificate, chain, "found nothing"),
        (
            "a byte order mark",
            bytes(&[&[0xef, 0xbb, 0xbf], &good().chain[..]].concat()),
            InvalidCertificate,
            chain,
            "byte order mark",
        ),
        ("a second certificate that is cut off", bytes(&cut), InvalidCertificate, chain, "cut off"),
        ("another key", good().with_key(other_key.serialize_pem()), KeyMismatch, key, "that of another"),
        ("a key with a passphrase", good().with_key(locked), InvalidKey, key, "passphrase"),
        (
            "no key",
            Shown { key: Err("expected a file in PEM, found none; put it there".to_owned()), ..good() },
            InvalidKey,
            key,
            "found none",
        ),
        ("a certificate as key", good().with_key(good().chain), InvalidKey, key, "swapped"),
        (
            "a damaged key",
            good().with_key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            InvalidKey,
            key,
            "damaged",
        ),
        ("an expired root", under(&expired_root), CertificateExpired, roots, "root sha256:"),
        ("a root that is not valid yet", under(&future_root), CertificateNotYetValid, roots, "root sha256:"),
        ("an intermediate as root", under(&inner), IntermediateRoot, roots, "publish the root of that issuer"),
    ]
}

#[test]
fn each_kind_of_bad_certificate_is_an_error_that_says_what_to_do() {
    for (what, shown, reason, field, part) in kinds() {
        let findings = shown.findings();
        let finding = the(&findings, reason);
        assert_eq!(finding.severity, Severity::Error, "{what}");
        assert_eq!(finding.field.as_deref(), Some(field), "{what}: {findings:#?}");
        assert!(finding.message.contains(part), "{what}: {findings:#?}");
        let secret =
            shown.key.as_ref().ok().and_then(|key| String::from_utf8_lossy(key).lines().nth(1).map(str::to_owned));
        let quoted =
            |secret: &String| secret.len() > 8 && findings.iter().any(|finding| finding.message.contains(secret));
        assert!(!secret.as_ref().is_some_and(quoted), "{what} is quoted");
    }
}

#[test]
fn good_certificates_are_not_complained_of() {
    let ca = Ca::root("alpha");
    let (inner, rsa) = (ca.intermediate("inner", |_| {}), Ca::of("rsa", |_| {}, &PKCS_RSA_SHA256));
    let lower = inner.intermediate("lower", |_| {});
    let twin = ca.leaf(|_| {});
    for (what, shown) in [
        ("P-256", ca.leaf(|_| {})),
        ("P-384", ca.leaf_with(&PKCS_ECDSA_P384_SHA384, |_| {})),
        ("RSA", rsa.leaf_with(&PKCS_RSA_SHA256, |_| {})),
        (
            "both usages",
            ca.leaf(|params| {
                params.extended_key_usages =
                    vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        (
            "a DNS name beside",
            ca.leaf(|params| params.subject_alt_names.push(SanType::DnsName("x.example".try_into().unwrap()))),
        ),
        ("an intermediate", inner.leaf(|_| {}).then(&inner).under(&[&ca])),
        ("two in a wrong order, and the root", lower.leaf(|_| {}).then(&inner).then(&ca).then(&lower).under(&[&ca])),
        ("the leaf twice", Shown { chain: twin.chain.repeat(2), ..twin }),
        ("an old and a new root", ca.leaf(|_| {}).under(&[&Ca::root("old"), &ca])),
        ("an intermediate beside its root", inner.leaf(|_| {}).under(&[&inner, &ca])),
        ("constraints that fit", {
            let fits = ca.intermediate("fits", |params| params.custom_extensions = vec![only_uris_of("alpha.example")]);
            fits.leaf(|_| {}).then(&fits).under(&[&ca])
        }),
    ] {
        assert_eq!(shown.findings(), [], "{what}");
    }
}

#[test]
fn what_only_some_programs_refuse_is_a_warning() {
    let ca = Ca::root("alpha");
    let rsa = Ca::of("rsa", |_| {}, &PKCS_RSA_SHA256);
    let client = ca.leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let finding = client.findings().pop().unwrap();
    assert_eq!((finding.reason, finding.severity), (Reason::WeakCertificate, Severity::Warning));
    assert!(finding.message.contains("serverAuth"));

    // sha256WithRSAEncryption becomes sha1WithRSAEncryption.
    let strong = pem::parse(rsa.leaf(|_| {}).chain).unwrap().into_contents();
    let (sha256, sha1) = ([0x86, 0xf7, 0x0d, 1, 1, 11], [0x86, 0xf7, 0x0d, 1, 1, 5]);
    let mut weak = strong.clone();
    for at in 0..strong.len() - sha256.len() {
        if strong[at..at + 6] == sha256 {
            weak[at..at + 6].copy_from_slice(&sha1);
        }
    }
    let key = KeyPair::generate().unwrap();
    let shown = Shown { chain: pem::encode(&pem::Pem::new("CERTIFICATE", weak)).into_bytes(), ..rsa.leaf(|_| {}) };
    let findings = shown.with_key(key.serialize_pem()).findings();
    assert!(the(&findings, Reason::WeakCertificate).message.contains("SHA-1"), "{findings:?}");

    let both = Shown { chain: [ca.leaf(|_| {}).chain, key.serialize_pem().into_bytes()].concat(), ..ca.leaf(|_| {}) };
    the(&both.findings(), Reason::ExposedKey);
}

/// The first lines of a life of a hundred days, as `federate` tells it.
#[test]
fn findings_come_and_go_as_time_passes_and_federate_says_when() {
    let ca = Ca::root("alpha");
    let shown = ca.leaf(|params| lasts(params, DAY, 101 * DAY));
    let mut rig = Rig::new();
    rig.objects.federations.clear();
    rig.local.credentials = shown.credentials();
    let mut at_time = |now: Timestamp| {
        rig.now = now;
        let federation = rig.federate();
        let of_leaf =
            federation.findings.into_iter().find(|finding| finding.object == ObjectRef::cluster("alpha.example"));
        (of_leaf.map(|finding| (finding.reason, finding.severity)), federation.next_change)
    };
    let soon = at(91 * DAY);
    let ended = at(101 * DAY) + SignedDuration::from_secs(1);
    let error = |reason| Some((reason, Severity::Error));
    assert_eq!(at_time(at(0)), (error(Reason::CertificateNotYetValid), Some(at(DAY))));
    assert_eq!(at_time(at(DAY)), (None, Some(soon)));
    assert_eq!(at_time(soon), (Some((Reason::CertificateEndsSoon, Severity::Warning)), Some(ended)));
    assert_eq!(at_time(at(101 * DAY)).0, Some((Reason::CertificateEndsSoon, Severity::Warning)));
    assert_eq!(at_time(ended).0, error(Reason::CertificateExpired));
}

#[test]
fn a_root_that_another_one_replaces_is_only_a_warning() {
    let old = Ca::of("old", |params| lasts(params, -9 * DAY, -DAY), &PKCS_ECDSA_P256_SHA256);
    let new = Ca::root("new");
    let shown = new.leaf(|_| {}).under(&[&old, &new]);
    let findings = shown.findings();
    assert_eq!(the(&findings, Reason::CertificateExpired).severity, Severity::Warning);
    // The one that the leaf comes from is not replaced by another one that is valid.
    let findings = old.leaf(|_| {}).under(&[&old, &new]).findings();
    assert_eq!(the(&findings, Reason::CertificateExpired).severity, Severity::Error);
    // Where the leaf is not known, any will do.
    let roots = [old.trusted(), new.trusted()];
    let source = |roots| RootSource { roots, object: ObjectRef::cluster("alpha.example"), field: "data" };
    let severity =
        |roots| the(&Credentials::of_roots(&source(roots)).findings(at(0)), Reason::CertificateExpired).severity;
    assert_eq!((severity(&roots), severity(&roots[..1])), (Severity::Warning, Severity::Error));
}

#[test]
fn more_roots_than_peers_take_are_an_error() {
    let roots: Vec<_> = (0..17).map(|n| Ca::root(&format!("{n}")).trusted()).collect();
    let source = |roots| RootSource { roots, object: ObjectRef::cluster("alpha.example"), field: "identity.roots" };
    assert!(
        the(&Credentials::of_roots(&source(&roots)).findings(at(0)), Reason::TooManyRoots).message.contains("17 roots")
    );
    assert_eq!(Credentials::of_roots(&source(&roots[..16])).findings(at(0)), []);
}

fn endpoint(chain: &[u8], key: &[u8]) -> Credentials {
    let source = |field, bytes| Source { object: ObjectRef::cluster("alpha.example"), field, bytes: Ok(bytes) };
    Credentials::of_endpoint(&source("metadata.tls.certificate", chain), &source("metadata.tls.key", key))
}

#[test]
fn the_endpoints_certificate_is_checked_too() {
    let ca = Ca::root("alpha");
    let host = |change: fn(&mut CertificateParams)| {
        ca.leaf(|params| {
            params.subject_alt_names = vec![SanType::DnsName("meta.alpha.example".try_into().unwrap())];
            change(params);
        })
    };
    let findings = |shown: &Shown| endpoint(&shown.chain, shown.key.as_ref().unwrap()).findings(at(0));
    let good = host(|_| {});
    assert_eq!(findings(&good), []);
    assert_eq!(
        findings(&ca.leaf_with(&PKCS_ED25519, |params| {
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        })),
        []
    );
    let roles: Vec<_> =
        endpoint(&good.chain, good.key.as_ref().unwrap()).validities.iter().map(|validity| validity.role).collect();
    assert_eq!(roles, [CertificateRole::Endpoint]);
    for (reason, part, shown) in [
        (Reason::CertificateExpired, "cannot fetch", host(|params| lasts(params, -9 * DAY, -DAY))),
        (Reason::CertificateNotYetValid, "compare the clocks", host(|params| lasts(params, DAY, 999 * DAY))),
        (Reason::InvalidCertificate, "names no host", ca.leaf(|_| {})),
        (
            Reason::InvalidCertificate,
            "serverAuth",
            host(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ),
        (
            Reason::InvalidCertificate,
            "1024",
            Shown {
                chain: ca
                    .sign(&ShortRsa::new(), |params| {
                        params.subject_alt_names = vec![SanType::DnsName("meta.alpha.example".try_into().unwrap())];
                    })
                    .pem()
                    .into_bytes(),
                ..host(|_| {})
            },
        ),
        (Reason::InvalidCertificate, "JSON", Shown { chain: b"{}".to_vec(), ..host(|_| {}) }),
        (Reason::KeyMismatch, "another", host(|_| {}).with_key(KeyPair::generate().unwrap().serialize_pem())),
    ] {
        let findings = findings(&shown);
        let finding = the(&findings, reason);
        assert!(finding.severity == Severity::Error && finding.message.contains(part), "{findings:?}");
    }
    let soon = host(|params| lasts(params, -9 * DAY, DAY / 2));
    assert_eq!(the(&findings(&soon), Reason::CertificateEndsSoon).severity, Severity::Warning);
}

#[test]
fn a_pair_matches_or_not() {
    let ca = Ca::root("alpha");
    let (one, two) = (ca.leaf(|_| {}), ca.leaf_with(&PKCS_RSA_SHA256, |_| {}));
    let (one_key, two_key) = (one.key.unwrap(), two.key.unwrap());
    assert_eq!(keys_match(&one.chain, &one_key), Ok(true));
    assert_eq!(keys_match(&two.chain, &two_key), Ok(true));
    assert_eq!(keys_match(&one.chain, &two_key), Ok(false));
    assert!(keys_match(b"", &one_key).unwrap_err().contains("found nothing"));
}

/// DKP publishes an intermediate when its `istio.ca.root` is left out.
#[test]
fn a_peers_root_that_is_an_intermediate_is_told_and_not_used() {
    let (ca, other) = (Ca::root("beta"), Ca::root("other"));
    let inner = ca.intermediate("inner", |_| {});
    let mut rig = Rig::new();
    let mut with = |roots: &[&Ca]| {
        rig.known("beta").public.as_mut().unwrap().document.roots = roots.iter().map(|ca| ca.trusted()).collect();
        rig.federate()
    };
    let federation = with(&[&inner]);
    let finding = the(&federation.findings, Reason::IntermediateRoot);
    assert!(finding.message.contains("CN=inner") && finding.message.contains("CN=beta"), "{finding}");
    assert!(!federation.bundles.contains_key(&domain("beta.example")));
    assert!(federation.bundles.contains_key(&domain("gamma.example")));
    // Beside its own root it is of use.
    let federation = with(&[&inner, &ca]);
    assert_eq!(federation.bundles[&domain("beta.example")].roots.len(), 2);
    assert!(found(&federation.findings, Reason::IntermediateRoot).is_empty());
    // Another root does not help it, and is not spoilt by it.
    let federation = with(&[&inner, &other]);
    assert_eq!(federation.bundles[&domain("beta.example")].roots, [other.trusted()]);
    the(&federation.findings, Reason::IntermediateRoot);
}

/// For the test that each reason can be produced.
pub(crate) fn everything() -> Vec<Finding> {
    let ca = Ca::root("alpha");
    let mut findings: Vec<_> = kinds().into_iter().flat_map(|(_, shown, ..)| shown.findings()).collect();
    findings.extend(ca.leaf(|params| lasts(params, -99 * DAY, DAY)).findings());
    let weak = ca.leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    findings.extend(weak.findings());
    findings.extend(Shown { chain: [weak.chain.clone(), weak.key.clone().unwrap()].concat(), ..weak }.findings());
    let roots: Vec<_> = (0..17).map(|n| Ca::root(&format!("{n}")).trusted()).collect();
    let source = RootSource { roots: &roots, object: ObjectRef::cluster("alpha.example"), field: "identity.roots" };
    findings.extend(Credentials::of_roots(&source).findings(at(0)));
    findings
}
