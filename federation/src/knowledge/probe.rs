//! What came of connecting to a peer's gateways, as a client of its services would.

use super::PeerKnowledge;
use crate::document::GatewayAddress;
use crate::finding::messages;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What came of the last probe of a peer's gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dataplane {
    /// The word, as DKP's condition has it.
    pub reason: DataplaneReason,
    /// More of it, for people: which gateways failed, and why.
    pub message: String,
    /// Whether no certificate of ours was shown, so that nothing is known about it.
    #[serde(default)]
    pub server_only: bool,
    /// When the reason became this one.
    pub since: Timestamp,
    /// When the last probe ended.
    pub at: Timestamp,
}

/// The reasons of DKP's condition `DataplaneConnectionReady`, but for `MetadataUnavailable`: that no gateway is known is no
/// outcome of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DataplaneReason {
    /// One gateway at least is as it should be.
    Succeeded,
    /// None is.
    ProbeFailed,
    /// Nothing could be tried, by what is known of the peer.
    ConfigurationError,
}

impl DataplaneReason {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::ProbeFailed => "ProbeFailed",
            Self::ConfigurationError => "ConfigurationError",
        }
    }
}

impl std::fmt::Display for DataplaneReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What a probe without a certificate of ours does not say.
pub const SERVER_ONLY: &str = "the gateway was verified; whether it takes this mesh's certificates cannot be tried from here, see RootsAcknowledged";

/// How far a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// A TCP connection.
    Connection,
    /// TLS as far as the server's proof. We have no certificate to show.
    Server,
    /// TLS with our own certificate, and the health name where the peer has one.
    Call,
}

impl Tried {
    /// What a success does not say.
    fn remark(self) -> Option<&'static str> {
        match self {
            Self::Connection => {
                Some("only TCP was tried, since there is no import of the peer to name in a TLS handshake")
            }
            Self::Server => Some(SERVER_ONLY),
            Self::Call => None,
        }
    }
}

/// What a probe gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// Each gateway was tried.
    Gateways {
        /// The gateways in order, those that failed with why. A stranger's text is in it by way of [`crate::shown`] only.
        outcomes: Vec<(GatewayAddress, Result<(), String>)>,
        /// How far each went.
        tried: Tried,
    },
    /// Nothing could be tried; why.
    Impossible(String),
}

impl Probed {
    /// Whether one gateway at least is as it should be.
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Gateways { outcomes, .. } if outcomes.iter().any(|(_, outcome)| outcome.is_ok()))
    }

    fn summary(&self) -> (DataplaneReason, String) {
        let (outcomes, tried) = match self {
            Self::Gateways { outcomes, tried } => (outcomes, *tried),
            Self::Impossible(why) => return (DataplaneReason::ConfigurationError, why.clone()),
        };
        let failed = outcomes.iter().filter_map(|(gateway, outcome)| Some((gateway, outcome.as_ref().err()?)));
        let failed: Vec<_> = failed.map(|(gateway, why)| format!("{gateway}: {why}")).collect();
        if failed.len() == outcomes.len() {
            return (DataplaneReason::ProbeFailed, messages(failed.iter()));
        }
        let remark = tried.remark().map(str::to_owned);
        (DataplaneReason::Succeeded, messages(remark.iter().chain(&failed).collect::<Vec<_>>().into_iter()))
    }
}

impl PeerKnowledge {
    /// Takes what a probe of the peer's gateways gave.
    pub fn probed(&mut self, probed: &Probed, now: Timestamp) {
        let (reason, message) = probed.summary();
        let before = self.dataplane.as_ref().filter(|before| before.reason == reason);
        let since = before.map_or(now, |before| before.since);
        let server_only = matches!(probed, Probed::Gateways { tried: Tried::Server, .. });
        self.dataplane = Some(Dataplane { reason, message, server_only, since, at: now });
    }
}
