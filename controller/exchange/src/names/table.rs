//! The names that are answered for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The names of imports and of `FederatedService`s with their addresses, and the zones in which no other name exists.
///
/// Names are in lower case and have no dot at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    zones: BTreeSet<String>,
    entries: BTreeMap<String, BTreeSet<IpAddr>>,
    serial: u32,
}

/// What is known about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// It exists in this zone; without addresses if it is the zone itself, or only the parent of
    /// other names.
    Exists(&'a str, Option<&'a BTreeSet<IpAddr>>),
    /// It does not exist, and this zone would have it.
    Missing(&'a str),
    /// It is in no zone.
    Elsewhere,
}

impl Names {
    /// The names of these hosts, and their zones besides `zones`. A zone without names is needed
    /// too: it makes clear that a name does not exist.
    pub fn new(
        zones: impl IntoIterator<Item = String>,
        hosts: impl IntoIterator<Item = (String, BTreeSet<IpAddr>)>,
    ) -> Self {
        let mut names = Self { zones: zones.into_iter().collect(), ..Self::default() };
        for (host, addresses) in hosts {
            let known = ancestors(&host).skip(1).find(|name| names.zones.contains(*name));
            let Some(zone) = known.or_else(|| zone_of(&host)) else { continue };
            names.zones.insert(zone.to_owned());
            names.add_parents(&host, zone);
            names.entries.entry(host).or_default().extend(addresses);
        }
        names
    }

    /// The same with a serial number, which must grow with each change.
    pub fn with_serial(self, serial: u32) -> Self {
        Self { serial, ..self }
    }

    /// Returns true if both say the same about each name.
    pub fn has_the_same_as(&self, other: &Self) -> bool {
        self.zones == other.zones && self.entries == other.entries
    }

    /// The serial number.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// How many names have addresses.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|addresses| !addresses.is_empty()).count()
    }

    /// Returns true if no name has an address.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The zones.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.zones.iter().map(String::as_str)
    }

    /// What is known about a name.
    pub(super) fn find(&self, name: &str) -> Found<'_> {
        let mut above = ancestors(name);
        let Some(zone) = above.find_map(|name| self.zones.get(name)) else {
            return Found::Elsewhere;
        };
        match self.entries.get(name) {
            Some(addresses) => Found::Exists(zone, (!addresses.is_empty()).then_some(addresses)),
            None if name == zone => Found::Exists(zone, None),
            None => Found::Missing(zone),
        }
    }

    /// A parent exists, though it has no address. A resolver that is told otherwise may conclude
    /// that nothing below it exists (RFC 8020).
    fn add_parents(&mut self, host: &str, zone: &str) {
        let parents = ancestors(host).skip(1).take_while(|parent| *parent != zone);
        for parent in parents {
            self.entries.entry(parent.to_owned()).or_default();
        }
    }
}

/// The zone of an imported host: what its peer owns, `svc.` and the trust domain. Before it are the
/// names of the Service and its namespace, and that of a Pod. The zone of any other host is its
/// parent.
pub fn zone_of(host: &str) -> Option<&str> {
    let (_, parent) = host.split_once('.')?;
    let of_peer = ancestors(host).skip(2).take(2).find(|zone| zone.starts_with("svc."));
    Some(of_peer.unwrap_or(parent))
}

/// The name, its parent, and so on.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
}
