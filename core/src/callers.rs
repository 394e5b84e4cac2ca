//! Which workloads of a peer a grant admits.

use crate::name::SpiffeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A pattern for a namespace or service account name. Each `*` matches any run of characters,
/// including an empty one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Box<str>);

/// Returned when a text is not a valid [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to 253 lower-case letters, digits, '-', '.' and '*' (each '*' stands for any run of characters)"
)]
pub struct InvalidPattern;

impl Pattern {
    /// Validates `text`.
    ///
    /// # Errors
    /// [`InvalidPattern`] if `text` is empty, longer than 253 bytes, or has a character outside the
    /// alphabet.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        check_pattern(text).map(|()| Self(text.into()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the pattern matches all of `name`.
    pub fn matches(&self, name: &str) -> bool {
        pattern_matches(&self.0, name)
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0.into()
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn check_pattern(text: &str) -> Result<(), InvalidPattern> {
    let alphabet = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*');
    match !text.is_empty() && text.len() <= 253 && text.bytes().all(alphabet) {
        true => Ok(()),
        false => Err(InvalidPattern),
    }
}

/// Greedy matching that backtracks only to the last `*`: at most `pattern * name` steps, no
/// recursion, no allocation.
pub(crate) fn pattern_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut last_star = None;
    while let Some(&byte) = name.get(n) {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p + 1, n));
                p += 1;
            }
            Some(&expected) if expected == byte => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, taken)) = last_star else { return false };
                last_star = Some((after_star, taken + 1));
                (p, n) = (after_star, taken + 1);
            }
        }
    }
    pattern.iter().skip(p).all(|&byte| byte == b'*')
}

/// A pair of patterns. A caller matches if its namespace and its service account both match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerPattern {
    /// The caller's namespace in the peer's cluster.
    pub namespace: Pattern,
    /// The caller's service account.
    pub service_account: Pattern,
}

/// The callers of one peer that a grant admits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Callers {
    /// Every identity of the peer's trust domain, whatever its path.
    Any,
    /// Identities of Istio's form that match one of the patterns. An empty set admits no caller: it
    /// marks a peer in audit mode that the Service's owner admits but no policy grants. A peer that
    /// the owner does not admit has no grant at all.
    Only(BTreeSet<CallerPattern>),
}

impl Callers {
    /// Returns true if no caller is admitted.
    pub fn admits_none(&self) -> bool {
        matches!(self, Self::Only(patterns) if patterns.is_empty())
    }

    /// Returns true if `id` is admitted.
    pub fn admit(&self, id: &SpiffeId<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(patterns) => id.caller().is_some_and(|(namespace, service_account)| {
                patterns.iter().any(|p| {
                    p.namespace.matches(namespace) && p.service_account.matches(service_account)
                })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_run() {
        for (pattern, name, expected) in [
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("*", "", true),
            ("*", "anything", true),
            ("shop-*", "shop-1", true),
            ("shop-*", "shop", false),
            ("*-web", "a-web-web", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("**a", "bba", true),
            ("a*", "ba", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_long_pattern_against_a_long_name_is_quick() {
        let pattern = Pattern::parse(&("a*".repeat(120) + "b")).unwrap();
        assert!(!pattern.matches(&"a".repeat(253)));
    }

    #[test]
    fn refuses_patterns_that_match_no_name() {
        for bad in ["", "Shop", "a/b", "a?", "a_b", &"a".repeat(254)] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_is_displayed_and_serialized_as_its_text() {
        let pattern = Pattern::parse("team-*").unwrap();
        assert_eq!(pattern.to_string(), "team-*");
        assert_eq!(serde_json::to_value(&pattern).unwrap(), "team-*");
        assert_eq!(serde_json::from_str::<Pattern>("\"team-*\"").unwrap(), pattern);
        assert!(serde_json::from_str::<Pattern>("\"Team\"").is_err());
    }

    #[test]
    fn callers_admit_only_identities_that_match_in_both_parts() {
        let pattern = |namespace: &str, service_account: &str| CallerPattern {
            namespace: Pattern::parse(namespace).unwrap(),
            service_account: Pattern::parse(service_account).unwrap(),
        };
        let only = Callers::Only([pattern("ops", "*"), pattern("shop", "web")].into());
        let none = Callers::Only(BTreeSet::new());
        assert!(none.admits_none() && !only.admits_none() && !Callers::Any.admits_none());
        for (path, expected) in [
            ("ns/ops/sa/any", true),
            ("ns/shop/sa/web", true),
            ("ns/shop/sa/api", false),
            ("ns/web/sa/shop", false),
            ("workload/web", false),
        ] {
            let uri = format!("spiffe://beta.example/{path}");
            let id = SpiffeId::parse(&uri).unwrap();
            assert_eq!(only.admit(&id), expected, "{path}");
            assert!(Callers::Any.admit(&id) && !none.admit(&id), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_recursive_twin(pattern in "[ab*]{1,8}", name in "[ab]{0,8}") {
            fn twin(p: &[u8], n: &[u8]) -> bool {
                match p.split_first() {
                    None => n.is_empty(),
                    Some((b'*', rest)) => (0..=n.len()).any(|i| twin(rest, &n[i..])),
                    Some((b, rest)) => n.split_first().is_some_and(|(c, tail)| b == c && twin(rest, tail)),
                }
            }
            proptest::prop_assert_eq!(
                Pattern::parse(&pattern).unwrap().matches(&name),
                twin(pattern.as_bytes(), name.as_bytes())
            );
        }
    }
}
