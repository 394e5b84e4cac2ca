//! What an operator should know, as values rather than log lines.
//!
//! Whatever is refused, dropped or noteworthy becomes a [`Finding`]. It names the object, the
//! field, one stable word ([`FindingReason`]), and a message: what was expected, what was found,
//! and what to do. Findings end up in statuses and terminals, so untrusted text enters them only
//! through [`shown`].

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The object that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its Kubernetes kind; `Cluster` for this cluster's own settings, `File` for a file that could
    /// not be read.
    pub kind: Cow<'static, str>,
    /// Its namespace, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The file that it comes from, in files mode.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

impl ObjectRef {
    /// An object of a cluster-scoped kind.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind: Cow::Borrowed(kind), namespace: None, name: name.into(), source: None }
    }

    /// The `IstioFederation` of a peer.
    pub fn federation(name: impl Into<String>) -> Self {
        Self::new("IstioFederation", name)
    }

    /// A `FederationPolicy`.
    pub fn policy(name: impl Into<String>) -> Self {
        Self::new("FederationPolicy", name)
    }

    /// A `Service`.
    pub fn service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::new("Service", name) }
    }

    /// This cluster's own settings.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("Cluster", name)
    }

    /// Returns the same object with the file that it comes from.
    pub fn from_source(self, source: Option<String>) -> Self {
        Self { source, ..self }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{}/", shown(namespace))?;
        }
        write!(f, "{}", shown(&self.name))?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something was refused or dropped and does not work until somebody acts.
    Error,
    /// It works but needs attention.
    Warning,
    /// For information only.
    Info,
}

/// Something that an operator should know about one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is about.
    pub object: ObjectRef,
    /// The path of the field, as in `kubectl explain`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The stable word for what was found.
    pub reason: FindingReason,
    /// How serious it is.
    pub severity: Severity,
    /// What was expected, what was found, and what to do.
    pub message: String,
}

impl Finding {
    /// Creates a finding about `field` of `object`; `field` may be empty.
    pub fn new(
        severity: Severity,
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let field = Some(field.into()).filter(|field: &String| !field.is_empty());
        Self { object, field, reason, severity, message: message.into() }
    }

    /// Creates an error.
    pub fn error(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, reason, object, field, message)
    }

    /// Creates a warning.
    pub fn warning(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, reason, object, field, message)
    }

    /// Creates a finding for information.
    pub fn info(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Info, reason, object, field, message)
    }

    /// Returns the message, preceded by the field if there is one. Use it where the object is
    /// known.
    pub fn with_field(&self) -> String {
        match &self.field {
            Some(field) => format!("{field}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.object)?;
        if let Some(field) = &self.field {
            write!(f, " {field}")?;
        }
        write!(f, ": {}: {}", self.reason, self.message)
    }
}

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
    /// TLS cannot be passed through here.
    PassthroughUnavailable = "passthrough_unavailable",
    /// A Service asks for TLS passthrough, but the gateway would have to judge its callers, or it
    /// selects no workloads.
    PassthroughRefused = "passthrough_refused",
    /// A Service asks for TLS passthrough, but its workloads do not trust the peers' roots yet.
    PassthroughPending = "passthrough_pending",
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

    // Peers' documents.
    /// A document was refused as a whole; the known one stays.
    InvalidDocument = "invalid_document",
    /// A document is older than the known one, which stays.
    ReplayedDocument = "replayed_document",
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
    /// Something that this cluster publishes exceeds what peers accept.
    LimitExceeded = "limit_exceeded",
    /// A peer's clock differs from ours by more than half of what a token allows.
    ClockSkew = "clock_skew",
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
    /// The address of this cluster's gateway is not known, so peers cannot be told.
    NoGatewayAddress = "no_gateway_address",

    // Found by an adapter when it puts things in force.
    /// No local port is left for an import.
    NoEgressPort = "no_egress_port",
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
        Self::TableTooLarge,
        Self::TableNotLoaded,
        Self::ModuleHeldBack,
        Self::HostTaken,
        Self::Conflict,
        Self::Contested,
        Self::NoEgressPort,
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

/// The most characters of untrusted text that are shown.
const SHOWN: usize = 100;
/// The most characters of a message.
const SHOWN_LONG: usize = 1000;

/// Makes untrusted text fit for a terminal and a status: escapes control and formatting characters,
/// and cuts after 100 characters.
pub fn shown(text: &str) -> String {
    shown_up_to(text, SHOWN)
}

/// Does the same for a whole message that may contain untrusted text: cuts after 1000 characters.
pub fn shown_long(text: &str) -> String {
    shown_up_to(text, SHOWN_LONG)
}

fn shown_up_to(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().take(most) {
        match c {
            // Bidirectional controls and the like reorder the text that follows them on a screen.
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// Joins the first three messages and says how many more there are.
pub(crate) fn messages<T: AsRef<str>>(mut messages: impl ExactSizeIterator<Item = T>) -> String {
    let mut message = String::new();
    for (place, next) in messages.by_ref().take(3).enumerate() {
        if place > 0 {
            message.push_str("; ");
        }
        message.push_str(next.as_ref());
    }
    match messages.len() {
        0 => message,
        more => format!("{message}; and {more} more"),
    }
}

/// Collects findings about one document, up to a limit, because the sender decides how many there
/// would be.
#[derive(Debug)]
pub(crate) struct Findings {
    object: ObjectRef,
    most: usize,
    kept: Vec<Finding>,
    dropped: usize,
}

impl Findings {
    pub(crate) fn new(object: ObjectRef, most: usize) -> Self {
        Self { object, most, kept: Vec::new(), dropped: 0 }
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        reason: FindingReason,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        match self.kept.len() < self.most {
            true => {
                self.kept.push(Finding::new(severity, reason, self.object.clone(), field, message))
            }
            false => self.dropped += 1,
        }
    }

    pub(crate) fn into_vec(mut self) -> Vec<Finding> {
        if self.dropped > 0 {
            let message = format!(
                "{} more rows were dropped or changed; fix those listed first",
                self.dropped
            );
            self.kept.push(Finding::warning(FindingReason::MoreFindings, self.object, "", message));
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_short_and_harmless() {
        assert_eq!(shown("web\n\u{1b}[31mred\u{202e}x"), "web\\n\\u{1b}[31mred\\u{202e}x");
        assert_eq!(shown(&"ä".repeat(200)).chars().count(), 101);
        assert_eq!(shown("web.shop"), "web.shop");
    }

    #[test]
    fn words_are_unique_and_are_what_serde_writes() {
        let words: std::collections::BTreeSet<_> =
            FindingReason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), FindingReason::ALL.len());
        for reason in FindingReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
    }

    #[test]
    fn words_in_camel_case_are_what_kubernetes_takes_and_unique() {
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

    #[test]
    fn findings_are_limited() {
        let mut findings = Findings::new(ObjectRef::federation("beta"), 2);
        for _ in 0..5 {
            findings.add(Severity::Error, FindingReason::ForeignName, "x", "y");
        }
        let kept = findings.into_vec();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[2].reason, FindingReason::MoreFindings);
        assert!(kept[2].message.starts_with("3 more"));
    }
}
