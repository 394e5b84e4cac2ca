//! The addresses that peers have proven themselves from.

use fedgate_federation::document::ClusterUuid;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long an address stays known after the peer's last valid token from there.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many addresses are remembered for each peer. The limit keeps a peer from making the whole
/// Internet known.
pub(super) const ADDRESSES_PER_PEER: usize = 8;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct KnownAddresses {
    /// By peer, the latest last.
    of_peers: HashMap<ClusterUuid, VecDeque<IpAddr>>,
    /// The same by address.
    addresses: HashMap<IpAddr, Address>,
}

/// An address that is remembered for at least one peer.
#[derive(Debug)]
struct Address {
    /// How many peers it is remembered for.
    peers: usize,
    /// When one of them last proved itself from there.
    proven: Instant,
}

impl KnownAddresses {
    pub(super) fn contains(&self, source: IpAddr) -> bool {
        self.addresses.get(&source).is_some_and(|address| address.proven.elapsed() < KNOWN_FOR)
    }

    pub(super) fn remember(&mut self, cluster: &ClusterUuid, source: IpAddr) {
        let proven = Instant::now();
        let address = self.addresses.entry(source).or_insert(Address { peers: 0, proven });
        address.proven = proven;
        let own = self.of_peers.entry(cluster.clone()).or_default();
        match own.iter().position(|known| *known == source) {
            Some(place) => drop(own.remove(place)),
            None => address.peers += 1,
        }
        own.push_back(source);
        if own.len() > ADDRESSES_PER_PEER
            && let Some(oldest) = own.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// One peer less is remembered at this address.
    fn forget(&mut self, source: IpAddr) {
        if let Some(address) = self.addresses.get_mut(&source) {
            address.peers -= 1;
            if address.peers == 0 {
                self.addresses.remove(&source);
            }
        }
    }

    /// How many peers are known at an address.
    pub(super) fn peers_at(&self, source: IpAddr) -> usize {
        let known = self.addresses.get(&source).filter(|_| self.contains(source));
        known.map_or(0, |address| address.peers)
    }

    /// How many addresses are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }
}
