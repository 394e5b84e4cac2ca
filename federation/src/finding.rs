//! What an operator is told: values, not log lines.
//!
//! Whatever is refused, dropped or noteworthy becomes a [`Finding`] that names the object, the field, one stable word
//! ([`FindingReason`]) and a message that says what was expected, what was found and what to do. Findings end up in
//! statuses and terminals, so what a stranger wrote gets into them only by way of [`shown`].

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The object that something is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its Kubernetes kind; `Cluster` for this cluster's own settings, `File` for a file that could not be read.
    pub kind: Cow<'static, str>,
    /// Its namespace, when it has one.
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

    /// A peer's object.
    pub fn federation(name: impl Into<String>) -> Self {
        Self::new("IstioFederation", name)
    }

    /// A policy.
    pub fn policy(name: impl Into<String>) -> Self {
        Self::new("FederationPolicy", name)
    }

    /// A Service.
    pub fn service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::new("Service", name) }
    }

    /// This cluster's own settings.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("Cluster", name)
    }

    /// The same object, with the file that it comes from.
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

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something was refused or dropped and does not work until somebody acts.
    Error,
    /// It works, but somebody should look.
    Warning,
    /// Good to know.
    Info,
}

/// Something that an operator should know about one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is about.
    pub object: ObjectRef,
    /// The path of the field, as one would write it for `kubectl explain`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The stable word.
    pub reason: FindingReason,
    /// How much it matters.
    pub severity: Severity,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl Finding {
    /// A finding about `field` of `object`; `field` may be empty.
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

    /// An error.
    pub fn error(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, reason, object, field, message)
    }

    /// A warning.
    pub fn warning(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, reason, object, field, message)
    }

    /// A piece of information.
    pub fn info(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Info, reason, object, field, message)
    }

    /// The message, after the field when there is one: for where the object is known.
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
        /// The one word for what was found. Words stay the same from release to release.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum FindingReason {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl FindingReason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

finding_reasons! {
    // What an adapter finds before anything gets here.
    /// A file or an object could not be read at all.
    Unreadable = "unreadable",
    /// An object does not have its kind's form.
    InvalidObject = "invalid_object",
    /// An object is of a kind that is not used here.
    UnknownKind = "unknown_kind",
    /// An object has a field that means nothing here, and is not used.
    UnknownField = "unknown_field",

    // Objects.
    /// There is an object of this kind and name already; this one is left out.
    DuplicateObject = "duplicate_object",
    /// A name is not one that Kubernetes would take.
    InvalidName = "invalid_name",
    /// A trust domain is none, or none that can be a cluster domain.
    InvalidTrustDomain = "invalid_trust_domain",
    /// `cluster.local` is every cluster's alias for itself, so it cannot name one cluster to another.
    ClusterLocal = "cluster_local",
    /// A metadata endpoint is no https URL of the required form.
    InvalidEndpoint = "invalid_endpoint",
    /// `spec.metadata.ca` holds no certificates.
    InvalidCa = "invalid_ca",
    /// The endpoint's certificate is not verified.
    InsecureEndpoint = "insecure_endpoint",
    /// The object describes this cluster, so it is no peer.
    ThisCluster = "this_cluster",
    /// A policy cannot be understood; it allows nothing to the peers that it selects.
    InvalidPolicy = "invalid_policy",
    /// The policies that allow an export to a peer name more callers together than a grant can hold; the surplus is refused.
    TooManyCallers = "too_many_callers",
    /// A policy or an annotation names a peer that does not exist.
    UnknownPeer = "unknown_peer",
    /// An annotation of ours cannot be understood.
    InvalidAnnotation = "invalid_annotation",
    /// TLS cannot be passed through here.
    PassthroughUnavailable = "passthrough_unavailable",
    /// TLS is to be passed through to a Service whose callers the gateway would have to judge, or that names no workloads.
    PassthroughRefused = "passthrough_refused",
    /// The workloads of a Service whose TLS is to be passed through do not believe the peers' roots yet.
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
    /// A Service's server name (`outbound_.PORT_._.HOST`) is longer than the 255 bytes that TLS takes, so nobody could call it.
    NameTooLong = "name_too_long",
    /// A port stands twice in one Service.
    DuplicatePort = "duplicate_port",
    /// A Service has more ports than a peer takes.
    TooManyPorts = "too_many_ports",

    // Peers' documents.
    /// A document was refused as a whole; what was known stays.
    InvalidDocument = "invalid_document",
    /// A document is older than the one that is known; what was known stays.
    ReplayedDocument = "replayed_document",
    /// A document says suspiciously little; what was known stays until the staleness limit.
    HeldDocument = "held_document",
    /// The `fedgate` part of a document cannot be understood and was left out.
    InvalidExtension = "invalid_extension",
    /// A root is no usable CA certificate.
    InvalidRoot = "invalid_root",
    /// A root has expired.
    ExpiredRoot = "expired_root",
    /// A service row cannot be understood.
    InvalidService = "invalid_service",
    /// A service stands twice in one document.
    DuplicateService = "duplicate_service",
    /// A peer announced a name that is not under its own trust domain.
    ForeignName = "foreign_name",
    /// A gateway identity is not one of the peer's trust domain.
    ForeignIdentity = "foreign_identity",
    /// A gateway address is none, or one that nobody can be reached at.
    InvalidGateway = "invalid_gateway",
    /// A gateway of a peer is an address that this cluster itself listens on; it is not connected to.
    OwnGateway = "own_gateway",
    /// The name of a peer's gateway cannot be looked up.
    GatewayNotFound = "gateway_not_found",
    /// A root is not valid yet.
    RootNotYetValid = "root_not_yet_valid",
    /// A peer announces no gateway, so its services cannot be reached.
    NoGateways = "no_gateways",
    /// More was found than is listed.
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
    /// Something that is published is more than peers take.
    LimitExceeded = "limit_exceeded",
    /// A peer's clock differs from ours by more than half of what a token allows.
    ClockSkew = "clock_skew",
    /// What is known of a peer was not confirmed for a while; it is still used.
    Stale = "stale",
    /// What is known of a peer was not confirmed for so long that it is not used any more.
    Expired = "expired",

    // This cluster.
    /// The table could not be built; the last good one stays.
    TableNotBuilt = "table_not_built",

    /// What holds the UUID and the key that peers know this cluster by was deleted or changed while the controller works with them.
    IdentityLost = "identity_lost",
    /// The UUID or the key that peers know this cluster by was lost, and another one was made.
    IdentityReplaced = "identity_replaced",
    /// A certificate of this cluster is damaged, or of a form that peers refuse.
    InvalidCertificate = "invalid_certificate",
    /// A private key of this cluster is missing, damaged, locked by a passphrase, or of a kind that cannot be used.
    InvalidKey = "invalid_key",
    /// A private key is not that of the certificate beside it.
    KeyMismatch = "key_mismatch",
    /// No root that peers are told has signed this cluster's certificate.
    UntrustedCertificate = "untrusted_certificate",
    /// A certificate or a root of this cluster has expired.
    CertificateExpired = "certificate_expired",
    /// A certificate or a root of this cluster is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid",
    /// A certificate or a root of this cluster expires soon: a tenth of its life is left, or 30 days.
    CertificateEndsSoon = "certificate_ends_soon",
    /// Some programs refuse a certificate of this cluster, and Envoy does not.
    WeakCertificate = "weak_certificate",
    /// A private key can be read by others than its owner.
    ExposedKey = "exposed_key",
    /// A root, ours or a peer's, is an intermediate CA without its own root; Envoy refuses what it signed.
    IntermediateRoot = "intermediate_root",
    /// This cluster has more roots than peers take.
    TooManyRoots = "too_many_roots",
    /// This cluster's roots are missing, so nothing is published.
    NoRoots = "no_roots",
    /// Peers cannot be told where this cluster's gateway is.
    NoGatewayAddress = "no_gateway_address",

    // What an adapter finds when it puts things in force.
    /// No local port is left for an import.
    NoEgressPort = "no_egress_port",
    /// An Envoy of this site does not run.
    EnvoyNotRunning = "envoy_not_running",
    /// A file or an object could not be written; it is tried again, and what depends on it waits.
    NotWritten = "not_written",
    /// The table is larger than an object may be; the last one that was not stays.
    TableTooLarge = "table_too_large",
    /// A Pod of the gateway does not have the newest table in force, though it has had the time.
    TableNotLoaded = "table_not_loaded",
    /// The gateway goes on with the filter of before, since some of its Pods may not have the new one yet.
    ModuleHeldBack = "module_held_back",
    /// An object of somebody else has a name that one of ours must have; it is left alone.
    Conflict = "conflict",
    /// An object of ours is changed by somebody else again and again.
    Contested = "contested",
    /// An imported host is one of somebody else's as well, and calls may end there.
    HostTaken = "host_taken",
    /// A setting was changed that takes effect after a restart only.
    RestartNeeded = "restart_needed",
    /// An Envoy may open too few files for the connections that it should take.
    TooFewDescriptors = "too_few_descriptors",
    /// The kernel gives this user too few inotify instances or watches.
    TooFewInotify = "too_few_inotify",
}

impl FindingReason {
    /// The reasons that adapters produce, and nobody in this crate.
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

    /// The word as Kubernetes wants the reasons of conditions and Events: `this_cluster` is `ThisCluster`.
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

/// The most characters of a stranger's text that are shown.
const SHOWN: usize = 100;
/// The most characters of a message.
const SHOWN_LONG: usize = 1000;

/// A stranger's text, fit for a terminal and a status: control and formatting characters escaped, cut after 100 characters.
pub fn shown(text: &str) -> String {
    shown_up_to(text, SHOWN)
}

/// The same for a whole message, in which parts may be a stranger's: cut after 1000 characters.
pub fn shown_long(text: &str) -> String {
    shown_up_to(text, SHOWN_LONG)
}

fn shown_up_to(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().take(most) {
        match c {
            // Bidirectional controls and the like reorder what follows them on a screen.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                out.extend(c.escape_unicode())
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// The first three messages, and how many more there are.
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

/// Collects findings about one document, up to a limit: a stranger decides how many there would be.
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
            true => self.kept.push(Finding::new(severity, reason, self.object.clone(), field, message)),
            false => self.dropped += 1,
        }
    }

    pub(crate) fn into_vec(mut self) -> Vec<Finding> {
        if self.dropped > 0 {
            let message = format!("{} more rows were dropped or changed; fix those listed first", self.dropped);
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
        let words: std::collections::BTreeSet<_> = FindingReason::ALL.iter().map(|reason| reason.word()).collect();
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
        assert!(words.contains("ThisCluster") && words.contains("OurUuid") && words.contains("Stale"));
        let fits = |word: &String| word.len() <= 1024 && word.chars().all(|c| c.is_ascii_alphabetic());
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
