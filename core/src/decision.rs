//! The decision: whether a connection may pass.

use crate::name::{ServicePort, Sni, SniError, SpiffeId};
use crate::table::{Export, Granted, Mode, PeerRow, Table};

/// Why a connection was allowed or refused. Each reason has one word, which logs, metrics,
/// `explain` and Events print and which is stable across releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The gateway has no table yet, so it exports nothing.
    NoTable,
    /// The client sent no server name.
    NoSni,
    /// The server name does not have the form `outbound_.PORT_.SUBSET_.HOST`.
    BadSni,
    /// The `host:port` is not exported.
    UnknownService,
    /// The client presented no certificate with a URI SAN.
    NoIdentity,
    /// The URI SAN is not a workload's SPIFFE ID, or there is more than one.
    BadIdentity,
    /// The identity's trust domain does not belong to any peer.
    UnknownPeer,
    /// The peer has no grant on the service.
    NotGranted,
    /// The peer has a grant, but not for this caller.
    CallerNotGranted,
    /// The connection may pass.
    Granted,
}

impl Reason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 10] = [
        Self::NoTable,
        Self::NoSni,
        Self::BadSni,
        Self::UnknownService,
        Self::NoIdentity,
        Self::BadIdentity,
        Self::UnknownPeer,
        Self::NotGranted,
        Self::CallerNotGranted,
        Self::Granted,
    ];

    /// The reason's stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoTable => "no_table",
            Self::NoSni => "no_sni",
            Self::BadSni => "bad_sni",
            Self::UnknownService => "unknown_service",
            Self::NoIdentity => "no_identity",
            Self::BadIdentity => "bad_identity",
            Self::UnknownPeer => "unknown_peer",
            Self::NotGranted => "not_granted",
            Self::CallerNotGranted => "caller_not_granted",
            Self::Granted => "granted",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl From<SniError> for Reason {
    fn from(error: SniError) -> Self {
        match error {
            SniError::Absent => Self::NoSni,
            SniError::Form(_) => Self::BadSni,
        }
    }
}

/// What happens to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It passes.
    Allowed,
    /// It passes without a grant, because the peer is in audit mode.
    Audited,
    /// It is closed.
    Refused,
}

impl Outcome {
    /// The outcome's stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Audited => "audited",
            Self::Refused => "refused",
        }
    }

    /// Returns true if the connection passes.
    pub fn passes(self) -> bool {
        self != Self::Refused
    }
}

/// An outcome, its reason, and the peer if it was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'t> {
    /// What happens to the connection.
    pub outcome: Outcome,
    /// The reason for the outcome.
    pub reason: Reason,
    /// The caller's peer, if the identity belongs to one.
    pub peer: Option<PeerRow<'t>>,
}

impl Decision<'_> {
    /// The refusal of a connection whose peer is not known.
    pub fn refused(reason: Reason) -> Self {
        Self { outcome: Outcome::Refused, reason, peer: None }
    }
}

/// A connection whose server name belongs to an exported service. Only its caller remains to be
/// judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission<'s> {
    sni: Sni<'s>,
    export: Export,
}

impl Admission<'_> {
    /// The exported service's host, in lower case.
    pub fn host(&self) -> &str {
        self.sni.host()
    }

    /// The exported service's port.
    pub fn port(&self) -> ServicePort {
        self.sni.port()
    }

    /// The exported service's row in the table.
    pub fn export(&self) -> Export {
        self.export
    }
}

/// The first half of the decision, before the handshake: checks that the server name belongs to an
/// exported service.
///
/// # Errors
/// [`Reason::NoSni`], [`Reason::BadSni`] or [`Reason::UnknownService`].
pub fn admit<'s>(table: &Table, server_name: Option<&'s str>) -> Result<Admission<'s>, Reason> {
    let sni = Sni::parse(server_name.unwrap_or_default())?;
    let export = admit_service(table, sni.host(), sni.port())?;
    Ok(Admission { sni, export })
}

/// The same for the host and port of a server name that was parsed before.
///
/// This is for connections whose TLS the gateway terminates, so a passthrough service is unknown
/// here. Its workload judges the caller itself, which it could not do here: it would see the
/// gateway's identity instead of the caller's.
///
/// # Errors
/// [`Reason::UnknownService`].
pub fn admit_service(table: &Table, host: &str, port: ServicePort) -> Result<Export, Reason> {
    let found = table.export(host, port).filter(|export| !export.is_passthrough());
    found.ok_or(Reason::UnknownService)
}

/// The whole decision for a connection whose TLS the gateway passes through: checks that the server
/// name belongs to a passthrough service.
pub fn decide_passthrough(table: &Table, server_name: Option<&str>) -> Decision<'static> {
    match Sni::parse(server_name.unwrap_or_default()) {
        Ok(sni) => pass_service_through(table, sni.host(), sni.port()),
        Err(error) => Decision::refused(error.into()),
    }
}

/// The same for the host and port of a server name that was parsed before. A service whose callers
/// the gateway has to judge is unknown here.
pub fn pass_service_through(table: &Table, host: &str, port: ServicePort) -> Decision<'static> {
    match table.export(host, port).filter(|export| export.is_passthrough()) {
        Some(_) => Decision { outcome: Outcome::Allowed, reason: Reason::Granted, peer: None },
        None => Decision::refused(Reason::UnknownService),
    }
}

/// The second half of the decision, after the handshake: checks whether the caller may reach the
/// export. `uri_san` is the first URI SAN of its certificate.
///
/// An export from another table has no grants. After a table change, call [`admit`] again or use
/// [`decide`].
pub fn judge<'t>(table: &'t Table, export: Export, uri_san: Option<&str>) -> Decision<'t> {
    let Some(uri) = uri_san.filter(|uri| !uri.is_empty()) else {
        return Decision::refused(Reason::NoIdentity);
    };
    let Ok(id) = SpiffeId::parse(uri) else { return Decision::refused(Reason::BadIdentity) };
    let Some(peer) = table.peer_of(id.trust_domain()) else {
        return Decision::refused(Reason::UnknownPeer);
    };
    let reason = match table.granted(export, &peer, &id) {
        Granted::Yes => {
            return Decision {
                outcome: Outcome::Allowed,
                reason: Reason::Granted,
                peer: Some(peer),
            };
        }
        // Without an entry, the Service's owner does not admit the peer, and audit mode does not
        // overrule the owner.
        Granted::No => {
            return Decision { peer: Some(peer), ..Decision::refused(Reason::NotGranted) };
        }
        Granted::NoCaller => Reason::NotGranted,
        Granted::OtherCallers => Reason::CallerNotGranted,
    };
    let outcome = match peer.mode {
        Mode::Audit => Outcome::Audited,
        Mode::Enforce => Outcome::Refused,
    };
    Decision { outcome, reason, peer: Some(peer) }
}

/// Both halves at once, for a connection whose server name and identity are both known: `explain`,
/// tests, and open connections that a new table judges again.
pub fn decide<'t>(
    table: &'t Table,
    server_name: Option<&str>,
    uri_san: Option<&str>,
) -> Decision<'t> {
    match admit(table, server_name) {
        Ok(admission) => judge(table, admission.export(), uri_san),
        Err(reason) => Decision::refused(reason),
    }
}
