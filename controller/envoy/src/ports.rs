//! Assigns local ports to imports.
//!
//! Programs keep a port in their configuration, so a port must never come to mean another service,
//! let alone another peer's. An import keeps its port through changes and restarts. The port of a
//! removed import stays reserved for it. Only imports of the same peer may take it over, or any
//! import once the peer itself is gone. A new import's first choice follows from its name alone, so
//! most ports stay the same even if the reservations are lost.
//!
//! A peer can name as many services as it likes, so ports are shared out: a peer gets another port
//! only while it has no more than what is left for all others. A single peer gets half of the
//! range, the next one half of the rest, and so on, so latecomers find some. New imports take turns
//! by peer.

use fedgate_core::ServiceName;
use sha2::{Digest, Sha256};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The inputs of an allocation.
#[derive(Debug, Clone)]
pub struct PortRequest<'a> {
    /// [`Allocation::reserved`] of the last allocation.
    pub previous: &'a BTreeMap<ServiceName, u16>,
    /// The imports.
    pub imports: &'a BTreeSet<ServiceName>,
    /// The trust domains of all current peers.
    pub peers: &'a BTreeSet<&'a str>,
    /// The range of ports.
    pub range: RangeInclusive<u16>,
    /// How many may be open at once: each takes descriptors of Envoy.
    pub most: usize,
}

/// The assigned ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// The imports' ports.
    pub ports: BTreeMap<ServiceName, u16>,
    /// The imports' ports, and those reserved for removed imports. Keep this, and pass it as
    /// `previous` next time.
    pub reserved: BTreeMap<ServiceName, u16>,
    /// The imports without a port: their peer has used its share, or other programs use all ports
    /// left.
    pub without_port: BTreeSet<ServiceName>,
}

/// Assigns a port to each import, as long as there are ports.
///
/// A port of `previous` within the range stays with its service without asking `is_free`, because
/// the egress itself listens there. `is_free` is asked about new ports.
pub fn allocate(request: &PortRequest<'_>, mut is_free: impl FnMut(u16) -> bool) -> Allocation {
    let mut taken = Taken::kept(request);
    let (kept, new): (Vec<_>, Vec<_>) =
        in_turns(request.imports).partition(|one| taken.by_service.contains_key(*one));
    for service in kept.into_iter().take(request.most) {
        taken.open(service);
    }
    for service in new {
        if taken.may_open(service, request.most) && taken.assign(service, request, &mut is_free) {
            taken.open(service);
        }
    }
    let without_port = request.imports.difference(&taken.open).cloned().collect();
    let port = |service: &ServiceName| Some((service.clone(), *taken.by_service.get(service)?));
    Allocation {
        ports: taken.open.iter().filter_map(port).collect(),
        reserved: taken.by_service,
        without_port,
    }
}

/// The trust domain of a service's peer: what follows `NAME.NAMESPACE.svc.`.
pub fn owner(service: &ServiceName) -> &str {
    service.host.as_str().splitn(4, '.').nth(3).unwrap_or_default()
}

/// One import of each peer, then another of each, and so on.
fn in_turns(imports: &BTreeSet<ServiceName>) -> impl Iterator<Item = &ServiceName> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut turn = |service| {
        let count = counts.entry(owner(service)).or_default();
        *count += 1;
        (*count, service)
    };
    let turns: BTreeSet<_> = imports.iter().map(&mut turn).collect();
    turns.into_iter().map(|(_, service)| service)
}

#[derive(Default)]
struct Taken {
    by_service: BTreeMap<ServiceName, u16>,
    by_port: BTreeMap<u16, ServiceName>,
    /// How many ports each peer has, including reserved ones.
    held: BTreeMap<String, usize>,
    /// The imports whose port is open, and their number for each peer.
    open: BTreeSet<ServiceName>,
    open_of: BTreeMap<String, usize>,
}

impl Taken {
    /// Starts from `previous`, imports first. If a damaged file names one port twice, the import
    /// keeps it.
    fn kept(request: &PortRequest<'_>) -> Self {
        let mut taken = Self::default();
        let (wanted, gone): (Vec<_>, Vec<_>) =
            request.previous.iter().partition(|(service, _)| request.imports.contains(*service));
        for (service, port) in wanted.into_iter().chain(gone) {
            if request.range.contains(port) {
                taken.keep(service, *port);
            }
        }
        taken
    }

    fn keep(&mut self, service: &ServiceName, port: u16) {
        if let Entry::Vacant(entry) = self.by_port.entry(port) {
            entry.insert(service.clone());
            self.by_service.insert(service.clone(), port);
            *self.held.entry(owner(service).to_owned()).or_default() += 1;
        }
    }

    fn give_up(&mut self, port: u16) {
        let Some(service) = self.by_port.remove(&port) else { return };
        self.by_service.remove(&service);
        if let Some(held) = self.held.get_mut(owner(&service)) {
            *held = held.saturating_sub(1);
        }
    }

    fn open(&mut self, service: &ServiceName) {
        self.open.insert(service.clone());
        *self.open_of.entry(owner(service).to_owned()).or_default() += 1;
    }

    /// Returns true if the service's peer has no more open ports than are left.
    fn may_open(&self, service: &ServiceName, most: usize) -> bool {
        let left = most.saturating_sub(self.open.len());
        left > 0 && self.open_of.get(owner(service)).copied().unwrap_or_default() <= left
    }

    /// How many ports no peer has. Ports reserved for removed peers count as free.
    fn left(&self, request: &PortRequest<'_>) -> usize {
        let of_peers = self.held.iter().filter(|(owner, _)| request.peers.contains(owner.as_str()));
        request.range.len().saturating_sub(of_peers.map(|(_, count)| count).sum())
    }

    /// Picks a port that is not reserved, if the peer's share allows. Otherwise one that is
    /// reserved for a removed import of this peer or, within the share, of a removed peer.
    fn assign(
        &mut self,
        service: &ServiceName,
        request: &PortRequest<'_>,
        is_free: &mut impl FnMut(u16) -> bool,
    ) -> bool {
        let within_share =
            self.held.get(owner(service)).copied().unwrap_or_default() <= self.left(request);
        let unreserved = |port: &u16| within_share && !self.by_port.contains_key(port);
        let passes_on = |other: &ServiceName| {
            let is_nobodys = within_share && !request.peers.contains(owner(other));
            !request.imports.contains(other) && (owner(other) == owner(service) || is_nobodys)
        };
        let inherited = |port: &u16| self.by_port.get(port).is_some_and(passes_on);
        let mut find = |wanted: &dyn Fn(&u16) -> bool| {
            candidates(service, &request.range).find(|port| wanted(port) && is_free(*port))
        };
        let Some(port) = find(&unreserved).or_else(|| find(&inherited)) else { return false };
        self.give_up(port);
        self.keep(service, port);
        true
    }
}

/// All ports of the range, starting with one derived from the service's name.
fn candidates(
    service: &ServiceName,
    range: &RangeInclusive<u16>,
) -> impl Iterator<Item = u16> + use<> {
    let first = first_choice(service, range);
    (first..=*range.end()).chain(*range.start()..first)
}

fn first_choice(service: &ServiceName, range: &RangeInclusive<u16>) -> u16 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(service.to_string()));
    let length = u32::from(range.end().saturating_sub(*range.start())) + 1;
    // The length is at most 65,536, so the remainder fits.
    range.start().saturating_add((u32::from_be_bytes([a, b, c, d]) % length) as u16)
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
