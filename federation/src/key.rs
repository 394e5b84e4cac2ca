//! Ed25519 keys (RFC 8032), in two PEM dialects with the same contents (RFC 8410). DKP labels its
//! blocks `ED25519 PUBLIC KEY` and `ED25519 PRIVATE KEY`; other software writes `PUBLIC KEY` and
//! `PRIVATE KEY`. Both are read, and DKP's are written.

use crate::bundle::Fingerprint;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

/// SubjectPublicKeyInfo of an Ed25519 key, up to the 32 bytes of the key.
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// PrivateKeyInfo version 1 of an Ed25519 key, up to the 32 bytes of the seed.
const PKCS8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

const PUBLIC_LABELS: [&str; 2] = ["ED25519 PUBLIC KEY", "PUBLIC KEY"];
const PRIVATE_LABELS: [&str; 2] = ["ED25519 PRIVATE KEY", "PRIVATE KEY"];

/// The most bytes of a PEM key that are read; a real one has about 120.
const MAX_PEM_BYTES: usize = 4096;

/// Why a text is not a key. The error contains nothing of the text, which may be a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is empty. DKP exporters that have no key yet publish an empty string.
    #[error("the key is empty")]
    Empty,
    /// It is too long for a key.
    #[error("the key has more than {MAX_PEM_BYTES} bytes")]
    TooLong,
    /// It is not exactly one PEM block.
    #[error("the key is not one PEM block")]
    Pem,
    /// The block has another label.
    #[error("the key's PEM label is not {0:?} or {1:?}")]
    Label(&'static str, &'static str),
    /// The block does not hold an Ed25519 key.
    #[error("the PEM block holds no Ed25519 key (RFC 8410)")]
    NotEd25519,
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a PEM block.
    ///
    /// # Errors
    /// [`KeyError`] if it holds no Ed25519 public key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = block(text, PUBLIC_LABELS)?;
        let key = der.strip_prefix(SPKI).ok_or(KeyError::NotEd25519)?;
        key.try_into().map(Self).map_err(|_| KeyError::NotEd25519)
    }

    /// Writes a PEM block with DKP's label.
    pub fn to_pem(&self) -> String {
        pem_block(PUBLIC_LABELS[0], SPKI, &self.0)
    }

    /// Returns the key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the SHA-256 of the key as SubjectPublicKeyInfo. People compare keys by it: `openssl
    /// pkey -pubin -outform der | sha256sum`.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&[SPKI, &self.0].concat())
    }

    pub(crate) fn decoding_key(&self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.0)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::from_pem(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_pem()
    }
}

/// The keys that a cluster may sign with: the one that it signs tokens with, and during a rotation
/// another one, which is either the next or the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKeys {
    /// The key that signs tokens.
    pub current: PublicKey,
    /// The other one, if there is a rotation. Never equal to `current`.
    pub other: Option<PublicKey>,
}

impl PublicKeys {
    /// Returns the keys, without a second one that is the same.
    pub fn new(current: PublicKey, other: Option<PublicKey>) -> Self {
        Self { current, other: other.filter(|other| *other != current) }
    }

    /// Returns true if `key` is one of them.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.iter().any(|own| own == *key)
    }

    /// Returns the keys, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = PublicKey> + use<> {
        [Some(self.current), self.other].into_iter().flatten()
    }
}

impl From<PublicKey> for PublicKeys {
    fn from(current: PublicKey) -> Self {
        Self { current, other: None }
    }
}

/// A private key. Only [`SigningKey::to_pem`] reveals it: `Debug` prints no part of it, and it has
/// no `Display` or other serialisation.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    public: PublicKey,
}

impl SigningKey {
    /// Returns the key for a seed (RFC 8032, section 5.1.5). The seed must come from a
    /// cryptographic source of randomness, which this crate does not have.
    ///
    /// # Errors
    /// [`KeyError::NotEd25519`] if the cryptographic library refuses the seed; no such seed is
    /// known.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ed_der(&[PKCS8, seed].concat());
        let public = public_of(&key).ok_or(KeyError::NotEd25519)?;
        Ok(Self { key, public })
    }

    /// Reads a PEM block with a PKCS#8 key, version 1 or 2 (RFC 5958).
    ///
    /// # Errors
    /// [`KeyError`] if it holds no Ed25519 private key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = block(text, PRIVATE_LABELS)?;
        Self::from_seed(&seed_of(&der).ok_or(KeyError::NotEd25519)?)
    }

    /// Writes a PEM block with DKP's label. This is the secret itself: write it only to a file that
    /// only its owner can read.
    pub fn to_pem(&self) -> String {
        let seed = self.key.as_bytes().get(PKCS8.len()..).unwrap_or_default();
        pem_block(PRIVATE_LABELS[0], PKCS8, seed)
    }

    /// Returns the public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn encoding_key(&self) -> &EncodingKey {
        &self.key
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Equal if they have the same public key.
impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for SigningKey {}

/// The private halves of [`PublicKeys`]. `current` signs tokens; both sign documents, so that a
/// reader who knows either of them believes the documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeys {
    /// The key that signs tokens.
    pub current: SigningKey,
    /// The other one. Never equal to `current`.
    pub other: Option<SigningKey>,
}

impl SigningKeys {
    /// Returns the keys, without a second one that is the same.
    pub fn new(current: SigningKey, other: Option<SigningKey>) -> Self {
        let other = other.filter(|other| *other != current);
        Self { current, other }
    }

    /// Returns the public halves.
    pub fn public(&self) -> PublicKeys {
        let other = self.other.as_ref().map(SigningKey::public);
        PublicKeys { current: self.current.public(), other }
    }

    /// Returns the keys, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        [Some(&self.current), self.other.as_ref()].into_iter().flatten()
    }

    /// Returns true if a reader who knows only `before` believes what these sign: at least one key
    /// is the same. Otherwise it is not a rotation, but a loss.
    pub fn continue_from(&self, before: &Self) -> bool {
        self.iter().any(|key| before.iter().any(|old| old == key))
    }
}

impl From<SigningKey> for SigningKeys {
    fn from(current: SigningKey) -> Self {
        Self { current, other: None }
    }
}

fn block(text: &str, labels: [&'static str; 2]) -> Result<Vec<u8>, KeyError> {
    if text.trim().is_empty() {
        return Err(KeyError::Empty);
    }
    if text.len() > MAX_PEM_BYTES {
        return Err(KeyError::TooLong);
    }
    let mut blocks = pem::parse_many(text).map_err(|_| KeyError::Pem)?;
    let block = blocks.pop().filter(|_| blocks.is_empty()).ok_or(KeyError::Pem)?;
    match labels.contains(&block.tag()) {
        true => Ok(block.into_contents()),
        false => Err(KeyError::Label(labels[0], labels[1])),
    }
}

fn pem_block(label: &str, prefix: &[u8], key: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, [prefix, key].concat()), config)
}

/// Returns the seed in a PKCS#8 structure. Version 2 differs in the outer length, the version, and
/// what may follow the seed.
fn seed_of(der: &[u8]) -> Option<[u8; 32]> {
    let (head, rest) = der.split_first_chunk()?;
    let [0x30, length, 0x02, 0x01, version] = *head else { return None };
    let (seed, attributes) = rest.strip_prefix(PKCS8.get(head.len()..)?)?.split_first_chunk()?;
    let whole = usize::from(length) + 2 == der.len()
        && (version == 1 || (version == 0 && attributes.is_empty()));
    whole.then_some(*seed)
}

fn public_of(key: &EncodingKey) -> Option<PublicKey> {
    let jwk = Jwk::from_encoding_key(key, Algorithm::EdDSA).ok()?;
    let AlgorithmParameters::OctetKeyPair(parameters) = jwk.algorithm else { return None };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(parameters.x).ok()?;
    bytes.try_into().ok().map(PublicKey)
}
