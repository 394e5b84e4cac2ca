use super::{InvalidName, owned_name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The name of a peer's `IstioFederation` object: a DNS subdomain (Kubernetes object names) of at
/// most 253 bytes.
///
/// This is our name for the peer, not the peer's name for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(Arc<str>);

owned_name!(PeerName);

impl PeerName {
    /// Validates `text`.
    ///
    /// # Errors
    /// [`InvalidName`] if the API server would not accept it as an object name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > 253 {
            return Err(InvalidName::TooLong(253));
        }
        if !text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')) {
            return Err(InvalidName::Character("lower-case letters, digits, '-' and '.'"));
        }
        let ends_well =
            |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        match text.split('.').all(ends_well) {
            true => Ok(Self(text.into())),
            false => Err(InvalidName::Form(
                "made of parts that are not empty and neither start nor end with '-'",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_kubernetes_object_name() {
        for good in ["beta", "beta-1", "beta.example", "0"] {
            assert!(PeerName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Beta", "beta_1", "-beta", "beta-", "a..b", "beta/x", &"a".repeat(254)] {
            assert!(PeerName::parse(bad).is_err(), "{bad}");
        }
    }
}
