use super::bytes::{Cursor, u16_at, u32_at};
use super::check;
use super::layout::{ANY_CALLER, ENTRY_BYTES, Header, PATTERN_BYTES, PEER_BYTES};
use super::rows::{Key, Row, compare_first, find_in_block, host_of};
use super::{ContentHash, Mode, TableError};
use crate::callers::{CallerPattern, Callers, Pattern, pattern_matches};
use crate::name::{Hostname, ServiceName, ServicePort, SpiffeId};
use std::cmp::Ordering;
use std::ops::Range;

/// A checked table. Lookups read its bytes in place and allocate nothing.
#[derive(Clone)]
pub struct Table {
    bytes: Box<[u8]>,
    pub(super) header: Header,
    pub(super) sections: [Range<usize>; 8],
    hash: ContentHash,
}

/// A row of the table: an exported service, found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    grant_set: u32,
}

/// A peer of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRow<'t> {
    pub(super) index: u16,
    /// Its trust domain.
    pub trust_domain: &'t str,
    /// Its `IstioFederation`'s name.
    pub name: &'t str,
    /// Whether refusals take effect.
    pub mode: Mode,
}

/// What the grant set of an export says of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    No,
    /// The owner admits the peer, but nobody of it is granted (audit mode only).
    Nobody,
    OtherCallers,
    Yes,
}

impl Table {
    /// Takes bytes as a table after checking all of them, once.
    ///
    /// # Errors
    /// [`TableError`] says what is wrong with them. Any bytes whatever are answered so; none panic.
    pub fn read(bytes: impl Into<Box<[u8]>>) -> Result<Self, TableError> {
        let bytes = bytes.into();
        let (header, sections) = check::header(&bytes)?;
        let hash = check::trailer(&bytes)?;
        let table = Self { bytes, header, sections, hash };
        check::content(&table)?;
        Ok(table)
    }

    /// The number that grows with each published table.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// The hash of the table's bytes.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// The trust domain of the cluster whose exports these are.
    pub fn trust_domain(&self) -> &str {
        self.string(0, self.header.trust_domain).unwrap_or_default()
    }

    /// How many services (`host:port`) are exported.
    pub fn rows(&self) -> u32 {
        self.header.rows
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> u32 {
        self.header.peers
    }

    /// How many different grant sets the rows share.
    pub fn grant_set_count(&self) -> u32 {
        self.header.grant_sets
    }

    /// The table as it was read.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Looks up an exported service. `host` must be in lower case, as [`crate::Sni`] and [`Hostname`] give it.
    pub fn export(&self, host: &str, port: ServicePort) -> Option<Export> {
        let key = Key::new(host)?;
        let key = key.as_bytes().strip_prefix(self.prefix())?;
        let block = self.block_of(key, port.get())?;
        find_in_block(block, key, port.get()).map(|grant_set| Export { grant_set })
    }

    /// Looks up the peer that has a trust domain.
    pub fn peer_of(&self, trust_domain: &str) -> Option<PeerRow<'_>> {
        let (mut low, mut high) = (0, self.header.peers);
        while low < high {
            let middle = low + (high - low) / 2;
            let peer = self.peer(u16::try_from(middle).ok()?)?;
            match peer.trust_domain.cmp(trust_domain) {
                Ordering::Equal => return Some(peer),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// All peers, in order of trust domain.
    pub fn peers(&self) -> impl Iterator<Item = PeerRow<'_>> {
        (0..self.header.peers).map_while(|index| self.peer(u16::try_from(index).ok()?))
    }

    /// All exports in the table's order. This is for people and tests; it allocates.
    pub fn exports(&self) -> impl Iterator<Item = (ServiceName, Export)> {
        self.keys().map_while(|(key, row)| {
            let host = Hostname::parse(&host_of(&key)?).ok()?;
            let service = ServiceName { host, port: ServicePort::new(row.port)? };
            Some((service, Export { grant_set: row.grant_set }))
        })
    }

    /// The grants of an export, in order of the peers' trust domains. This is for people and tests; it allocates.
    pub fn grants(&self, export: Export) -> Vec<(PeerRow<'_>, Callers)> {
        let entries = self.set_entries(export.grant_set).unwrap_or_default();
        entries.filter_map(|entry| self.entry(entry)).filter_map(|(peer, set)| Some((self.peer(peer)?, self.caller_set(set)?))).collect()
    }

    /// Whether `peer` may reach `export` as `id`.
    pub(crate) fn granted(&self, export: Export, peer: &PeerRow<'_>, id: &SpiffeId<'_>) -> Granted {
        match self.callers_of(export, peer.index) {
            None => Granted::No,
            Some(ANY_CALLER) => Granted::Yes,
            Some(set) => self.admits(set, id).unwrap_or(Granted::No),
        }
    }

    /// The key and row of each export, in order; keys without the prefix that all share are never seen.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Vec<u8>, Row<'_>)> {
        let mut cursor = Cursor::new(self.section(7));
        let mut key = self.prefix().to_vec();
        let prefix = key.len();
        std::iter::from_fn(move || {
            let row = Row::read(&mut cursor)?;
            key.truncate(prefix + row.shared);
            key.extend_from_slice(row.own);
            Some((key.clone(), row))
        })
    }

    pub(super) fn prefix(&self) -> &[u8] {
        let start = self.header.trust_domain as usize;
        self.section(0).get(start..).and_then(|rest| rest.get(..self.header.prefix as usize)).unwrap_or_default()
    }

    pub(super) fn section(&self, number: usize) -> &[u8] {
        self.sections.get(number).and_then(|range| self.bytes.get(range.clone())).unwrap_or_default()
    }

    pub(super) fn string(&self, place: u32, length: u32) -> Option<&str> {
        let start = place as usize;
        let bytes = self.section(0).get(start..start.checked_add(length as usize)?)?;
        std::str::from_utf8(bytes).ok()
    }

    pub(super) fn peer(&self, index: u16) -> Option<PeerRow<'_>> {
        let record = self.section(1).get(usize::from(index) * PEER_BYTES..)?;
        let mode = match u32_at(record, 12)? {
            0 => Mode::Enforce,
            1 => Mode::Audit,
            _ => return None,
        };
        Some(PeerRow {
            index,
            trust_domain: self.string(u32_at(record, 0)?, u16_at(record, 4)?.into())?,
            name: self.string(u32_at(record, 8)?, u16_at(record, 6)?.into())?,
            mode,
        })
    }

    pub(super) fn pattern(&self, number: u32) -> Option<(&str, &str)> {
        let record = self.section(2).get((number as usize).checked_mul(PATTERN_BYTES)?..)?;
        let namespace = self.string(u32_at(record, 0)?, u16_at(record, 8)?.into())?;
        Some((namespace, self.string(u32_at(record, 4)?, u16_at(record, 10)?.into())?))
    }

    /// The patterns of a set of callers.
    pub(super) fn caller_patterns(&self, set: u16) -> Option<Range<u32>> {
        self.span(3, set.into())
    }

    /// The entries of a grant set.
    pub(super) fn set_entries(&self, set: u32) -> Option<Range<u32>> {
        self.span(5, set)
    }

    /// The peer and the callers of an entry.
    pub(super) fn entry(&self, number: u32) -> Option<(u16, u16)> {
        let record = self.section(4).get((number as usize).checked_mul(ENTRY_BYTES)?..)?;
        Some((u16_at(record, 0)?, u16_at(record, 2)?))
    }

    pub(super) fn block_start(&self, number: u32) -> Option<usize> {
        u32_at(self.section(6), (number as usize).checked_mul(4)?).map(|start| start as usize)
    }

    /// From a section of ends: where item `number` begins and ends.
    fn span(&self, section: usize, number: u32) -> Option<Range<u32>> {
        let ends = self.section(section);
        let at = (number as usize).checked_mul(4)?;
        let start = match at.checked_sub(4) {
            Some(before) => u32_at(ends, before)?,
            None => 0,
        };
        Some(start..u32_at(ends, at)?)
    }

    /// The last block whose first row is not behind the key.
    fn block_of(&self, key: &[u8], port: u16) -> Option<&[u8]> {
        let rows = self.section(7);
        let (mut low, mut high) = (0, self.header.blocks());
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let block = rows.get(self.block_start(middle)?..)?;
            match compare_first(&Row::read(&mut Cursor::new(block))?, key, port) {
                Ordering::Greater => high = middle,
                _ => {
                    found = Some(block);
                    low = middle + 1;
                }
            }
        }
        found
    }

    fn callers_of(&self, export: Export, peer: u16) -> Option<u16> {
        let Range { start: mut low, end: mut high } = self.set_entries(export.grant_set)?;
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, callers) = self.entry(middle)?;
            match found.cmp(&peer) {
                Ordering::Equal => return Some(callers),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn admits(&self, set: u16, id: &SpiffeId<'_>) -> Option<Granted> {
        let mut patterns = self.caller_patterns(set)?;
        if patterns.is_empty() {
            return Some(Granted::Nobody);
        }
        let Some((namespace, account)) = id.caller() else { return Some(Granted::OtherCallers) };
        let matches = |number| {
            self.pattern(number).is_some_and(|(n, a)| pattern_matches(n, namespace) && pattern_matches(a, account))
        };
        Some(if patterns.any(matches) { Granted::Yes } else { Granted::OtherCallers })
    }

    fn caller_set(&self, set: u16) -> Option<Callers> {
        if set == ANY_CALLER {
            return Some(Callers::Any);
        }
        let pattern = |number| {
            let (namespace, account) = self.pattern(number)?;
            let service_account = Pattern::parse(account).ok()?;
            Some(CallerPattern { namespace: Pattern::parse(namespace).ok()?, service_account })
        };
        self.caller_patterns(set)?.map(pattern).collect::<Option<_>>().map(Callers::Only)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("trust_domain", &self.trust_domain())
            .field("generation", &self.generation())
            .field("rows", &self.rows())
            .field("peers", &self.peer_count())
            .field("hash", &self.hash)
            .finish()
    }
}
