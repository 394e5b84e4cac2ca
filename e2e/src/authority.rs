//! Certificate authorities and the certificates that they sign, including hostile ones. All keys
//! are generated at run time.

use anyhow::Result;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long certificates are valid, unless a test sets something else.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A root or intermediate certificate with its key.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The certificates between a leaf and the root, the leaf's issuer first; empty for a root.
    chain: Vec<rcgen::Certificate>,
}

/// A certificate with its key and the certificates between it and the root.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    chain_pem: String,
    key: PrivateKeyDer<'static>,
    key_pem: String,
}

/// The content of a leaf certificate.
#[derive(Debug, Clone)]
pub struct Leaf {
    names: Vec<SanType>,
    valid_from: SystemTime,
    valid_until: SystemTime,
    is_ca: bool,
    usages: Vec<KeyUsagePurpose>,
    extended_usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Authority {
    /// Creates a root.
    ///
    /// # Errors
    /// When the key cannot be generated.
    pub fn root(name: &str) -> Result<Self> {
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(ca(name)?, KeyPair::generate()?)?,
            chain: Vec::new(),
        })
    }

    /// Creates an intermediate authority signed by this one.
    ///
    /// # Errors
    /// When the key cannot be generated.
    pub fn intermediate(&self, name: &str) -> Result<Self> {
        let issuer = CertifiedIssuer::signed_by(ca(name)?, KeyPair::generate()?, &self.issuer)?;
        let own: &rcgen::Certificate = issuer.as_ref();
        let mut chain = vec![own.clone()];
        chain.extend(self.chain.iter().cloned());
        Ok(Self { issuer, chain })
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes `NAME.pem` and `NAME.key` into a folder, so that others can sign certificates with
    /// this authority.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<IdentityFiles> {
        write_files(folder, name, &self.pem(), &self.issuer.key().serialize_pem())
    }

    /// The authority's own certificate in DER.
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Signs a leaf.
    ///
    /// # Errors
    /// When the key cannot be generated, or the leaf is not valid X.509.
    pub fn sign(&self, leaf: &Leaf) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = leaf.parameters().signed_by(&key, &self.issuer)?;
        let all = || std::iter::once(&certificate).chain(&self.chain);
        Ok(Identity {
            chain: all().map(|certificate| certificate.der().clone()).collect(),
            chain_pem: all().map(rcgen::Certificate::pem).collect(),
            key: PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?,
            key_pem: key.serialize_pem(),
        })
    }

    /// Signs a workload's leaf, which has one URI SAN.
    ///
    /// # Errors
    /// Same as [`Authority::sign`].
    pub fn workload(&self, spiffe_id: &str) -> Result<Identity> {
        self.sign(&Leaf::new().uri(spiffe_id)?)
    }
}

impl Leaf {
    /// A leaf without a name, valid from an hour ago until tomorrow.
    pub fn new() -> Self {
        let now = SystemTime::now();
        let valid_from = now - Duration::from_secs(60 * 60);
        let usages = vec![KeyUsagePurpose::DigitalSignature];
        let extended_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self {
            names: Vec::new(),
            valid_from,
            valid_until: now + LIFETIME,
            is_ca: false,
            usages,
            extended_usages,
        }
    }

    /// Adds a URI SAN after the existing ones.
    ///
    /// # Errors
    /// When it is not ASCII.
    pub fn uri(mut self, uri: &str) -> Result<Self> {
        self.names.push(SanType::URI(Ia5String::try_from(uri)?));
        Ok(self)
    }

    /// Adds a DNS SAN.
    ///
    /// # Errors
    /// When it is not ASCII.
    pub fn dns(mut self, name: &str) -> Result<Self> {
        self.names.push(SanType::DnsName(Ia5String::try_from(name)?));
        Ok(self)
    }

    /// Adds an IP address SAN.
    pub fn address(mut self, address: std::net::IpAddr) -> Self {
        self.names.push(SanType::IpAddress(address));
        self
    }

    /// Replaces the default usages, which are those of a workload.
    pub fn usages(
        mut self,
        usages: &[KeyUsagePurpose],
        extended: &[ExtendedKeyUsagePurpose],
    ) -> Self {
        self.usages = usages.to_vec();
        self.extended_usages = extended.to_vec();
        self
    }

    /// Makes the leaf expire half an hour ago.
    pub fn expired(mut self) -> Self {
        self.valid_until = SystemTime::now() - Duration::from_secs(30 * 60);
        self
    }

    /// Makes the leaf claim to be a CA.
    pub fn with_ca_flag(mut self) -> Self {
        self.is_ca = true;
        self
    }

    fn parameters(&self) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "fedgate test leaf");
        parameters.subject_alt_names.clone_from(&self.names);
        parameters.not_before = self.valid_from.into();
        parameters.not_after = self.valid_until.into();
        parameters.key_usages.clone_from(&self.usages);
        parameters.extended_key_usages.clone_from(&self.extended_usages);
        if self.is_ca {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        parameters
    }
}

impl Default for Leaf {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// The leaf and the certificates between it and the root.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// Writes `NAME.pem` and `NAME.key` into a folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<IdentityFiles> {
        write_files(folder, name, &self.chain_pem, &self.key_pem)
    }
}

/// The files that an identity was written to.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The certificate chain in PEM.
    pub certificate: PathBuf,
    /// The key in PEM.
    pub key: PathBuf,
}

fn write_files(folder: &Path, name: &str, certificate: &str, key: &str) -> Result<IdentityFiles> {
    let files = IdentityFiles {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    replace(&files.key, key)?;
    replace(&files.certificate, certificate)?;
    Ok(files)
}

/// Writes a file that only its owner can read. Replaces it by rename, so that watchers never see
/// half a file.
fn replace(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    Ok(std::fs::rename(&new, path)?)
}

fn ca(name: &str) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::OrganizationName, "fedgate test");
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    parameters.not_before = (now - Duration::from_secs(60 * 60)).into();
    parameters.not_after = (now + LIFETIME).into();
    Ok(parameters)
}
