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
//! by peer, Services before Pods.

use fedgate_core::ServiceName;
use fedgate_federation::federate::{Import, Imports, owner};
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
    pub imports: &'a Imports,
    /// The trust domains of all current peers.
    pub peers: &'a BTreeSet<&'a str>,
    /// The range of ports.
    pub range: RangeInclusive<u16>,
    /// Ports of the range that no import may have: those of federated names.
    pub taken: &'a BTreeSet<u16>,
    /// How many may be open at once: each takes descriptors of Envoy.
    pub most: usize,
}

/// The assigned ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// The imports' ports. Imports without one are not listed: their peer has used its share, or
    /// other programs use all ports left.
    pub ports: BTreeMap<ServiceName, u16>,
    /// The imports' ports, and those reserved for removed imports. Keep this, and pass it as
    /// `previous` next time.
    pub reserved: BTreeMap<ServiceName, u16>,
}

/// Assigns a port to each import, as long as there are ports.
///
/// A port of `previous` within the range stays with its service without asking `is_free`, because
/// the egress itself listens there. `is_free` is asked about new ports.
pub fn allocate(request: &PortRequest<'_>, mut is_free: impl FnMut(u16) -> bool) -> Allocation {
    let mut taken = Taken::kept(request);
    for service in taken.kept_in_turns(request.imports).into_iter().take(request.most) {
        taken.open(&service);
    }
    let by_peer = request.imports.by_peer();
    let mut waiting: Vec<_> = by_peer.map(|(_, imports)| services_first(imports)).collect();
    while !waiting.is_empty() {
        let next = waiting.into_iter().filter_map(|mut rest| Some((rest.next()?, rest)));
        let mut turn: Vec<_> = next.collect();
        turn.sort_by_key(|(service, _)| *service);
        // What a peer does not get now, it does not get later: ports only become fewer.
        turn.retain(|(service, _)| {
            taken.has(service) || taken.open_new(service, request, &mut is_free)
        });
        waiting = turn.into_iter().map(|(_, rest)| rest).collect();
    }
    let port = |service: &ServiceName| Some((service.clone(), *taken.by_service.get(service)?));
    Allocation { ports: taken.open.iter().filter_map(port).collect(), reserved: taken.by_service }
}

/// A peer's imports in the order in which they get ports. A Service may have very many Pods, which
/// must not take the ports of other Services.
fn services_first(imports: &[Import]) -> impl Iterator<Item = &ServiceName> {
    let services = imports.iter().map(|import| &import.service);
    let pods = services.clone().filter(|service| service.is_of_pod());
    services.filter(|service| !service.is_of_pod()).chain(pods)
}

fn is_import(request: &PortRequest<'_>, service: &ServiceName) -> bool {
    request.imports.find(service).is_some()
}

#[derive(Default)]
struct Taken {
    by_service: BTreeMap<ServiceName, u16>,
    by_port: BTreeMap<u16, ServiceName>,
    /// The ports of the range that are not reserved.
    unreserved: BTreeSet<u16>,
    /// The ports that are reserved for removed imports.
    unused: BTreeSet<u16>,
    /// How many ports each peer has, including reserved ones, and how many all current peers have.
    held: BTreeMap<String, usize>,
    held_by_peers: usize,
    /// The imports whose port is open, and their number for each peer.
    open: BTreeSet<ServiceName>,
    open_of: BTreeMap<String, usize>,
}

impl Taken {
    /// Starts from `previous`, imports first. If a damaged file names one port twice, the import
    /// keeps it.
    fn kept(request: &PortRequest<'_>) -> Self {
        let unreserved = request.range.clone().filter(|port| !request.taken.contains(port));
        let mut taken = Self { unreserved: unreserved.collect(), ..Self::default() };
        let (wanted, gone): (Vec<_>, Vec<_>) =
            request.previous.iter().partition(|(service, _)| is_import(request, service));
        for (service, port) in wanted.into_iter().chain(gone) {
            if request.range.contains(port) && !request.taken.contains(port) {
                taken.keep(service, *port, request);
            }
        }
        let unused = taken.by_port.iter().filter(|(_, service)| !is_import(request, service));
        taken.unused = unused.map(|(port, _)| *port).collect();
        taken
    }

    fn keep(&mut self, service: &ServiceName, port: u16, request: &PortRequest<'_>) {
        if let Entry::Vacant(entry) = self.by_port.entry(port) {
            entry.insert(service.clone());
            self.by_service.insert(service.clone(), port);
            self.unreserved.remove(&port);
            *self.held.entry(owner(service).to_owned()).or_default() += 1;
            self.held_by_peers += usize::from(request.peers.contains(owner(service)));
        }
    }

    fn give_up(&mut self, port: u16, request: &PortRequest<'_>) {
        let Some(service) = self.by_port.remove(&port) else { return };
        self.unused.remove(&port);
        self.by_service.remove(&service);
        if let Some(held) = self.held.get_mut(owner(&service)) {
            *held = held.saturating_sub(1);
            self.held_by_peers -= usize::from(request.peers.contains(owner(&service)));
        }
    }

    /// The imports that have a port already: one of each peer, then another of each, and so on.
    /// Pods come last.
    fn kept_in_turns(&self, imports: &Imports) -> Vec<ServiceName> {
        let turn = |service: &'_ ServiceName| Some((service.is_of_pod(), imports.find(service)?.0));
        let turns = self.by_service.keys().filter_map(|service| Some((turn(service)?, service)));
        let turns: BTreeSet<_> = turns.collect();
        turns.into_iter().map(|(_, service)| service.clone()).collect()
    }

    fn has(&self, service: &ServiceName) -> bool {
        self.by_service.contains_key(service)
    }

    /// Opens a port for a new import. Returns false if there is none for its peer.
    fn open_new(
        &mut self,
        service: &ServiceName,
        request: &PortRequest<'_>,
        is_free: &mut impl FnMut(u16) -> bool,
    ) -> bool {
        let opened = self.may_open(service, request.most) && self.assign(service, request, is_free);
        if opened {
            self.open(service);
        }
        opened
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
        request.range.len().saturating_sub(self.held_by_peers)
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
        let first = first_choice(service, &request.range);
        let mut port = from(&self.unreserved, first).next().filter(|_| within_share);
        while let Some(used) = port.filter(|port| !is_free(*port)) {
            // Another program's port is asked about only once.
            self.unreserved.remove(&used);
            port = from(&self.unreserved, first).next();
        }
        let passes_on = |other: &ServiceName| {
            owner(other) == owner(service) || within_share && !request.peers.contains(owner(other))
        };
        let inherited =
            |port: &u16| self.by_port.get(port).is_some_and(passes_on) && is_free(*port);
        let Some(port) = port.or_else(|| from(&self.unused, first).find(inherited)) else {
            return false;
        };
        self.give_up(port, request);
        self.keep(service, port, request);
        true
    }
}

/// These ports, starting with the first from `first` on.
pub(super) fn from(ports: &BTreeSet<u16>, first: u16) -> impl Iterator<Item = u16> {
    ports.range(first..).chain(ports.range(..first)).copied()
}

pub(super) fn first_choice(service: &ServiceName, range: &RangeInclusive<u16>) -> u16 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(service.to_string()));
    let length = u32::from(range.end().saturating_sub(*range.start())) + 1;
    // The length is at most 65,536, so the remainder fits.
    range.start().saturating_add((u32::from_be_bytes([a, b, c, d]) % length) as u16)
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
