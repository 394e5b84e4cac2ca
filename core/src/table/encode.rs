//! Turns a builder's content into the parts of a table: everything in order, stored once, and
//! numbered in that order.

use super::builder::{BuildError, Grant, TableBuilder, at_most};
use super::layout::{ANY_CALLER, MAX_PEERS, MAX_TABLE_BYTES, PASSTHROUGH, mode_byte};
use super::letters::letter_of;
use super::parts::Parts;
use super::rows::{Key, shared_length};
use crate::callers::{CallerPattern, Callers, Pattern};
use std::collections::{BTreeMap, BTreeSet};

impl TableBuilder {
    /// Writes the table. `generation` must be below 2^53, because Istio carries JSON numbers as
    /// doubles.
    ///
    /// # Errors
    /// [`BuildError::TooMany`] or [`BuildError::TooLarge`]; a table is never truncated.
    pub fn build(&self, generation: u64) -> Result<Vec<u8>, BuildError> {
        let bytes = parts(self)?.write(generation);
        match bytes.len() <= MAX_TABLE_BYTES {
            true => Ok(bytes),
            false => Err(BuildError::TooLarge(bytes.len())),
        }
    }
}

/// Sorts and numbers the builder's content.
pub(super) fn parts(builder: &TableBuilder) -> Result<Parts, BuildError> {
    let numbers = Numbers::new(builder)?;
    let rows = keyed_rows(builder, &numbers);
    let listings = numbered(rows.iter().map(|(_, port, grant_set)| (*port, *grant_set)));
    let prefix = common_prefix(&rows);
    let letters =
        |key: &[u8]| key.iter().skip(prefix.len()).filter_map(|&c| letter_of(c)).collect();
    let row = |(key, port, set): &KeyedRow| (letters(key), number_of(&listings, &(*port, *set)));
    let (peer_names, modes) = peers(builder);
    let names = [builder.trust_domain.as_str().as_bytes(), prefix].into_iter().chain(peer_names);
    Ok(Parts {
        names: names
            .chain(numbers.texts.keys().map(|text| text.as_bytes()))
            .map(<[u8]>::to_vec)
            .collect(),
        modes,
        caller_sets: numbers
            .caller_sets
            .keys()
            .map(|patterns| numbers.patterns(patterns))
            .collect(),
        rows: rows.iter().map(row).collect(),
        listings: listings.into_keys().collect(),
        grant_sets: numbers.grant_sets.into_keys().collect(),
    })
}

/// The peers' trust domains and names, in order of trust domain, and their modes.
fn peers(builder: &TableBuilder) -> (Vec<&[u8]>, Vec<u8>) {
    let mut peers: Vec<_> = builder.peers.iter().collect();
    peers.sort_unstable_by_key(|peer| &peer.trust_domain);
    let names = peers
        .iter()
        .flat_map(|peer| [peer.trust_domain.as_str().as_bytes(), peer.name.as_str().as_bytes()]);
    (names.collect(), peers.iter().map(|peer| mode_byte(peer.mode)).collect())
}

/// Everything that is referred to by number. Each map's order is the order of the numbers and of
/// the items in the table.
struct Numbers<'b> {
    /// By trust domain.
    peers: BTreeMap<&'b str, u32>,
    texts: BTreeMap<&'b str, u32>,
    caller_sets: BTreeMap<&'b BTreeSet<CallerPattern>, u32>,
    /// By (peer, callers) entries.
    grant_sets: BTreeMap<Vec<[u16; 2]>, u32>,
    /// Maps the builder's number of a grant set to its number in the table.
    renumbered: Vec<u32>,
}

impl<'b> Numbers<'b> {
    fn new(builder: &'b TableBuilder) -> Result<Self, BuildError> {
        let peers = numbered(builder.peers.iter().map(|peer| peer.trust_domain.as_str()));
        at_most("peers", peers.len(), MAX_PEERS as usize)?;
        let caller_sets =
            numbered(builder.grants.keys().flatten().filter_map(|grant| match &grant.callers {
                Callers::Only(patterns) => Some(patterns),
                Callers::Any => None,
            }));
        at_most("caller sets", caller_sets.len(), ANY_CALLER.into())?;
        let patterns = caller_sets.keys().copied().flatten();
        let texts =
            numbered(patterns.flat_map(|pattern| {
                [pattern.namespace.as_str(), pattern.service_account.as_str()]
            }));
        let numbers =
            Self { peers, texts, caller_sets, grant_sets: BTreeMap::new(), renumbered: Vec::new() };
        Ok(numbers.with_grant_sets(builder))
    }

    fn patterns(&self, patterns: &BTreeSet<CallerPattern>) -> Vec<[u32; 2]> {
        let number = |text: &Pattern| number_of(&self.texts, text.as_str());
        patterns
            .iter()
            .map(|pattern| [number(&pattern.namespace), number(&pattern.service_account)])
            .collect()
    }

    fn with_grant_sets(mut self, builder: &TableBuilder) -> Self {
        let mut sets: Vec<_> = builder
            .grants
            .iter()
            .map(|(grants, old)| (old, self.entries(builder, grants)))
            .collect();
        sets.sort_unstable_by_key(|(old, _)| **old);
        self.grant_sets = numbered(sets.iter().map(|(_, entries)| entries.clone()));
        self.renumbered =
            sets.iter().map(|(_, entries)| number_of(&self.grant_sets, entries)).collect();
        self
    }

    fn entries(&self, builder: &TableBuilder, grants: &[Grant]) -> Vec<[u16; 2]> {
        let entry = |grant: &Grant| {
            let trust_domain = builder.peers.get(grant.peer.0)?.trust_domain.as_str();
            let callers = match &grant.callers {
                Callers::Any => ANY_CALLER,
                Callers::Only(patterns) => number_of(&self.caller_sets, patterns) as u16,
            };
            Some([number_of(&self.peers, trust_domain) as u16, callers])
        };
        let mut entries: Vec<_> = grants.iter().filter_map(entry).collect();
        entries.sort_unstable();
        entries
    }
}

fn numbered<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, u32> {
    items.collect::<BTreeSet<T>>().into_iter().zip(0..).collect()
}

/// Every item that is looked up has a number.
fn number_of<T: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(
    numbers: &BTreeMap<T, u32>,
    item: &Q,
) -> u32 {
    numbers.get(item).copied().unwrap_or_default()
}

/// An export to be written: key, port, grant set.
type KeyedRow = (Vec<u8>, u16, u32);

fn keyed_rows(builder: &TableBuilder, numbers: &Numbers<'_>) -> Vec<KeyedRow> {
    let row = |(service, grants): (&crate::ServiceName, &Option<usize>)| {
        let key = Key::new(service.host.as_str())?.as_bytes().to_vec();
        let grant_set = match grants {
            Some(grants) => *numbers.renumbered.get(*grants)?,
            None => PASSTHROUGH,
        };
        Some((key, service.port.get(), grant_set))
    };
    let mut rows: Vec<KeyedRow> = builder.exports.iter().filter_map(row).collect();
    rows.sort_unstable();
    rows
}

/// The common prefix of all keys. The rows are sorted, so the first and the last key determine it.
fn common_prefix(rows: &[KeyedRow]) -> &[u8] {
    match (rows.first(), rows.last()) {
        (Some((first, ..)), Some((last, ..))) => {
            first.get(..shared_length(first, last)).unwrap_or_default()
        }
        _ => &[],
    }
}
