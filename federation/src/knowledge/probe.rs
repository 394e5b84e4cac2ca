//! The results of connecting to a peer's gateways as a client of its services would.

use super::PeerKnowledge;
use crate::document::GatewayAddress;
use crate::finding::messages;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The result of the last probe of a peer's gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dataplane {
    /// The reason word of DKP's condition.
    pub reason: DataplaneReason,
    /// An explanation for people: which gateways failed, and why.
    pub message: String,
    /// Whether none of our certificates was shown, so that the probe says nothing about them.
    #[serde(default)]
    pub server_only: bool,
    /// When the reason took its current value.
    pub since: Timestamp,
    /// When the last probe ended.
    pub at: Timestamp,
}

/// The reasons of DKP's condition `DataplaneConnectionReady`, except `MetadataUnavailable`: without
/// a known gateway there is no probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DataplaneReason {
    /// At least one gateway works.
    Succeeded,
    /// No gateway works.
    ProbeFailed,
    /// What is known of the peer does not allow a probe.
    ConfigurationError,
}

impl DataplaneReason {
    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::ProbeFailed => "ProbeFailed",
            Self::ConfigurationError => "ConfigurationError",
        }
    }
}

/// What remains open after a probe without our certificate.
pub const SERVER_ONLY: &str = "the gateway was verified; whether it takes this mesh's certificates cannot be tried from here, see RootsAcknowledged";

/// How far a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeDepth {
    /// Only a TCP connection.
    Connection,
    /// TLS up to the server's proof of identity, because we have no certificate to show.
    Server,
    /// TLS with our own certificate, and a call to the health name if the peer has one.
    Call,
}

impl ProbeDepth {
    /// Returns what a success leaves open.
    fn remark(self) -> Option<&'static str> {
        match self {
            Self::Connection => Some(
                "only TCP was tried, since there is no import of the peer to name in a TLS handshake",
            ),
            Self::Server => Some(SERVER_ONLY),
            Self::Call => None,
        }
    }
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// Each gateway was tried.
    Gateways {
        /// The gateways in order, each with the reason if it failed. Untrusted text in it has
        /// passed through [`crate::shown`].
        outcomes: Vec<(GatewayAddress, Result<(), String>)>,
        /// How far each probe went.
        depth: ProbeDepth,
    },
    /// No probe was possible; the text says why.
    Impossible(String),
}

impl ProbeResult {
    /// Returns true if at least one gateway works.
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Gateways { outcomes, .. } if outcomes.iter().any(|(_, outcome)| outcome.is_ok()))
    }

    fn summary(&self) -> (DataplaneReason, String) {
        let (outcomes, depth) = match self {
            Self::Gateways { outcomes, depth } => (outcomes, *depth),
            Self::Impossible(why) => return (DataplaneReason::ConfigurationError, why.clone()),
        };
        let failed = outcomes
            .iter()
            .filter_map(|(gateway, outcome)| Some((gateway, outcome.as_ref().err()?)));
        let failed: Vec<_> = failed.map(|(gateway, why)| format!("{gateway}: {why}")).collect();
        if failed.len() == outcomes.len() {
            return (DataplaneReason::ProbeFailed, messages(failed.iter()));
        }
        let remark = depth.remark().map(str::to_owned);
        (
            DataplaneReason::Succeeded,
            messages(remark.iter().chain(&failed).collect::<Vec<_>>().into_iter()),
        )
    }
}

impl PeerKnowledge {
    /// Records a probe of the peer's gateways.
    pub fn record_probe(&mut self, result: &ProbeResult, now: Timestamp) {
        let (reason, message) = result.summary();
        let before = self.dataplane.as_ref().filter(|before| before.reason == reason);
        let since = before.map_or(now, |before| before.since);
        let server_only = matches!(result, ProbeResult::Gateways { depth: ProbeDepth::Server, .. });
        self.dataplane = Some(Dataplane { reason, message, server_only, since, at: now });
    }
}
