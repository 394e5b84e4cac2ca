use super::{InvalidName, owned_name};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// A DNS host name (RFC 1123, section 2.1) folded to lower case. It has at most 253 bytes, and
/// labels of 1 to 63 bytes of `a-z`, `0-9`, `-` and `_`. It has no trailing dot, and no label
/// begins or ends with `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(Arc<str>);

owned_name!(Hostname);

impl Hostname {
    /// The maximum length of a host name in bytes.
    pub const MAX_BYTES: usize = 253;

    /// Validates `text` and folds it to lower case.
    ///
    /// # Errors
    /// [`InvalidName`] if `text` is not a host name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        Ok(Self(fold(text)?.into()))
    }

    /// Wraps a name that [`fold`] has already checked.
    pub(super) fn from_folded(text: &str) -> Self {
        Self(text.into())
    }
}

/// Validates a host name and folds it to lower case; allocates only if it has upper-case letters.
pub(crate) fn fold(text: &str) -> Result<Cow<'_, str>, InvalidName> {
    if text.len() > Hostname::MAX_BYTES {
        return Err(InvalidName::TooLong(Hostname::MAX_BYTES));
    }
    check_labels(text.as_bytes())?;
    match text.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Ok(Cow::Owned(text.to_ascii_lowercase())),
        false => Ok(Cow::Borrowed(text)),
    }
}

/// Validates labels separated by dots; upper case is accepted.
pub(crate) fn check_labels(labels: &[u8]) -> Result<(), InvalidName> {
    labels.split(|&byte| byte == b'.').try_for_each(check_label)
}

fn check_label(label: &[u8]) -> Result<(), InvalidName> {
    let (Some(first), Some(last)) = (label.first(), label.last()) else {
        return Err(InvalidName::Empty);
    };
    if label.len() > 63 {
        return Err(InvalidName::Form("made of labels of at most 63 bytes"));
    }
    if *first == b'-' || *last == b'-' {
        return Err(InvalidName::Form("made of labels that neither start nor end with '-'"));
    }
    match label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        true => Ok(()),
        false => Err(InvalidName::Character("letters, digits, '-', '_' and '.'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_to_lower_case() {
        assert_eq!(
            Hostname::parse("Web.Shop.svc.BETA.example").unwrap().as_str(),
            "web.shop.svc.beta.example"
        );
        assert!(matches!(fold("web.shop"), Ok(Cow::Borrowed("web.shop"))));
    }

    #[test]
    fn refuses_invalid_host_names() {
        let too_long = vec!["a".repeat(63); 4].join(".") + ".a";
        for bad in [
            "",
            ".",
            "a..b",
            "a.",
            ".a",
            "-a",
            "a-",
            "a b",
            "a\0",
            "ä",
            "*.a",
            "a/b",
            &"a".repeat(64),
            &too_long,
        ] {
            assert!(Hostname::parse(bad).is_err(), "{bad}");
        }
    }
}
