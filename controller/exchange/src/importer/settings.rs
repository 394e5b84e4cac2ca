//! How the importer is set up.

use super::{Metrics, SystemRoots};
use crate::{lookup::LookUpSettings, probe::ProbeSettings};
use fedgate_federation::{
    document::{ClusterUuid, Limits},
    key::SigningKey,
    knowledge::Times,
};
use fedgate_process::clock::Clock;
use std::{fmt, sync::Arc, time::Duration};

/// What all peers have in common.
#[derive(Clone)]
pub struct ImporterSettings {
    /// How long a peer is left alone after it answered well; jittered by a tenth.
    pub poll: Duration,
    /// How much a peer may take.
    pub limits: FetchLimits,
    /// How the peers' gateways are probed.
    pub probe: ProbeSettings,
    /// How the names of the peers' gateways are looked up.
    pub lookup: LookUpSettings,
    /// How much of a document is taken.
    pub documents: Limits,
    /// When knowledge is stale.
    pub times: Times,
    /// Who asks.
    pub identity: Identity,
    /// What is counted.
    pub metrics: Metrics,
    /// The roots that every endpoint's certificate may come from.
    pub roots: SystemRoots,
    /// What tokens' times are taken from.
    pub clock: Arc<dyn Clock>,
}

/// This cluster, as its tokens name it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its UUID.
    pub cluster_uuid: ClusterUuid,
    /// What its tokens are signed with.
    pub key: SigningKey,
}

/// How much a peer may take of the importer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// The time to connect, TLS handshake included.
    pub connect: Duration,
    /// The time for one document, from the look-up of the name to its last byte.
    pub fetch: Duration,
    /// The most bytes of a public document. Of a private one it is [`Limits::body_bytes`].
    pub public_bytes: usize,
    /// How many peers are asked at once; the others wait for their turn, first come first served.
    pub at_once: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            fetch: Duration::from_secs(15),
            // 16 roots of 16 KiB, in base64.
            public_bytes: 512 * 1024,
            at_once: 64,
        }
    }
}

impl fmt::Debug for ImporterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImporterSettings")
            .field("poll", &self.poll)
            .field("limits", &self.limits)
            .field("probe", &self.probe)
            .field("lookup", &self.lookup)
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}
