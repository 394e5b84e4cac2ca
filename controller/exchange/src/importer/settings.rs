//! The importer's settings.

use super::client_certificate::ClientCertificates;
use super::{Metrics, SystemRoots};
use crate::{
    exporter,
    keyring::Keyring,
    lookup::LookUpSettings,
    probe::{ProbeIdentity, ProbeSettings},
    proxy::Proxies,
    settings::{Intervals, PeerAccess},
};
use fedgate_federation::{
    document::{ClusterUuid, Limits},
    knowledge::Times,
};
use fedgate_process::clock::{Clock, SystemClock};
use std::{fmt, sync::Arc, time::Duration};

/// The settings shared by all peers.
#[derive(Clone)]
pub struct ImporterSettings {
    /// The wait after a successful round, with a jitter of a tenth.
    pub(crate) poll: Duration,
    /// How much a peer may use.
    pub(crate) limits: FetchLimits,
    /// How peers' gateways are probed.
    pub(crate) probe: ProbeSettings,
    /// How the names of peers' gateways are looked up.
    pub(crate) lookup: LookUpSettings,
    /// The limits for a document's contents.
    pub(crate) documents: Limits,
    /// When knowledge becomes stale.
    pub(crate) times: Times,
    /// This cluster, as its tokens name it.
    pub(crate) identity: Identity,
    /// The importer's counters.
    pub(crate) metrics: Metrics,
    /// The proxies through which endpoints are reached.
    pub(crate) proxies: Proxies,
    /// What this cluster shows to endpoints that ask for a client certificate.
    pub(crate) client_certificates: ClientCertificates,
    /// The roots that every endpoint's certificate may come from.
    pub(crate) roots: SystemRoots,
    /// The clock that tokens' times are taken from.
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether to note when documents came.
    pub(crate) traced: bool,
}

impl ImporterSettings {
    /// The settings of a running controller. Probes show `certificate` to gateways.
    pub fn new(
        intervals: Intervals,
        identity: Identity,
        certificate: ProbeIdentity,
        metrics: Metrics,
        access: &PeerAccess,
    ) -> Self {
        let Intervals { poll, probe, timeout, knowledge } = intervals;
        Self {
            poll,
            limits: FetchLimits {
                fetch: timeout,
                waiting: exporter::Limits::default().within_descriptors().waiting,
                ..FetchLimits::default()
            },
            probe: ProbeSettings {
                interval: probe,
                identity: certificate,
                ..ProbeSettings::default()
            },
            lookup: LookUpSettings::default(),
            documents: Limits::default(),
            times: knowledge,
            identity,
            metrics,
            proxies: Proxies::new(&access.proxy),
            client_certificates: ClientCertificates::new(access.client_tls.clone()),
            roots: SystemRoots::load(),
            clock: Arc::new(SystemClock),
            traced: false,
        }
    }

    /// The same, noting when documents came if `traced` is true.
    #[must_use]
    pub fn traced(self, traced: bool) -> Self {
        Self { traced, ..self }
    }
}

/// This cluster, as its tokens name it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its UUID.
    pub cluster_uuid: ClusterUuid,
    /// The keys that its tokens are signed with.
    pub keyring: Keyring,
}

/// How much a peer may use of the importer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchLimits {
    /// The time to connect, including the TLS handshake.
    pub(crate) connect: Duration,
    /// The time for one document, from the name lookup to the last byte.
    pub(crate) fetch: Duration,
    /// The size limit of a public document in bytes. For a private one it is
    /// [`Limits::body_bytes`].
    pub(crate) public_bytes: usize,
    /// How many peers are asked at once. Others wait, first come, first served.
    pub(crate) at_once: usize,
    /// At how many peers a request may wait for a change.
    pub(crate) waiting: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            fetch: Intervals::default().timeout,
            // 16 roots of 16 KiB each, in base64.
            public_bytes: 512 * 1024,
            at_once: 64,
            waiting: 4096,
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
            .finish_non_exhaustive()
    }
}
