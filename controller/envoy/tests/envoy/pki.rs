//! Roots and leaf certificates, made at run time.

use fedgate_core::TrustDomain;
use fedgate_envoy::Identity;
use fedgate_federation::bundle::{Root, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

    /// A leaf for any URI, in the authority's own trust domain or not.
    pub(crate) fn leaf(&self, san: &str) -> Leaf {
        self.leaf_of(&[san])
    }

    /// A leaf with these URI SANs, in this order.
    pub(crate) fn leaf_of(&self, sans: &[&str]) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = sans.iter().map(|san| uri(san)).collect();
        // Without it, BoringSSL takes the first of two roots with the same name (old and new in a
        // rotation) and stops there.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate, key }
    }

    /// A leaf in the authority's own trust domain.
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

    /// The form that Envoy is given.
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.pem().as_bytes(), self.key.serialize_pem().as_bytes())
            .unwrap()
    }
}
