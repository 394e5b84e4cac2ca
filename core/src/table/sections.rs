//! A table's bytes, split into sections. Every access may fail, because the check reads through
//! this module before it knows that the bytes are valid.

use super::Mode;
use super::bytes::{Cursor, u16_at, u32_at};
use super::layout::{
    ENTRY_BYTES, FIRST_PEER_NAME, Header, LISTING_BYTES, PATTERN_BYTES, SECTIONS, Section, mode_of,
};
use super::letters::{Letters, character_of};
use super::rows::{Row, find_in_block};
use std::cmp::Ordering;
use std::ops::Range;

#[derive(Clone)]
pub(super) struct Sections {
    pub(super) bytes: Box<[u8]>,
    pub(super) header: Header,
    pub(super) ranges: [Range<usize>; SECTIONS],
}

impl Sections {
    pub(super) fn section(&self, section: Section) -> &[u8] {
        self.ranges
            .get(section as usize)
            .and_then(|range| self.bytes.get(range.clone()))
            .unwrap_or_default()
    }

    /// The range of item `number`, from a section that holds the end of each item.
    fn span(&self, ends: Section, number: u32) -> Option<Range<u32>> {
        let ends = self.section(ends);
        let start = match number.checked_sub(1) {
            Some(before) => u32_at(ends, offset(before, 4)?)?,
            None => 0,
        };
        Some(start..u32_at(ends, offset(number, 4)?)?)
    }

    fn name_bytes(&self, number: u32) -> Option<&[u8]> {
        let Range { start, end } = self.span(Section::NameEnds, number)?;
        self.section(Section::Names).get(start as usize..end as usize)
    }

    pub(super) fn name(&self, number: u32) -> Option<&str> {
        std::str::from_utf8(self.name_bytes(number)?).ok()
    }

    pub(super) fn trust_domain(&self) -> Option<&str> {
        self.name(0)
    }

    /// The common prefix of all keys.
    pub(super) fn prefix(&self) -> &[u8] {
        self.name_bytes(1).unwrap_or_default()
    }

    fn peer_name(index: u16) -> u32 {
        FIRST_PEER_NAME + 2 * u32::from(index)
    }

    pub(super) fn peer_trust_domain(&self, index: u16) -> Option<&str> {
        self.name(Self::peer_name(index))
    }

    pub(super) fn peer(&self, index: u16) -> Option<(&str, &str, Mode)> {
        let mode = mode_of(*self.section(Section::Modes).get(usize::from(index))?)?;
        Some((self.peer_trust_domain(index)?, self.name(Self::peer_name(index) + 1)?, mode))
    }

    /// Finds the peer with this trust domain by binary search.
    pub(super) fn find_peer(&self, trust_domain: &str) -> Option<u16> {
        let number = search(0..self.header.peers, |index| {
            let found = self.name_bytes(Self::peer_name(u16::try_from(index).ok()?))?;
            Some(found.cmp(trust_domain.as_bytes()))
        })?;
        u16::try_from(number).ok()
    }

    pub(super) fn text(&self, number: u32) -> Option<&str> {
        let first = FIRST_PEER_NAME.checked_add(self.header.peers.checked_mul(2)?)?;
        self.name(first.checked_add(number)?)
    }

    /// The numbers of a pattern's texts: namespace and service account.
    pub(super) fn pattern(&self, number: u32) -> Option<(u32, u32)> {
        let at = offset(number, PATTERN_BYTES)?;
        let patterns = self.section(Section::Patterns);
        Some((u32_at(patterns, at)?, u32_at(patterns, at.checked_add(4)?)?))
    }

    /// The patterns in a set of callers.
    pub(super) fn caller_patterns(&self, set: u16) -> Option<Range<u32>> {
        self.span(Section::CallerEnds, set.into())
    }

    /// The entries in a grant set.
    pub(super) fn set_entries(&self, set: u32) -> Option<Range<u32>> {
        self.span(Section::SetEnds, set)
    }

    /// An entry's peer and callers.
    pub(super) fn entry(&self, number: u32) -> Option<(u16, u16)> {
        let at = offset(number, ENTRY_BYTES)?;
        let entries = self.section(Section::Entries);
        Some((u16_at(entries, at)?, u16_at(entries, at.checked_add(2)?)?))
    }

    /// Finds a peer's callers in a grant set by binary search.
    pub(super) fn find_callers(&self, set: u32, peer: u16) -> Option<u16> {
        let found =
            search(self.set_entries(set)?, |number| Some(self.entry(number)?.0.cmp(&peer)))?;
        Some(self.entry(found)?.1)
    }

    /// A listing's port and grant set.
    pub(super) fn listing(&self, number: u32) -> Option<(u16, u32)> {
        let at = offset(number, LISTING_BYTES)?;
        let listings = self.section(Section::Listings);
        Some((u16_at(listings, at)?, u32_at(listings, at.checked_add(2)?)?))
    }

    /// Compares the port of a listing with `port`.
    fn compare_port(&self, listing: u32, port: u16) -> Option<Ordering> {
        Some(self.listing(listing)?.0.cmp(&port))
    }

    pub(super) fn block_start(&self, number: u32) -> Option<usize> {
        u32_at(self.section(Section::BlockStarts), offset(number, 4)?).map(|start| start as usize)
    }

    /// Finds an export's listing by key and port.
    pub(super) fn find_row(&self, key: &Letters, port: u16) -> Option<u32> {
        let block = self.block_of(key, port)?;
        find_in_block(block, key.as_slice(), |listing| self.compare_port(listing, port))
    }

    /// The last block whose first row does not sort after the key and port.
    fn block_of(&self, key: &Letters, port: u16) -> Option<&[u8]> {
        let rows = self.section(Section::Rows);
        let (mut low, mut high) = (0, self.header.blocks());
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let block = rows.get(self.block_start(middle)?..)?;
            let first = Row::read(&mut Cursor::new(block))?;
            let order = match first.compare_as_first(key) {
                Ordering::Equal => self.compare_port(first.listing, port)?,
                other => other,
            };
            match order {
                Ordering::Greater => high = middle,
                _ => {
                    found = Some(block);
                    low = middle + 1;
                }
            }
        }
        found
    }

    /// The key and row of each export, in order, up to the first unreadable row.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Vec<u8>, Row<'_>)> {
        let mut cursor = Cursor::new(self.section(Section::Rows));
        let mut key = self.prefix().to_vec();
        let prefix = key.len();
        std::iter::from_fn(move || {
            let row = Row::read(&mut cursor)?;
            key.truncate(prefix + row.shared);
            extend_with_own(&mut key, &row)?;
            Some((key.clone(), row))
        })
    }
}

/// Appends a row's own letters to `key`; returns `None` if one of them is not a valid letter.
pub(super) fn extend_with_own(key: &mut Vec<u8>, row: &Row<'_>) -> Option<()> {
    row.own().try_for_each(|letter| character_of(letter).map(|character| key.push(character)))
}

/// The offset of item `number` in a section. Checked, since `usize` has 32 bits in wasm.
fn offset(number: u32, bytes: usize) -> Option<usize> {
    usize::try_from(number).ok()?.checked_mul(bytes)
}

/// Binary search. `compare` compares the item with a number to the one searched for.
fn search(numbers: Range<u32>, compare: impl Fn(u32) -> Option<Ordering>) -> Option<u32> {
    let Range { start: mut low, end: mut high } = numbers;
    while low < high {
        let middle = low + (high - low) / 2;
        match compare(middle)? {
            Ordering::Equal => return Some(middle),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    None
}
