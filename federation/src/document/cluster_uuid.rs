use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// The UUID of a cluster in metadata and tokens: 36 characters, `8-4-4-4-12` hexadecimal digits.
///
/// It keeps its letter case, because DKP compares a token's audience byte by byte. Both cases still
/// compare as equal here, so upper case does not evade the check for duplicate UUIDs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterUuid(Box<str>);

/// Why a text is not a [`ClusterUuid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a UUID such as 11111111-aaaa-4aaa-8aaa-111111111111")]
pub struct InvalidUuid;

impl ClusterUuid {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidUuid`] if it does not have this form.
    pub fn parse(text: &str) -> Result<Self, InvalidUuid> {
        let good = |(index, byte): (usize, u8)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        match text.len() == 36 && text.bytes().enumerate().all(good) {
            true => Ok(Self(text.into())),
            false => Err(InvalidUuid),
        }
    }

    /// Returns the UUID in its original spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for ClusterUuid {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ClusterUuid {}

impl PartialOrd for ClusterUuid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ClusterUuid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for ClusterUuid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| byte.hash(state));
    }
}

impl std::fmt::Display for ClusterUuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ClusterUuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ClusterUuid {
    type Error = InvalidUuid;

    fn try_from(text: String) -> Result<Self, InvalidUuid> {
        Self::parse(&text)
    }
}

impl From<ClusterUuid> for String {
    fn from(uuid: ClusterUuid) -> String {
        uuid.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_form_and_keeps_its_letter_case() {
        let upper = ClusterUuid::parse("11111111-AAAA-4AAA-8AAA-111111111111").unwrap();
        let lower = ClusterUuid::parse("11111111-aaaa-4aaa-8aaa-111111111111").unwrap();
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), Ordering::Equal);
        assert_eq!(upper.as_str(), "11111111-AAAA-4AAA-8AAA-111111111111");
        for bad in [
            "",
            "11111111aaaa4aaa8aaa111111111111",
            "g1111111-aaaa-4aaa-8aaa-111111111111",
            &"1".repeat(36),
        ] {
            assert!(ClusterUuid::parse(bad).is_err(), "{bad}");
        }
    }
}
