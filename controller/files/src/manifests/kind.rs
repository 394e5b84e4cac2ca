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
    FederatedService,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Federation,
        Self::Policy,
        Self::Service,
        Self::EndpointSlice,
        Self::FederatedService,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Federation => "IstioFederation",
            Self::Policy => "FederationPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::FederatedService => "FederatedService",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::Federation => "deckhouse.io/v1alpha1",
            Self::Policy | Self::FederatedService => "fedgate.dev/v1alpha1",
            Self::Service => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
        }
    }

    pub(super) fn has_namespace(self) -> bool {
        matches!(self, Self::Service | Self::EndpointSlice | Self::FederatedService)
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
    let kind = letters(kind);
    let near = distance(&kind, "federationpolicy");
    // The other kind of the same group is misspelt as well.
    let is_other = distance(&kind, "federatedservice") < near.min(NEAR);
    near <= NEAR || mentions_policy(&kind) || (letters(version).contains("fedgatedev") && !is_other)
}

/// Returns true if text that cannot be parsed may contain a policy, in any encoding: it has more
/// objects of the policies' group than those that are plainly of the other kind.
pub(super) fn mentions_policy(text: &str) -> bool {
    let text = text.replace('\0', "").to_ascii_lowercase();
    let group = text.matches("fedgate.dev/v").count();
    let is_other = |line: &&str| {
        line.contains("kind") && (line.contains("federatedservice") && !line.contains('#'))
    };
    text.contains("federationpolic") || group > text.lines().filter(is_other).count()
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
            ("Federated", "fedgate.dev/v1alpha1"),
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
            ("FederatedService", "fedgate.dev/v1"),
            ("FederatedServices", "fedgate.dev/v1alpha1"),
        ] {
            assert!(!is_like_policy(kind, version), "{kind} {version}");
        }
        let service = "apiVersion: fedgate.dev/v1alpha1\nkind: FederatedService\n";
        assert!(!mentions_policy(service));
        for other in ["kind: Policy", "# kind: FederatedService", "kind: FederationPolicy"] {
            assert!(mentions_policy(&format!(
                "apiVersion: fedgate.dev/v1alpha1\n{other}\n---\n{service}"
            )));
        }
        assert!(mentions_policy("f\0e\0d\0e\0r\0a\0t\0i\0o\0n\0P\0o\0l\0i\0c\0y\0"));
    }
}
