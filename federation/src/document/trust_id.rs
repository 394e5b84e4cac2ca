use super::PublicDocument;
use fedgate_core::Hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Identifies what a public document asks its readers to trust: UUID, keys and roots. Written as 32
/// lower-case hexadecimal digits, half of a SHA-256.
///
/// An operator approves a change by it. It is too long to find another document with the same one,
/// so an approval never covers a document that the operator has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustId([u8; 16]);

/// Why a text is not a [`TrustId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 lower-case hexadecimal digits")]
pub struct InvalidTrustId;

impl TrustId {
    /// Returns the ID of a document.
    pub fn of(document: &PublicDocument) -> Self {
        let mut lines = vec![
            document.cluster_uuid.as_str().to_ascii_lowercase(),
            document.authn_key.fingerprint().to_string(),
        ];
        let mut roots: Vec<_> =
            document.roots.iter().map(|root| root.fingerprint().to_string()).collect();
        roots.sort();
        lines.extend(roots);
        // Marked, so that it is never taken for a root. Without a second key, the ID is the same as
        // that of versions that know only one.
        let other = document.keys().other;
        lines.extend(other.map(|key| format!("other {}", key.fingerprint())));
        let hash: [u8; 32] = Sha256::digest(lines.join("\n")).into();
        let mut id = [0; 16];
        id.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        Self(id)
    }

    /// Reads what `Display` writes.
    ///
    /// # Errors
    /// [`InvalidTrustId`] for anything else, including upper-case digits.
    pub fn parse(text: &str) -> Result<Self, InvalidTrustId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(InvalidTrustId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidTrustId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl std::fmt::Display for TrustId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl TryFrom<String> for TrustId {
    type Error = InvalidTrustId;

    fn try_from(text: String) -> Result<Self, InvalidTrustId> {
        Self::parse(&text)
    }
}

impl From<TrustId> for String {
    fn from(id: TrustId) -> String {
        id.to_string()
    }
}
