use serde::{Deserialize, Serialize};

macro_rules! finding_reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// The kind of a finding, as one word. Words stay the same from release to release.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum FindingReason {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl FindingReason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the stable word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

finding_reasons! {
    // Found by an adapter when it reads files and objects.
    /// A file or an object could not be read at all.
    Unreadable = "unreadable",
    /// An object does not fit the schema of its kind.
    InvalidObject = "invalid_object",
    /// An object is of a kind that is not used here.
    UnknownKind = "unknown_kind",
    /// An object has an unknown field, which is ignored.
    UnknownField = "unknown_field",

    // Objects.
    /// Another object has the same kind and name; this one is ignored.
    DuplicateObject = "duplicate_object",
    /// A name is not valid in Kubernetes.
    InvalidName = "invalid_name",
    /// Not a valid trust domain, or not usable as a cluster domain.
    InvalidTrustDomain = "invalid_trust_domain",
    /// `cluster.local` is every cluster's alias for itself, so it cannot name one cluster to
    /// another.
    ClusterLocal = "cluster_local",
    /// A metadata endpoint is not an https URL of the required form.
    InvalidEndpoint = "invalid_endpoint",
    /// `spec.metadata.ca` holds no certificates.
    InvalidCa = "invalid_ca",
    /// The endpoint's certificate is not verified.
    InsecureEndpoint = "insecure_endpoint",
    /// The object describes this cluster, so it is not a peer.
    ThisCluster = "this_cluster",
    /// A policy is not valid; it allows nothing to the peers that it selects.
    InvalidPolicy = "invalid_policy",
    /// The policies that allow an export to a peer name more callers in total than a grant can
    /// hold. The surplus callers are refused.
    TooManyCallers = "too_many_callers",
    /// A policy or an annotation names a peer that does not exist.
    UnknownPeer = "unknown_peer",
    /// One of fedgate's annotations has an invalid value.
    InvalidAnnotation = "invalid_annotation",
    /// An address that peers are to be told belongs to another listener of this cluster.
    AdvertiseRefused = "advertise_refused",
    /// TLS cannot be passed through here.
    PassthroughUnavailable = "passthrough_unavailable",
    /// A Service asks for TLS passthrough, but the gateway would have to judge its callers, or it
    /// selects no workloads.
    PassthroughRefused = "passthrough_refused",
    /// A Service asks for TLS passthrough, but its workloads do not trust the peers' roots yet.
    PassthroughPending = "passthrough_pending",
    /// A Service offers its Pods by name, and some of them are left out.
    PodsLeftOut = "pods_left_out",
    /// A Service offers its Pods by name, but no Pod has a name.
    NoPods = "no_pods",
    /// A Service offers its Pods by name, but the controller has no permission to read them.
    PodsRefused = "pods_refused",
    /// The export label has a value, so the Service is not exported.
    LabelNotEmpty = "label_not_empty",
    /// A labelled Service is of type `ExternalName`.
    ExternalName = "external_name",
    /// A labelled Service has no ports.
    NoPorts = "no_ports",
    /// A labelled Service has a port without a name.
    UnnamedPort = "unnamed_port",
    /// A port's number, name or protocol is wrong.
    InvalidPort = "invalid_port",
    /// A Service's server name (`outbound_.PORT_._.HOST`) is longer than the 255 bytes that TLS
    /// allows, so no client could send it.
    NameTooLong = "name_too_long",
    /// A Service has the same port twice.
    DuplicatePort = "duplicate_port",
    /// A Service has more ports than a peer accepts.
    TooManyPorts = "too_many_ports",

    // Names over several clusters.
    /// The suffix of federated names and a trust domain overlap.
    SuffixClash = "suffix_clash",
    /// A `FederatedService` has a host name that it must not have.
    InvalidHost = "invalid_host",
    /// Two `FederatedService`s have the same host name; one of them is not in force.
    HostClaimed = "host_claimed",
    /// A `FederatedService` has no members.
    NoMembers = "no_members",
    /// An entry of a `FederatedService`'s members is not valid, so the object is not in force.
    InvalidMember = "invalid_member",
    /// The health check of a `FederatedService` is not valid, so the object is not in force; or
    /// another object already has a different check for the same member.
    InvalidHealthCheck = "invalid_health_check",
    /// A peer that a `FederatedService` names does not offer the Service to this cluster.
    MemberNotOffered = "member_not_offered",
    /// No member of a `FederatedService` is ready, so calls fail.
    NoMemberReady = "no_member_ready",

    // Peers' documents.
    /// A document was refused as a whole; the known one stays.
    InvalidDocument = "invalid_document",
    /// A document is older than the known one, which stays.
    ReplayedDocument = "replayed_document",
    /// A document is not signed by the peer's known key, although the peer has signed before; the
    /// known one stays.
    UnsignedDocument = "unsigned_document",
    /// A document is suspiciously short; the known one stays until the staleness limit.
    HeldDocument = "held_document",
    /// The `fedgate` part of a document is not valid and was left out.
    InvalidExtension = "invalid_extension",
    /// A root is not a usable CA certificate.
    InvalidRoot = "invalid_root",
    /// A root has expired.
    ExpiredRoot = "expired_root",
    /// A service row is not valid.
    InvalidService = "invalid_service",
    /// A document has the same service twice.
    DuplicateService = "duplicate_service",
    /// A peer announced a name outside its own trust domain.
    ForeignName = "foreign_name",
    /// A gateway identity is not in the peer's trust domain.
    ForeignIdentity = "foreign_identity",
    /// A gateway address is not valid, or cannot be the address of a host.
    InvalidGateway = "invalid_gateway",
    /// A peer's gateway has an address that this cluster itself listens on; it is not connected to.
    OwnGateway = "own_gateway",
    /// The name of a peer's gateway cannot be looked up.
    GatewayNotFound = "gateway_not_found",
    /// A root is not valid yet.
    RootNotYetValid = "root_not_yet_valid",
    /// A peer announces no gateway, so its services cannot be reached.
    NoGateways = "no_gateways",
    /// There are more findings than are listed.
    MoreFindings = "more_findings",

    // Peers.
    /// Another peer has this trust domain.
    SameTrustDomain = "same_trust_domain",
    /// Another peer had this cluster UUID first.
    UuidTaken = "uuid_taken",
    /// A peer claims this cluster's UUID.
    OurUuid = "our_uuid",
    /// A peer's Pod or Service CIDRs overlap ours.
    NetworkOverlap = "network_overlap",
    /// A peer's cluster UUID changed.
    UuidChanged = "uuid_changed",
    /// A peer's key for tokens changed.
    KeyChanged = "key_changed",
    /// A peer's roots changed.
    RootsChanged = "roots_changed",
    /// A peer's root, key or UUID is not among those that its object pins.
    NotPinned = "not_pinned",
    /// Something that this cluster publishes exceeds what peers accept.
    LimitExceeded = "limit_exceeded",
    /// A peer's clock differs from ours by more than half of what a token allows, or ours from
    /// those of several peers that agree with each other.
    ClockSkew = "clock_skew",
    /// A peer does not see this cluster as it is.
    FarSideDiffers = "far_side_differs",
    /// A peer's document has not been confirmed for a while; it is still used.
    Stale = "stale",
    /// A peer's document has not been confirmed for so long that it is no longer used.
    Expired = "expired",

    // This cluster.
    /// The table could not be built; the last good one stays.
    TableNotBuilt = "table_not_built",

    /// The stored UUID and key by which peers know this cluster were deleted or changed while the
    /// controller uses them.
    IdentityLost = "identity_lost",
    /// The UUID or the key by which peers know this cluster was lost and has been replaced.
    IdentityReplaced = "identity_replaced",
    /// A certificate of this cluster is damaged, or has a form that peers refuse.
    InvalidCertificate = "invalid_certificate",
    /// A private key of this cluster is missing, damaged, locked by a passphrase, or of a kind that
    /// cannot be used.
    InvalidKey = "invalid_key",
    /// A private key does not belong to its certificate.
    KeyMismatch = "key_mismatch",
    /// No root that this cluster publishes has signed its certificate.
    UntrustedCertificate = "untrusted_certificate",
    /// A certificate or a root of this cluster has expired.
    CertificateExpired = "certificate_expired",
    /// A certificate or a root of this cluster is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid",
    /// A certificate or a root of this cluster expires soon: 30 days or a tenth of its life are
    /// left, whichever is shorter.
    CertificateEndsSoon = "certificate_ends_soon",
    /// A certificate of this cluster that Envoy accepts but some other programs refuse.
    WeakCertificate = "weak_certificate",
    /// A private key is readable by others than its owner.
    ExposedKey = "exposed_key",
    /// A root, ours or a peer's, is an intermediate CA without its own root. Envoy refuses what it
    /// signed.
    IntermediateRoot = "intermediate_root",
    /// This cluster has more roots than peers accept.
    TooManyRoots = "too_many_roots",
    /// This cluster's roots are missing, so nothing is published.
    NoRoots = "no_roots",
    /// The address of this cluster's gateway is not known, so it cannot be announced to peers.
    NoGatewayAddress = "no_gateway_address",
    /// The gateway's load balancer sends the PROXY protocol, which the gateway does not expect.
    UnexpectedProxyProtocol = "unexpected_proxy_protocol",

    // Found by an adapter when it puts things in force.
    /// No local port is left for an import.
    NoEgressPort = "no_egress_port",
    /// No address is left for an imported host.
    NoAddress = "no_address",
    /// An Envoy of this site is not running.
    EnvoyNotRunning = "envoy_not_running",
    /// A file or an object could not be written. The controller tries again, and what depends on it
    /// waits.
    NotWritten = "not_written",
    /// The table is larger than an object may be; the last one that fitted stays.
    TableTooLarge = "table_too_large",
    /// A Pod of the gateway does not have the newest table in force, although it has had enough
    /// time.
    TableNotLoaded = "table_not_loaded",
    /// The gateway keeps the previous filter, because some of its Pods may not have the new one
    /// yet.
    ModuleHeldBack = "module_held_back",
    /// Another owner's object has a name that one of ours needs; it is left alone.
    Conflict = "conflict",
    /// Something else keeps changing one of our objects.
    Contested = "contested",
    /// Another owner also defines an imported host, and calls may go there.
    HostTaken = "host_taken",
    /// A changed setting takes effect only after a restart.
    RestartNeeded = "restart_needed",
    /// An Envoy may not open enough files for the connections that it should accept.
    TooFewDescriptors = "too_few_descriptors",
    /// The kernel gives this user too few inotify instances or watches.
    TooFewInotify = "too_few_inotify",
}

impl FindingReason {
    /// The reasons that only adapters produce, never this crate.
    pub const OF_ADAPTERS: &'static [Self] = &[
        Self::Unreadable,
        Self::InvalidObject,
        Self::UnknownKind,
        Self::UnknownField,
        Self::IdentityLost,
        Self::IdentityReplaced,
        Self::NoRoots,
        Self::NoGatewayAddress,
        Self::UnexpectedProxyProtocol,
        Self::TableTooLarge,
        Self::TableNotLoaded,
        Self::ModuleHeldBack,
        Self::HostTaken,
        Self::Conflict,
        Self::Contested,
        Self::NoEgressPort,
        Self::NoAddress,
        Self::NotWritten,
        Self::EnvoyNotRunning,
        Self::RestartNeeded,
        Self::TooFewDescriptors,
        Self::TooFewInotify,
    ];

    /// Returns the word in the form that Kubernetes wants for reasons of conditions and Events:
    /// `this_cluster` becomes `ThisCluster`.
    pub fn camel_case(self) -> String {
        let capitalised = |part: &str| {
            let mut characters = part.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters).collect::<String>()
        };
        self.word().split('_').map(capitalised).collect()
    }
}

impl std::fmt::Display for FindingReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_serialized_as_such() {
        let words: std::collections::BTreeSet<_> =
            FindingReason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), FindingReason::ALL.len());
        for reason in FindingReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
    }

    #[test]
    fn camel_case_words_are_unique_and_valid_in_kubernetes() {
        let words: std::collections::BTreeSet<_> =
            FindingReason::ALL.iter().map(|reason| reason.camel_case()).collect();
        assert_eq!(words.len(), FindingReason::ALL.len());
        assert!(
            words.contains("ThisCluster") && words.contains("OurUuid") && words.contains("Stale")
        );
        let fits =
            |word: &String| word.len() <= 1024 && word.chars().all(|c| c.is_ascii_alphabetic());
        assert!(words.iter().all(fits), "{words:?}");
    }
}
