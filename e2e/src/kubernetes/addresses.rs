//! A cluster's own addresses in the network that all clusters of a run share.

use anyhow::{Result, ensure};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

/// The addresses of one cluster. No two clusters of a test share an address.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The gateway's address for peers. It is local in the network that
    /// `cargo xtask e2e kubernetes` creates.
    pub gateway: Ipv4Addr,
    /// The address of its gateway's Pod and node, also local.
    pub node: Ipv4Addr,
    /// The address range of its Services.
    pub services: String,
    /// The address range of its Pods.
    pub pods: String,
}

impl Addresses {
    /// The addresses of the next cluster.
    ///
    /// # Errors
    /// After ten thousand clusters.
    pub fn next() -> Result<Self> {
        static COUNT: AtomicU16 = AtomicU16::new(1);
        Self::of(COUNT.fetch_add(1, Ordering::Relaxed))
    }

    fn of(number: u16) -> Result<Self> {
        // Within xtask::network::NETWORK, 10.77.0.0/16.
        ensure!(number < 10_000, "there are no addresses for a cluster number {number}");
        let local = |offset: u16| {
            let [high, low] = (number * 2 + offset).to_be_bytes();
            Ipv4Addr::new(10, 77, high, low)
        };
        // Tests that run at the same time have about ten clusters, so a range may be reused after
        // 50.
        let (services, pods) = (100 + number % 50, 150 + number % 50);
        Ok(Self {
            gateway: local(0),
            node: local(1),
            services: format!("10.{services}.0.0/16"),
            pods: format!("10.{pods}.0.0/16"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Addresses;
    use std::collections::BTreeSet;

    #[test]
    fn clusters_of_a_test_share_no_address() {
        let clusters: Vec<_> = (1..=300).map(|number| Addresses::of(number).unwrap()).collect();
        let local: BTreeSet<_> =
            clusters.iter().flat_map(|cluster| [cluster.gateway, cluster.node]).collect();
        assert_eq!(local.len(), 600);
        for near in clusters.windows(50) {
            let ranges: BTreeSet<_> =
                near.iter().flat_map(|cluster| [&cluster.services, &cluster.pods]).collect();
            assert_eq!(ranges.len(), 100);
        }
        assert!(Addresses::of(10_000).is_err());
    }
}
