//! Roots and leaf certificates, made at run time.

use fedgate_controller::envoy::{FilePath, Identity};
use fedgate_core::TrustDomain;
use fedgate_federation::bundle::{Root, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

pub(crate) struct Authority {
    pub(crate) trust_domain: TrustDomain,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, trust_domain);
        params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { trust_domain: TrustDomain::parse(trust_domain).unwrap(), issuer }
    }

    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        let root = Root::from_der(self.issuer.der()).unwrap();
        TrustBundle { trust_domain: self.trust_domain.clone(), roots: vec![root] }
    }

    /// A leaf for any URI, of the own trust domain or not.
    pub(crate) fn leaf(&self, san: &str) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![uri(san)];
        // Without it BoringSSL takes the first of two roots with one name (old and new of a rotation) and stops there.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate, key }
    }

    /// A leaf of the own trust domain.
    pub(crate) fn workload(&self, path: &str) -> Leaf {
        self.leaf(&format!("spiffe://{}/{path}", self.trust_domain))
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(crate) struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Leaf {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// Writes both files by rename, the certificate first.
    pub(crate) fn store(&self, folder: &Path) -> Identity {
        self.store_certificate(folder);
        replace(&folder.join("key.pem"), &self.key.serialize_pem());
        let path = |name| FilePath::new(&folder.join(name)).unwrap();
        Identity { certificate_chain: path("cert.pem"), private_key: path("key.pem") }
    }

    pub(crate) fn store_certificate(&self, folder: &Path) {
        replace(&folder.join("cert.pem"), &self.certificate.pem());
    }
}

pub(crate) fn replace(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text).unwrap();
    std::fs::rename(&partial, path).unwrap();
}
