//! What an operator can set for the importer and the exporter. Each platform reads it from its own
//! form: `fedgate.yaml`, or flags.

use crate::exporter::MetadataPath;
use crate::proxy::ProxySettings;
use fedgate_federation::knowledge;
use fedgate_process::words::spell;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How often to ask and to probe a peer, and how long to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// How often to ask a peer; at least [`Self::SHORTEST_POLL`].
    pub poll: Duration,
    /// How often to connect to a peer's gateways.
    pub probe: Duration,
    /// The time limit for one document.
    pub timeout: Duration,
    /// When knowledge of a peer becomes stale, and when it is no longer used.
    pub knowledge: knowledge::Times,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(30),
            probe: Duration::from_secs(60),
            timeout: Duration::from_secs(15),
            knowledge: knowledge::Times::default(),
        }
    }
}

impl Intervals {
    /// Tokens issued within the same second are identical, and a peer accepts a token only once. So
    /// it cannot be asked more often.
    pub const SHORTEST_POLL: Duration = Duration::from_secs(1);

    /// Checks the values against each other.
    ///
    /// # Errors
    /// [`LimitTooShort`] if knowledge would no longer be used before it is stale.
    pub fn check(&self) -> Result<(), LimitTooShort> {
        let knowledge::Times { stale_after, staleness_limit, .. } = self.knowledge;
        match staleness_limit >= stale_after {
            true => Ok(()),
            false => Err(LimitTooShort {
                staleness_limit: spell(staleness_limit),
                stale_after: spell(stale_after),
            }),
        }
    }
}

/// Two settings that contradict each other, with their values in short form. The platform knows
/// their names.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitTooShort {
    /// The value that is too short.
    pub staleness_limit: String,
    /// The least that it may be.
    pub stale_after: String,
}

/// How peers' metadata endpoints are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerAccess {
    /// The HTTP proxies that lead to them.
    pub proxy: ProxySettings,
    /// A folder with the certificates that this cluster shows to endpoints that ask for one:
    /// `tls.crt` and `tls.key` for all peers, the same in a folder `PEER` for one peer.
    pub client_tls: Option<PathBuf>,
}

/// The endpoint where peers fetch metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataEndpoint {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The path of the documents.
    pub path: MetadataPath,
    /// Whether a load balancer in front of it sends the PROXY protocol.
    pub proxy_protocol: bool,
    /// HTTP or HTTPS.
    pub transport: MetadataTransport,
}

/// The protocol of the metadata endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataTransport {
    /// HTTP, behind a proxy that terminates TLS.
    Plain,
    /// HTTPS.
    Tls {
        /// A PEM file, leaf first.
        certificate: PathBuf,
        /// A PEM file.
        key: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knowledge_is_not_dropped_before_it_is_stale() {
        let check = |stale_after, staleness_limit| {
            let [stale_after, staleness_limit] =
                [stale_after, staleness_limit].map(Duration::from_secs);
            let knowledge =
                knowledge::Times { stale_after, staleness_limit, ..knowledge::Times::default() };
            Intervals { knowledge, ..Intervals::default() }.check()
        };
        assert_eq!(Intervals::default().check(), Ok(()));
        assert_eq!(check(300, 300), Ok(()));
        let (staleness_limit, stale_after) = ("1s".to_owned(), "5m".to_owned());
        assert_eq!(check(300, 1), Err(LimitTooShort { staleness_limit, stale_after }));
    }
}
