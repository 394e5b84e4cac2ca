//! Writes a table: everything in order, stored once, and numbered in that order.

use super::Mode;
use super::builder::{BuildError, Grant, TableBuilder, at_most};
use super::layout::{ANY_CALLER, FORMAT_VERSION, Header, MAGIC, MAX_PEERS, MAX_TABLE_BYTES};
use super::letters::letter_of;
use super::rows::{Key, encode as encode_rows, shared_length};
use crate::callers::{CallerPattern, Callers};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn encode(builder: &TableBuilder, generation: u64) -> Result<Vec<u8>, BuildError> {
    let numbers = Numbers::new(builder)?;
    let rows = rows(builder, &numbers);
    let prefix = common_prefix(&rows);
    let mut sections = Sections { row_count: rows.len(), ..Sections::default() };
    sections.names(builder, prefix, &numbers);
    sections.callers(&numbers);
    sections.grant_sets(&numbers);
    sections.rows(&rows, prefix.len());
    sections.write(generation)
}

/// Everything that is referred to by number. In the order of these maps it is numbered, and written.
struct Numbers<'b> {
    /// By trust domain.
    peers: BTreeMap<&'b str, u32>,
    texts: BTreeMap<&'b str, u32>,
    caller_sets: BTreeMap<&'b BTreeSet<CallerPattern>, u32>,
    /// Peers and callers by their own numbers.
    grant_sets: BTreeMap<Vec<(u16, u16)>, u32>,
    /// From the builder's number of some grants to their grant set's.
    renumbered: Vec<u32>,
}

impl<'b> Numbers<'b> {
    fn new(builder: &'b TableBuilder) -> Result<Self, BuildError> {
        let peers = numbered(builder.peers.iter().map(|peer| peer.trust_domain.as_str()));
        at_most("peers", peers.len(), MAX_PEERS as usize)?;
        let caller_sets = numbered(builder.grants.keys().flatten().filter_map(|grant| match &grant.callers {
            Callers::Only(patterns) => Some(patterns),
            Callers::Any => None,
        }));
        at_most("caller sets", caller_sets.len(), ANY_CALLER.into())?;
        let patterns = caller_sets.keys().copied().flatten();
        let texts =
            numbered(patterns.flat_map(|pattern| [pattern.namespace.as_str(), pattern.service_account.as_str()]));
        let numbers = Self { peers, texts, caller_sets, grant_sets: BTreeMap::new(), renumbered: Vec::new() };
        Ok(numbers.with_grant_sets(builder))
    }

    fn with_grant_sets(mut self, builder: &TableBuilder) -> Self {
        let mut sets: Vec<_> =
            builder.grants.iter().map(|(grants, old)| (old, self.entries(builder, grants))).collect();
        sets.sort_unstable_by_key(|(old, _)| **old);
        self.grant_sets = numbered(sets.iter().map(|(_, entries)| entries.clone()));
        self.renumbered = sets.iter().map(|(_, entries)| number_of(&self.grant_sets, entries)).collect();
        self
    }

    fn entries(&self, builder: &TableBuilder, grants: &[Grant]) -> Vec<(u16, u16)> {
        let entry = |grant: &Grant| {
            let trust_domain = builder.peers.get(grant.peer.0)?.trust_domain.as_str();
            let callers = match &grant.callers {
                Callers::Any => ANY_CALLER,
                Callers::Only(patterns) => number_of(&self.caller_sets, patterns) as u16,
            };
            Some((number_of(&self.peers, trust_domain) as u16, callers))
        };
        let mut entries: Vec<_> = grants.iter().filter_map(entry).collect();
        entries.sort_unstable();
        entries
    }
}

fn numbered<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, u32> {
    items.collect::<BTreeSet<T>>().into_iter().zip(0..).collect()
}

/// Each item that is asked for has a number.
fn number_of<T: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(numbers: &BTreeMap<T, u32>, item: &Q) -> u32 {
    numbers.get(item).copied().unwrap_or_default()
}

/// An export on its way into the table: key, port, grant set.
type KeyedRow = (Vec<u8>, u16, u32);

fn rows(builder: &TableBuilder, numbers: &Numbers<'_>) -> Vec<KeyedRow> {
    let row = |(service, grants): (&crate::ServiceName, &usize)| {
        let key = Key::new(service.host.as_str())?.as_bytes().to_vec();
        Some((key, service.port.get(), *numbers.renumbered.get(*grants)?))
    };
    let mut rows: Vec<KeyedRow> = builder.exports.iter().filter_map(row).collect();
    rows.sort_unstable();
    rows
}

/// What all keys begin with: that of the first and the last, since they are in order.
fn common_prefix(rows: &[KeyedRow]) -> &[u8] {
    match (rows.first(), rows.last()) {
        (Some((first, ..)), Some((last, ..))) => first.get(..shared_length(first, last)).unwrap_or_default(),
        _ => &[],
    }
}

/// The sections while they grow. Their numbers cannot overflow in a table that is not refused as too large in the end.
#[derive(Default)]
struct Sections {
    name_ends: Vec<u32>,
    names: Vec<u8>,
    modes: Vec<u8>,
    text_count: usize,
    patterns: Vec<[u32; 2]>,
    caller_ends: Vec<u32>,
    entries: Vec<[u16; 2]>,
    set_ends: Vec<u32>,
    listings: Vec<(u16, u32)>,
    block_starts: Vec<u32>,
    rows: Vec<u8>,
    row_count: usize,
}

impl Sections {
    fn name(&mut self, name: &[u8]) {
        self.names.extend_from_slice(name);
        self.name_ends.push(self.names.len() as u32);
    }

    fn names(&mut self, builder: &TableBuilder, prefix: &[u8], numbers: &Numbers<'_>) {
        self.name(builder.trust_domain.as_str().as_bytes());
        self.name(prefix);
        let mut peers: Vec<_> = builder.peers.iter().collect();
        peers.sort_unstable_by_key(|peer| &peer.trust_domain);
        for peer in peers {
            self.name(peer.trust_domain.as_str().as_bytes());
            self.name(peer.name.as_str().as_bytes());
            self.modes.push(match peer.mode {
                Mode::Enforce => 0,
                Mode::Audit => 1,
            });
        }
        numbers.texts.keys().for_each(|text| self.name(text.as_bytes()));
        self.text_count = numbers.texts.len();
    }

    fn callers(&mut self, numbers: &Numbers<'_>) {
        let text = |pattern: &crate::Pattern| number_of(&numbers.texts, pattern.as_str());
        for patterns in numbers.caller_sets.keys() {
            self.patterns.extend(patterns.iter().map(|p| [text(&p.namespace), text(&p.service_account)]));
            self.caller_ends.push(self.patterns.len() as u32);
        }
    }

    fn grant_sets(&mut self, numbers: &Numbers<'_>) {
        for entries in numbers.grant_sets.keys() {
            self.entries.extend(entries.iter().map(|&(peer, callers)| [peer, callers]));
            self.set_ends.push(self.entries.len() as u32);
        }
    }

    fn rows(&mut self, rows: &[KeyedRow], prefix: usize) {
        let letters = |key: &[u8]| -> Vec<u8> { key.iter().skip(prefix).filter_map(|&c| letter_of(c)).collect() };
        let listings = numbered(rows.iter().map(|(_, port, grant_set)| (*port, *grant_set)));
        let listing = |(key, port, set): &KeyedRow| (letters(key), number_of(&listings, &(*port, *set)));
        (self.rows, self.block_starts) = encode_rows(rows.iter().map(listing));
        self.listings = listings.into_keys().collect();
    }

    fn header(&self, generation: u64) -> Header {
        Header {
            generation,
            name_bytes: self.names.len() as u32,
            peers: self.modes.len() as u32,
            texts: self.text_count as u32,
            patterns: self.patterns.len() as u32,
            caller_sets: self.caller_ends.len() as u32,
            entries: self.entries.len() as u32,
            grant_sets: self.set_ends.len() as u32,
            listings: self.listings.len() as u32,
            rows: self.row_count as u32,
            row_bytes: self.rows.len() as u32,
        }
    }

    fn write(self, generation: u64) -> Result<Vec<u8>, BuildError> {
        let header = self.header(generation);
        let mut out = MAGIC.to_vec();
        let push = |out: &mut Vec<u8>, numbers: &[u32]| out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        push(&mut out, &[FORMAT_VERSION]);
        out.extend(generation.to_le_bytes());
        push(&mut out, &header.counts());
        push(&mut out, &self.name_ends);
        out.extend(self.names);
        out.extend(self.modes);
        push(&mut out, self.patterns.as_flattened());
        push(&mut out, &self.caller_ends);
        out.extend(self.entries.as_flattened().iter().flat_map(|number| number.to_le_bytes()));
        push(&mut out, &self.set_ends);
        for (port, grant_set) in self.listings {
            out.extend(port.to_le_bytes());
            push(&mut out, &[grant_set]);
        }
        push(&mut out, &self.block_starts);
        out.extend(self.rows);
        let hash = Sha256::digest(&out);
        out.extend_from_slice(&hash);
        match out.len() <= MAX_TABLE_BYTES {
            true => Ok(out),
            false => Err(BuildError::TooLarge(out.len())),
        }
    }
}
