//! How much a stranger may use of the exporter.

use rustix::process::{Resource, getrlimit};
use std::time::Duration;

/// File descriptors kept for other uses: files, watches, connections to peers and to the API
/// server.
const RESERVED_DESCRIPTORS: u64 = 256;
/// The minimum number of connections, however few descriptors there are.
const FEWEST_CONNECTIONS: usize = 16;

/// The exporter's limits. Each bounds what a client without any rights can hold or spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Open connections. Beyond this, an open one makes room for each new one (see the module
    /// `slots`).
    pub(crate) connections: usize,
    /// Open connections of one source (an IPv4 address or an IPv6 /64). Beyond this, the source's
    /// own oldest makes room. `None` behind a proxy, where all connections come from the same
    /// address.
    pub(crate) connections_per_source: Option<usize>,
    /// Peers that may wait for a change at the same time. Each has one connection for it, which
    /// does not count among [`Self::connections`].
    pub(crate) waiting: usize,
    /// The longest that a request waits for a change. Proxies often give up after a minute.
    pub(crate) wait: Duration,
    /// The time for a TLS handshake.
    pub(crate) handshake: Duration,
    /// The time for the head of one request, including the wait for its first byte. So it limits
    /// idle connections too.
    pub(crate) request_head: Duration,
    /// The longest life of a connection, even a busy one. One that a peer waits on may live longer.
    pub(crate) connection_life: Duration,
    /// Requests on one connection, unless a peer waits on it.
    pub(crate) requests_per_connection: u32,
    /// The size of one request's head in bytes, at least 8192.
    pub(crate) request_head_bytes: usize,
    /// How long open connections may continue after the exporter is told to stop.
    pub(crate) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_source: Some(64),
            waiting: 4096,
            wait: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            connection_life: Duration::from_secs(60),
            requests_per_connection: 32,
            request_head_bytes: 16 * 1024,
            drain: Duration::from_secs(3),
        }
    }
}

impl Limits {
    /// Lowers the numbers of connections to what the process has descriptors for, less a reserve.
    /// The importer may need as many for the peers at which it waits.
    pub(crate) fn within_descriptors(self) -> Self {
        self.within(getrlimit(Resource::Nofile).current)
    }

    fn within(self, descriptors: Option<u64>) -> Self {
        let Some(descriptors) = descriptors else { return self };
        let free =
            usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX);
        let connections = self.connections.min(free.max(FEWEST_CONNECTIONS));
        let waiting = self.waiting.min(free.saturating_sub(connections) / 2);
        Self { connections, waiting, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_other_uses() {
        let with = |descriptors| Limits::default().within(descriptors).connections;
        assert_eq!((with(None), with(Some(65536)), with(Some(1024))), (512, 512, 512));
        assert_eq!((with(Some(512)), with(Some(256)), with(Some(0))), (256, 16, 16));
        let waiting = |descriptors| Limits::default().within(descriptors).waiting;
        assert_eq!((waiting(None), waiting(Some(65536)), waiting(Some(1024))), (4096, 4096, 128));
        assert_eq!((waiting(Some(512)), waiting(Some(0))), (0, 0));
    }
}
