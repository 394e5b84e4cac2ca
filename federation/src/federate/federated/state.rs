//! Whether a member takes calls, and why not.

/// Whether a member takes calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberState {
    /// It does: it was seen that a call gets through.
    Ready,
    /// It gets calls, but nothing has shown yet that they get through.
    Unproven(&'static str),
    /// It gets none, whatever its priority.
    PassedOver {
        /// Why, as one stable word.
        reason: PassedOver,
        /// The explanation for people; may be empty.
        message: String,
    },
}

/// Why a member is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PassedOver {
    /// There is no `IstioFederation` with this name.
    UnknownPeer,
    /// The peer does not take part.
    PeerRefused,
    /// The peer's document has not been fetched yet.
    NotFetched,
    /// The peer's document is too old to be used.
    Expired,
    /// None of the peer's roots can be used.
    NoRoots,
    /// None of the peer's gateways can be used.
    NoGateways,
    /// The peer does not offer the Service to this cluster: it is not exported there, or not
    /// granted to us.
    NotOffered,
    /// A probe of the peer's gateways failed.
    PeerNotReady,
    /// This cluster has no such Service.
    NoLocalService,
    /// This cluster's Service has no such TCP port.
    NoLocalPort,
    /// None of the Service's workloads in this cluster is ready.
    NoWorkloads,
    /// The Service's name is too long to be called.
    NameTooLong,
    /// None of its addresses answers the Envoy that calls it. Only Envoy can tell; `federate` does
    /// not produce it.
    NotAnswering,
    /// Its health check fails through all of its addresses. Only Envoy can tell as well.
    NotHealthy,
}

impl PassedOver {
    /// All reasons.
    pub const ALL: &'static [Self] = &[
        Self::UnknownPeer,
        Self::PeerRefused,
        Self::NotFetched,
        Self::Expired,
        Self::NoRoots,
        Self::NoGateways,
        Self::NotOffered,
        Self::PeerNotReady,
        Self::NoLocalService,
        Self::NoLocalPort,
        Self::NoWorkloads,
        Self::NameTooLong,
        Self::NotAnswering,
        Self::NotHealthy,
    ];

    /// Returns the stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::UnknownPeer => "unknown_peer",
            Self::PeerRefused => "peer_refused",
            Self::NotFetched => "not_fetched",
            Self::Expired => "expired",
            Self::NoRoots => "no_roots",
            Self::NoGateways => "no_gateways",
            Self::NotOffered => "not_offered",
            Self::PeerNotReady => "peer_not_ready",
            Self::NoLocalService => "no_local_service",
            Self::NoLocalPort => "no_local_port",
            Self::NoWorkloads => "no_workloads",
            Self::NameTooLong => "name_too_long",
            Self::NotAnswering => "not_answering",
            Self::NotHealthy => "not_healthy",
        }
    }
}

impl std::fmt::Display for PassedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl MemberState {
    pub(super) fn passed_over(reason: PassedOver, message: impl Into<String>) -> Self {
        Self::PassedOver { reason, message: message.into() }
    }

    /// Returns true if the member gets calls when its turn comes.
    pub fn is_used(&self) -> bool {
        self.reason().is_none()
    }

    /// Returns why it is passed over; `None` if it is not.
    pub fn reason(&self) -> Option<PassedOver> {
        match self {
            Self::Ready | Self::Unproven(_) => None,
            Self::PassedOver { reason, .. } => Some(*reason),
        }
    }

    /// Returns the state as one word: `ready`, `unproven`, or why it is passed over.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unproven(_) => "unproven",
            Self::PassedOver { reason, .. } => reason.word(),
        }
    }

    /// Returns the explanation for people; empty if there is nothing to explain.
    pub fn message(&self) -> &str {
        match self {
            Self::Ready => "",
            Self::Unproven(why) => why,
            Self::PassedOver { message, .. } => message,
        }
    }
}
