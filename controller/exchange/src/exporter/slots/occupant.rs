//! A connection that holds a slot, and for whom it counts.

use super::super::metrics::Dropped;
use fedgate_federation::document::ClusterUuid;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Occupant {
    pub(super) source: IpAddr,
    pub(super) kind: Kind,
    /// The peer whose seat it has.
    pub(super) seat: Option<ClusterUuid>,
    pub(super) eviction: watch::Sender<Option<Dropped>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Stranger,
    Known,
    Proven(ClusterUuid),
}

/// The owner that a connection is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Source(IpAddr),
    Network(IpAddr),
    Peer(ClusterUuid),
}

impl Occupant {
    pub(super) fn is_trusted(&self) -> bool {
        self.kind != Kind::Stranger
    }

    pub(super) fn holder(&self) -> Holder {
        match &self.kind {
            Kind::Proven(cluster) => Holder::Peer(cluster.clone()),
            _ => Holder::Source(self.source),
        }
    }

    pub(super) fn network(&self) -> Holder {
        match &self.kind {
            Kind::Proven(cluster) => Holder::Peer(cluster.clone()),
            _ => Holder::Network(network_of(self.source)),
        }
    }
}

/// One IPv6 subscriber owns at least 2^64 addresses, so an IPv6 /64 counts as one source.
pub(super) fn source_of(address: IpAddr) -> IpAddr {
    masked(address, 32, 64)
}

/// A block that often has a single owner: an IPv4 /24 or an IPv6 /48 (RFC 6177).
fn network_of(source: IpAddr) -> IpAddr {
    masked(source, 24, 48)
}

fn masked(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (32 - v4))).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - v6))).into()
        }
    }
}
