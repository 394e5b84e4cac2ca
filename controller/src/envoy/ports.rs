//! Which local port an import has.
//!
//! A program is told a port once and keeps it in its configuration, so a port must never come to mean another service. An
//! import keeps its port over changes and restarts, and a port whose import went away stays reserved for it as long as
//! others are left. A new import's first choice follows from its name alone, so most ports stay the same even when the
//! reservations are lost.

use fedgate_core::ServiceName;
use sha2::{Digest, Sha256};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Who has which port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// The imports' ports.
    pub ports: BTreeMap<ServiceName, u16>,
    /// The same, and what is reserved for imports that went away: to be kept, and given as `previous` the next time.
    pub reserved: BTreeMap<ServiceName, u16>,
    /// The imports that no port is left for: the range is too small, or its ports are in use by other programs.
    pub without_port: BTreeSet<ServiceName>,
}

/// Gives each import a port of `range`.
///
/// A port of `previous` that is in the range stays with its service, and `is_free` is not asked: the egress itself listens
/// there. `is_free` is asked about new ones.
pub fn allocate(
    previous: &BTreeMap<ServiceName, u16>,
    imports: &BTreeSet<ServiceName>,
    range: RangeInclusive<u16>,
    mut is_free: impl FnMut(u16) -> bool,
) -> Allocation {
    let mut taken = Taken::default();
    // Imports first: should a damaged file name one port twice, it is an import that keeps it.
    let (wanted, gone): (Vec<_>, Vec<_>) = previous.iter().partition(|(service, _)| imports.contains(*service));
    for (service, port) in wanted.into_iter().chain(gone) {
        if range.contains(port) {
            taken.keep(service, *port);
        }
    }
    let mut without_port = BTreeSet::new();
    for service in imports {
        if !taken.by_service.contains_key(service) && !taken.place(service, imports, &range, &mut is_free) {
            without_port.insert(service.clone());
        }
    }
    let reserved = taken.by_service;
    let of_imports = reserved.iter().filter(|(service, _)| imports.contains(*service));
    let ports = of_imports.map(|(service, port)| (service.clone(), *port)).collect();
    Allocation { ports, reserved, without_port }
}

#[derive(Default)]
struct Taken {
    by_service: BTreeMap<ServiceName, u16>,
    by_port: BTreeMap<u16, ServiceName>,
}

impl Taken {
    fn keep(&mut self, service: &ServiceName, port: u16) {
        if let Entry::Vacant(entry) = self.by_port.entry(port) {
            entry.insert(service.clone());
            self.by_service.insert(service.clone(), port);
        }
    }

    /// A port that nobody has, else one that is reserved for an import that went away.
    fn place(
        &mut self,
        service: &ServiceName,
        imports: &BTreeSet<ServiceName>,
        range: &RangeInclusive<u16>,
        is_free: &mut impl FnMut(u16) -> bool,
    ) -> bool {
        let unreserved = candidates(service, range).find(|port| !self.by_port.contains_key(port) && is_free(*port));
        let gone = |port: &u16| self.by_port.get(port).is_some_and(|owner| !imports.contains(owner));
        let Some(port) = unreserved.or_else(|| candidates(service, range).find(|port| gone(port) && is_free(*port)))
        else {
            return false;
        };
        if let Some(owner) = self.by_port.remove(&port) {
            self.by_service.remove(&owner);
        }
        self.keep(service, port);
        true
    }
}

/// All ports of the range, from one that the service's name chooses.
fn candidates(service: &ServiceName, range: &RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
    let first = first_choice(service, range);
    (first..=*range.end()).chain(*range.start()..first)
}

fn first_choice(service: &ServiceName, range: &RangeInclusive<u16>) -> u16 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(service.to_string()));
    let length = u32::from(range.end().saturating_sub(*range.start())) + 1;
    // The remainder is below 65,536, as the length is at most that.
    range.start().saturating_add((u32::from_be_bytes([a, b, c, d]) % length) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn service(number: usize) -> ServiceName {
        ServiceName::parse(&format!("s{number}.shop.svc.beta.example:80")).unwrap()
    }

    fn services(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<ServiceName> {
        numbers.into_iter().map(service).collect()
    }

    fn free(_: u16) -> bool {
        true
    }

    #[test]
    fn an_import_keeps_its_port_whatever_comes_and_goes() {
        let first = allocate(&BTreeMap::new(), &services(0..5), 15_000..=15_099, free);
        let second = allocate(&first.reserved, &services(3..50), 15_000..=15_099, free);
        let third = allocate(&second.reserved, &services(0..5), 15_000..=15_099, free);
        assert_eq!(first.ports, third.ports);
        assert_eq!(second.ports[&service(3)], first.ports[&service(3)]);
    }

    #[test]
    fn a_port_that_is_in_use_is_not_given_away_but_kept_by_its_import() {
        let first = allocate(&BTreeMap::new(), &services([0]), 15_000..=15_001, free);
        let port = first.ports[&service(0)];
        let second = allocate(&first.reserved, &services([0, 1]), 15_000..=15_001, |other| other != port);
        assert_eq!(second.ports[&service(0)], port);
        assert_ne!(second.ports[&service(1)], port);
    }

    #[test]
    fn a_range_that_is_full_gives_reserved_ports_away_and_then_names_who_has_none() {
        let first = allocate(&BTreeMap::new(), &services(0..3), 15_000..=15_002, free);
        assert!(first.without_port.is_empty());
        let second = allocate(&first.reserved, &services(1..5), 15_000..=15_002, free);
        assert_eq!(second.without_port, services([4]));
        assert_eq!(second.ports.len(), 3);
        assert_eq!(second.reserved, second.ports);
    }

    #[test]
    fn another_range_moves_everybody() {
        let first = allocate(&BTreeMap::new(), &services(0..3), 15_000..=15_002, free);
        let second = allocate(&first.reserved, &services(0..3), 16_000..=16_002, free);
        assert!(second.ports.values().all(|port| (16_000..=16_002).contains(port)) && second.without_port.is_empty());
    }

    #[test]
    fn the_first_choice_follows_from_the_name() {
        let lost = allocate(&BTreeMap::new(), &services([7]), 15_000..=15_999, free);
        let kept = allocate(&BTreeMap::new(), &services([7, 8]), 15_000..=15_999, free);
        assert_eq!(lost.ports[&service(7)], kept.ports[&service(7)]);
        let everything = allocate(&BTreeMap::new(), &services([7]), 0..=u16::MAX, free);
        assert_eq!(everything.ports.len(), 1);
    }

    #[test]
    #[allow(clippy::reversed_empty_ranges, reason = "it is what a wrong setting says")]
    fn an_empty_range_has_no_ports() {
        let none = allocate(&BTreeMap::new(), &services(0..2), 15_001..=15_000, free);
        assert_eq!(none.without_port, services(0..2));
    }

    proptest! {
        #[test]
        fn no_port_is_given_twice_or_outside_of_the_range(
            rounds in prop::collection::vec(prop::collection::btree_set(0usize..30, 0..25), 1..6),
            used in prop::collection::btree_set(15_000u16..15_020, 0..10),
        ) {
            let mut reserved = BTreeMap::new();
            for round in rounds {
                let imports = services(round);
                let next = allocate(&reserved, &imports, 15_000..=15_019, |port| !used.contains(&port));
                let distinct: BTreeSet<_> = next.reserved.values().collect();
                prop_assert_eq!(distinct.len(), next.reserved.len());
                prop_assert!(next.reserved.values().all(|port| (15_000..15_020).contains(port) && !used.contains(port)));
                prop_assert_eq!(next.ports.len() + next.without_port.len(), imports.len());
                for (service, port) in &next.ports {
                    prop_assert!(reserved.get(service).is_none_or(|before| before == port));
                }
                reserved = next.reserved;
            }
        }
    }
}
