//! The kinds of objects that are used, and what may have been meant as one of them.

use fedgate_federation::ObjectRef;
use fedgate_federation::spelling::distance;

/// The kinds that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Federation,
    Policy,
    Service,
    EndpointSlice,
}

impl Kind {
    pub(super) const ALL: [Self; 4] =
        [Self::Federation, Self::Policy, Self::Service, Self::EndpointSlice];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Federation => "IstioFederation",
            Self::Policy => "FederationPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::Federation => "deckhouse.io/v1alpha1",
            Self::Policy => "fedgate.dev/v1alpha1",
            Self::Service => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
        }
    }

    pub(super) fn has_namespace(self) -> bool {
        matches!(self, Self::Service | Self::EndpointSlice)
    }

    /// The kind of a list's rows: `Service` for `ServiceList`.
    pub(super) fn of_list(word: &str) -> Option<Self> {
        let word = word.strip_suffix("List")?;
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// The identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectId {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectId {
    /// The reference by which findings name it.
    pub(super) fn object(&self, source: &str) -> ObjectRef {
        let namespace = self.kind.has_namespace().then(|| self.namespace.clone());
        let name = if self.name.is_empty() { "(without a name)" } else { self.name.as_str() };
        ObjectRef { namespace, ..ObjectRef::new(self.kind.word(), name) }
            .with_source(Some(source.to_owned()))
    }
}

/// Returns true if the object was probably meant as a policy. A wrong version, letter case, plural
/// or typing error must not make one disappear.
pub(super) fn is_like_policy(kind: &str, version: &str) -> bool {
    let letters = |text: &str| {
        text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
    };
    // No kind of another vendor is this near. The nearest, AuthorizationPolicy, has distance 7.
    const NEAR: usize = 4;
    letters(version).contains("fedgatedev")
        || mentions_policy(kind)
        || distance(&letters(kind), "federationpolicy") <= NEAR
}

/// Returns true if text that cannot be parsed may contain a policy, in any encoding.
pub(super) fn mentions_policy(text: &str) -> bool {
    let text = text.replace('\0', "").to_ascii_lowercase();
    text.contains("federationpolic") || text.contains("fedgate.dev/v")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_similar_to_a_policy_count_as_one() {
        for (kind, version) in [
            ("FederationPolicies", "v1"),
            ("FederationPolicy", "fedgate.dev/v1"),
            ("Policy", "fedgate.dev/v1alpha1"),
            ("FederatonPolicy", "fedgate.io/v1alpha1"),
            ("federation_policy", ""),
            ("FederatedPolicy", "x/v1"),
            ("", "Fedgate.Dev/v1alpha1"),
        ] {
            assert!(is_like_policy(kind, version), "{kind} {version}");
        }
        for (kind, version) in [
            ("AuthorizationPolicy", "security.istio.io/v1"),
            ("NetworkPolicy", "networking.k8s.io/v1"),
            ("ClusterPolicy", "kyverno.io/v1"),
            ("Policy", "kyverno.io/v1"),
            ("IstioFederation", "deckhouse.io/v1alpha1"),
            ("", ""),
        ] {
            assert!(!is_like_policy(kind, version), "{kind} {version}");
        }
        assert!(mentions_policy("f\0e\0d\0e\0r\0a\0t\0i\0o\0n\0P\0o\0l\0i\0c\0y\0"));
    }
}
