//! Which of a peer's gateways are tried first: the nearest.

use fedgate_federation::document::Locality;
use fedgate_federation::federate::Import;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The addresses of a peer's gateways, nearest first: each group takes over if those before it are
/// not reachable. Without our own locality, or that of any gateway, all are in one group. A gateway
/// whose locality is not known comes last.
pub(super) fn groups(import: &Import, ours: Option<&Locality>) -> Vec<BTreeSet<SocketAddr>> {
    let is_known = import.endpoints().any(|(_, locality)| locality.is_some());
    let mut groups: BTreeMap<usize, BTreeSet<_>> = BTreeMap::new();
    for (address, locality) in import.endpoints() {
        let distance = match (ours.filter(|_| is_known), locality) {
            (None, _) => 0,
            (Some(ours), Some(theirs)) => ours.distance(theirs),
            (Some(_), None) => usize::MAX,
        };
        groups.entry(distance).or_default().insert(address);
    }
    groups.into_values().collect()
}
