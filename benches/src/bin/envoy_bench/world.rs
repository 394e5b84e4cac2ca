//! What all variants share: peers with their certificates, services with their back ends, and the
//! calls that clients make.

use crate::backends;
use anyhow::{Context, Result};
use fedgate_benches::{Exports, Kind, PEERS, Question};
use fedgate_core::{ServiceName, Sni, SpiffeId, TrustDomain};
use fedgate_envoy::Identity;
use fedgate_federation::bundle::{Root, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType, SignatureAlgorithm,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// The number of different services that clients ask for.
const SERVICES: usize = 64;
/// The trust domain of the gateway.
const LOCAL: &str = "beta.example";

/// A certificate authority: a key and its self-signed certificate.
type Authority = CertifiedIssuer<'static, KeyPair>;

/// One size of the table, and everything that its clients need.
pub(crate) struct World {
    pub(crate) exports: Exports,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) identity: Identity,
    pub(crate) local_root: Root,
    pub(crate) bundles: BTreeMap<TrustDomain, TrustBundle>,
    /// The services that clients ask for, with their back ends.
    pub(crate) services: BTreeMap<ServiceName, BTreeSet<SocketAddr>>,
    pub(crate) granted: Vec<Call>,
    /// Calls of services that are not exported.
    pub(crate) unknown: Vec<Call>,
    /// Calls by peers without a grant.
    pub(crate) not_granted: Vec<Call>,
}

/// The keys of workloads and of the gateway. Authorities have P-256 keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    P256,
    /// istiod's default.
    Rsa2048,
}

impl Keys {
    fn generate(self) -> Result<KeyPair> {
        let algorithm: &'static SignatureAlgorithm = match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::Rsa2048 => &PKCS_RSA_SHA256,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }
}

/// A connection that a client makes.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) server_name: String,
    /// The client's trust domain.
    pub(crate) peer: String,
    pub(crate) certificate: Arc<CertifiedKey>,
    /// What the back end answers.
    pub(crate) answer: String,
}

impl World {
    /// A table with `rows` exports.
    pub(crate) fn new(rows: usize, keys: Keys) -> Result<Self> {
        let exports = Exports::new(Kind::Mixed, rows);
        let authorities = peers().map(|peer| Ok((peer, authority()?))).collect::<Result<_>>()?;
        let granted = exports.allowed(SERVICES);
        let services = granted.iter().map(service).collect::<Result<BTreeSet<_>>>()?;
        let mut clients =
            Clients { authorities, key: keys.generate()?, certificates: BTreeMap::new() };
        let (own, key) = (authority()?, keys.generate()?);
        let chain = leaf(&own, &format!("spiffe://{LOCAL}/ns/shop/sa/gateway"), &key)?;
        Ok(Self {
            trust_domain: LOCAL.parse()?,
            identity: Identity::from_pem(chain.pem().as_bytes(), key.serialize_pem().as_bytes())?,
            local_root: Root::from_der(own.der())?,
            bundles: clients.bundles()?,
            services: backends::start(services)?,
            granted: clients.calls(granted)?,
            unknown: clients.calls(exports.refused_early(SERVICES))?,
            not_granted: clients.calls(exports.refused_late(SERVICES))?,
            exports,
        })
    }
}

/// The peers' trust domains.
fn peers() -> impl Iterator<Item = String> {
    (0..PEERS).map(fedgate_benches::trust_domain)
}

fn service(question: &Question) -> Result<ServiceName> {
    let sni = Sni::parse(&question.server_name).ok().context("a question with a wrong name")?;
    Ok(sni.service())
}

fn identity(uri_san: &str) -> Result<SpiffeId<'_>> {
    SpiffeId::parse(uri_san).ok().context("a question with a wrong identity")
}

/// The peers' authorities, and the clients' certificates so far.
struct Clients {
    authorities: BTreeMap<String, Authority>,
    /// One key for all: making RSA keys takes long, and Envoy does not compare them.
    key: KeyPair,
    certificates: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Clients {
    fn bundles(&self) -> Result<BTreeMap<TrustDomain, TrustBundle>> {
        let bundle = |(name, authority): (&String, &Authority)| {
            let trust_domain: TrustDomain = name.parse()?;
            let roots = vec![Root::from_der(authority.der())?];
            Ok((trust_domain.clone(), TrustBundle { trust_domain, roots }))
        };
        self.authorities.iter().map(bundle).collect()
    }

    fn calls(&mut self, questions: Vec<Question>) -> Result<Vec<Call>> {
        questions.into_iter().map(|question| self.call(question)).collect()
    }

    fn call(&mut self, question: Question) -> Result<Call> {
        let answer = backends::answer(&service(&question)?);
        let certificate = self.certificate(&question.uri_san)?;
        let peer = identity(&question.uri_san)?.trust_domain().to_owned();
        Ok(Call { server_name: question.server_name, peer, certificate, answer })
    }

    fn certificate(&mut self, uri_san: &str) -> Result<Arc<CertifiedKey>> {
        if let Some(certificate) = self.certificates.get(uri_san) {
            return Ok(Arc::clone(certificate));
        }
        let peer = identity(uri_san)?.trust_domain();
        let authority = self.authorities.get(peer).context("an unknown peer")?;
        let certificate = leaf(authority, uri_san, &self.key)?;
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).map_err(anyhow::Error::msg)?;
        let certificate = Arc::new(CertifiedKey::new(
            vec![certificate.der().clone()],
            aws_lc_rs::sign::any_supported_type(&key)?,
        ));
        self.certificates.insert(uri_san.to_owned(), Arc::clone(&certificate));
        Ok(certificate)
    }
}

/// A root with a P-256 key.
fn authority() -> Result<Authority> {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?)
}

/// A workload's certificate.
fn leaf(authority: &Authority, uri_san: &str, key: &KeyPair) -> Result<rcgen::Certificate> {
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = vec![SanType::URI(uri_san.try_into()?)];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(parameters.signed_by(key, authority)?)
}
