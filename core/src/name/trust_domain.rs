use super::{InvalidName, MeshHost, owned_name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A trust domain name (SPIFFE-ID, section 2.1): 1 to 255 bytes of `a-z`, `0-9`, `.`, `-` and `_`.
///
/// Upper case is refused rather than folded. Envoy's SPIFFE validator compares trust domains byte
/// by byte, so no certificate would match a folded name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

owned_name!(TrustDomain);

impl TrustDomain {
    /// The maximum length of a trust domain in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Validates `text`.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, too long, or has a character outside the alphabet.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check(text)?;
        Ok(Self(text.into()))
    }

    /// Returns true if `host` is `<service>.<namespace>.svc.<this trust domain>`, or such a name
    /// with a Pod's name before it. A peer may announce only names of these forms.
    pub fn owns(&self, host: &super::Hostname) -> bool {
        MeshHost::parse(host).is_some_and(|host| host.trust_domain == self.as_str())
    }
}

pub(super) fn check(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > TrustDomain::MAX_BYTES {
        return Err(InvalidName::TooLong(TrustDomain::MAX_BYTES));
    }
    if !text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
        return Err(InvalidName::Character("lower-case letters, digits, '.', '-' and '_'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_spiffe_id_document_accepts() {
        for good in ["a", "beta.example", "staging_1.beta-2.example", &"a".repeat(255)] {
            assert!(TrustDomain::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_other_texts() {
        for bad in [
            "",
            "Beta.example",
            "beta.example:443",
            "user@beta",
            "beta/x",
            "bêta",
            "b%65ta",
            &"a".repeat(256),
        ] {
            assert!(TrustDomain::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owns_only_its_own_service_names() {
        let beta = TrustDomain::parse("beta.example").unwrap();
        let owns = |host: &str| beta.owns(&super::super::Hostname::parse(host).unwrap());
        assert!(owns("web.shop.svc.beta.example"));
        assert!(owns("db-0.db.shop.svc.beta.example"));
        for other in [
            "web.shop.svc.alpha.example",
            "web.shop.svc.evilbeta.example",
            "web.shop.beta.example",
            "beta.example",
            "svc.beta.example",
            "shop.svc.beta.example",
            "db-0.db.shop.svc.alpha.example",
            "x.db-0.db.shop.svc.beta.example",
        ] {
            assert!(!owns(other), "{other}");
        }
    }
}
