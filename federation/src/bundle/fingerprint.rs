use fedgate_core::Hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate's DER form, or of a document. Written as `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

/// Why a text is not a [`Fingerprint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected sha256: and 64 lower-case hexadecimal digits")]
pub struct InvalidFingerprint;

const PREFIX: &str = "sha256:";

impl Fingerprint {
    /// Returns the fingerprint of a certificate or a document.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Returns the fingerprint of something whose SHA-256 is known already.
    pub fn of_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Reads what `Display` writes.
    ///
    /// # Errors
    /// [`InvalidFingerprint`] for anything else, including upper-case digits: each fingerprint has
    /// exactly one spelling.
    pub fn parse(text: &str) -> Result<Self, InvalidFingerprint> {
        let digits =
            text.strip_prefix(PREFIX).map(str::as_bytes).filter(|digits| digits.len() == 64);
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.ok_or(InvalidFingerprint)?.chunks_exact(2))
        {
            for digit in pair {
                *byte = *byte << 4 | value(*digit)?;
            }
        }
        Ok(Self(bytes))
    }
}

fn value(digit: u8) -> Result<u8, InvalidFingerprint> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(InvalidFingerprint),
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", Hex(&self.0))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;

    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        Self::parse(&text)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_displayed_form_is_parsed() {
        // The well-known SHA-256 of the empty string.
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Fingerprint::of(b"").to_string(), text);
        assert_eq!(Fingerprint::parse(text), Ok(Fingerprint::of(b"")));
        let upper = text.to_uppercase().replace("SHA", "sha");
        let non_hex = text.replace("e3", "g3");
        for bad in [
            "",
            "sha256:",
            &text[7..],
            &text[..70],
            &format!("{text}0"),
            &upper,
            &non_hex,
            &text.replace("sha", "SHA"),
        ] {
            assert_eq!(Fingerprint::parse(bad), Err(InvalidFingerprint), "{bad}");
        }
    }
}
