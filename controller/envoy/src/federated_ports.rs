//! Assigns local ports, or addresses, to federated names.
//!
//! The operator wrote each of these names, so they come before the imports, whose number peers
//! decide. As with imports, a port never comes to mean another service.

use super::ports::{first_choice, from};
use fedgate_core::ServiceName;
use fedgate_federation::federate::{FederatedService, Imports};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Assigns a port to each name: the one that it had, else one that nothing is reserved for, else
/// one of an import that is gone. Names for which there is none are not listed.
pub fn allocate_federated(
    services: &[FederatedService],
    previous: &BTreeMap<ServiceName, u16>,
    imports: &Imports,
    range: &RangeInclusive<u16>,
    is_free: impl FnMut(u16) -> bool,
) -> BTreeMap<ServiceName, u16> {
    let names = services.iter().flat_map(|service| &service.ports).map(|port| &port.service);
    assign(&names.collect::<Vec<_>>(), previous, imports, range, is_free)
}

pub(super) fn assign(
    names: &[&ServiceName],
    previous: &BTreeMap<ServiceName, u16>,
    imports: &Imports,
    range: &RangeInclusive<u16>,
    mut is_free: impl FnMut(u16) -> bool,
) -> BTreeMap<ServiceName, u16> {
    let mut ports = BTreeMap::new();
    if names.is_empty() {
        return ports;
    }
    let mut taken = BTreeSet::new();
    for name in names {
        let kept = previous.get(*name).filter(|port| range.contains(port));
        if let Some(port) = kept.filter(|port| taken.insert(**port)) {
            ports.insert((*name).clone(), *port);
        }
    }
    let unreserved: BTreeSet<u16> = {
        let reserved: BTreeSet<_> = previous.values().collect();
        range.clone().filter(|port| !reserved.contains(port)).collect()
    };
    let is_gone = |name: &&ServiceName| imports.find(name).is_none() && !names.contains(name);
    let gone: BTreeSet<u16> = previous
        .iter()
        .filter(|(name, _)| is_gone(name))
        .map(|(_, port)| *port)
        .filter(|port| range.contains(port))
        .collect();
    for name in names.iter().filter(|name| previous.get(**name).is_none()) {
        let first = first_choice(name, range);
        let mut choices = from(&unreserved, first).chain(from(&gone, first));
        if let Some(port) = choices.find(|port| !taken.contains(port) && is_free(*port)) {
            taken.insert(port);
            ports.insert((*name).clone(), port);
        }
    }
    ports
}
