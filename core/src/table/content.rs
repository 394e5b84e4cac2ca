//! Checks the content of a table whose length and checksum are right, because an attacker can get
//! those right, too.
//!
//! The check takes time and memory linear in the table's size. It accepts only what
//! [`super::TableBuilder`] could have written: everything is in order, stored once, and used, so
//! equal content has equal bytes.

use super::TableError;
use super::bytes::Cursor;
use super::layout::{
    ANY_CALLER, MAX_CALLER_PATTERNS, MAX_PEERS, PASSTHROUGH, PLAIN_VERSION, ROWS_PER_BLOCK, Section,
};
use super::letters::letter_of;
use super::rows::{Row, shared_length};
use super::sections::{Sections, extend_with_own};
use crate::callers::check_pattern;
use crate::name::{Hostname, PeerName, TrustDomain, check_labels};
use std::ops::Range;

pub(super) fn check(table: &Sections) -> Result<(), TableError> {
    names(table).ok_or(TableError::Content("names"))?;
    peers(table).ok_or(TableError::Content("peers"))?;
    caller_sets(table).ok_or(TableError::Content("callers"))?;
    grant_sets(table).ok_or(TableError::Content("grants"))?;
    listings(table).ok_or(TableError::Content("listings"))?;
    rows(table).ok_or(TableError::Content("exports"))
}

fn require(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// Marks which numbered items have been used. In the end, every item must be.
struct Used(Vec<bool>);

impl Used {
    fn none_of(count: u32) -> Self {
        Self(vec![false; count as usize])
    }

    /// Returns `None` if there is no such item.
    fn mark(&mut self, number: u32) -> Option<()> {
        self.0.get_mut(number as usize).map(|used| *used = true)
    }

    fn all(self) -> Option<()> {
        require(self.0.into_iter().all(|used| used))
    }
}

/// Each name ends where the next begins, and the last ends with the section.
fn names(table: &Sections) -> Option<()> {
    require(table.header.peers <= MAX_PEERS)?;
    let (ends, _) = table.section(Section::NameEnds).as_chunks();
    let mut before = 0;
    for end in ends {
        let end = u32::from_le_bytes(*end);
        require(before <= end)?;
        before = end;
    }
    require(before == table.header.name_bytes)?;
    TrustDomain::parse(table.trust_domain()?).ok()?;
    require(
        table.prefix().len() <= Hostname::MAX_BYTES
            && table.prefix().iter().all(|&c| letter_of(c).is_some()),
    )
}

fn peers(table: &Sections) -> Option<()> {
    let mut before = "";
    for index in 0..table.header.peers {
        let (trust_domain, name, _) = table.peer(u16::try_from(index).ok()?)?;
        TrustDomain::parse(trust_domain).ok()?;
        PeerName::parse(name).ok()?;
        require(before < trust_domain)?;
        before = trust_domain;
    }
    Some(())
}

fn caller_sets(table: &Sections) -> Option<()> {
    texts(table)?;
    require(table.header.caller_sets <= u32::from(ANY_CALLER))?;
    let mut used = Used::none_of(table.header.texts);
    let mut before = 0..0;
    for number in 0..table.header.caller_sets {
        let patterns = table.caller_patterns(u16::try_from(number).ok()?)?;
        require(patterns.end <= table.header.patterns && patterns.len() <= MAX_CALLER_PATTERNS)?;
        require(follows(&before, &patterns, number == 0, |number| table.pattern(number)))?;
        caller_set(table, patterns.clone(), &mut used)?;
        before = patterns;
    }
    require(before.end == table.header.patterns)?;
    used.all()
}

fn caller_set(table: &Sections, patterns: Range<u32>, used: &mut Used) -> Option<()> {
    let mut before = None;
    for number in patterns {
        let pattern = table.pattern(number)?;
        require(before < Some(pattern))?;
        used.mark(pattern.0)?;
        used.mark(pattern.1)?;
        before = Some(pattern);
    }
    Some(())
}

fn texts(table: &Sections) -> Option<()> {
    let mut before = "";
    for number in 0..table.header.texts {
        let text = table.text(number)?;
        check_pattern(text).ok()?;
        require(before < text)?;
        before = text;
    }
    Some(())
}

/// Returns true if set `next` sorts after set `before`. The strict order rules out equal sets. It
/// also rules out a set whose end is before its start: that is an empty range, and no set sorts
/// before an empty one.
fn follows<T: Ord>(
    before: &Range<u32>,
    next: &Range<u32>,
    is_first: bool,
    item: impl Fn(u32) -> T,
) -> bool {
    is_first || before.clone().map(&item).lt(next.clone().map(&item))
}

fn grant_sets(table: &Sections) -> Option<()> {
    let mut used = Used::none_of(table.header.caller_sets);
    let mut before = 0..0;
    for number in 0..table.header.grant_sets {
        let entries = table.set_entries(number)?;
        require(entries.end <= table.header.entries)?;
        require(follows(&before, &entries, number == 0, |number| table.entry(number)))?;
        grant_set(table, entries.clone(), &mut used)?;
        before = entries;
    }
    require(before.end == table.header.entries)?;
    used.all()
}

fn grant_set(table: &Sections, entries: Range<u32>, used: &mut Used) -> Option<()> {
    let mut least = 0;
    for number in entries {
        let (peer, callers) = table.entry(number)?;
        require(least <= u32::from(peer) && u32::from(peer) < table.header.peers)?;
        least = u32::from(peer) + 1;
        if callers != ANY_CALLER {
            used.mark(callers.into())?;
        }
    }
    Some(())
}

fn listings(table: &Sections) -> Option<()> {
    let mut used = Used::none_of(table.header.grant_sets);
    let mut before = None;
    let mut passes_through = false;
    for number in 0..table.header.listings {
        let listing = table.listing(number)?;
        require(listing.0 != 0 && before < Some(listing))?;
        match listing.1 {
            PASSTHROUGH => passes_through = true,
            grant_set => used.mark(grant_set)?,
        }
        before = Some(listing);
    }
    // Each content has one spelling: a table without passthrough must have the older version.
    require(passes_through == (table.header.version > PLAIN_VERSION))?;
    used.all()
}

/// Rows are in order, blocks begin where the index says, and the prefix is as long as possible.
fn rows(table: &Sections) -> Option<()> {
    let section = table.section(Section::Rows);
    let mut cursor = Cursor::new(section);
    let mut walk = Walk::new(table);
    let mut first = Vec::new();
    for number in 0..table.header.rows {
        let starts_block = number % ROWS_PER_BLOCK == 0;
        if starts_block {
            require(
                table.block_start(number / ROWS_PER_BLOCK)? == section.len() - cursor.remaining(),
            )?;
        }
        let row = Row::read(&mut cursor)?;
        walk.step(&row, table.listing(row.listing)?.0, starts_block)?;
        if number == 0 {
            first.clone_from(&walk.key);
        }
    }
    require(cursor.remaining() == 0 && shared_length(&first, &walk.key) == walk.prefix)?;
    walk.used.all()
}

/// Returns true if two keys that agree before `index` differ at it.
fn differ_at(before: &[u8], key: &[u8], index: usize) -> bool {
    key.get(index).is_none_or(|new| before.get(index) != Some(new))
}

/// Walks from row to row. It holds the keys of the current row and the row before, prefixes
/// included.
struct Walk {
    prefix: usize,
    key: Vec<u8>,
    before: Vec<u8>,
    port: u16,
    is_first: bool,
    used: Used,
}

impl Walk {
    fn new(table: &Sections) -> Self {
        let key = table.prefix().to_vec();
        let used = Used::none_of(table.header.listings);
        Self { prefix: key.len(), key, before: Vec::new(), port: 0, is_first: true, used }
    }

    /// Takes the next row. It must name a host, sort after the row before, and share as many
    /// letters with it as possible.
    fn step(&mut self, row: &Row<'_>, port: u16, starts_block: bool) -> Option<()> {
        std::mem::swap(&mut self.key, &mut self.before);
        self.set_key(row)?;
        require((&self.before, self.port) < (&self.key, port))?;
        match starts_block {
            true => require(row.shared == 0)?,
            false => require(differ_at(&self.before, &self.key, self.prefix + row.shared))?,
        }
        (self.port, self.is_first) = (port, false);
        self.used.mark(row.listing)
    }

    fn set_key(&mut self, row: &Row<'_>) -> Option<()> {
        let shared = self.prefix + row.shared;
        self.key.clear();
        self.key.extend_from_slice(self.before.get(..shared)?);
        extend_with_own(&mut self.key, row)?;
        require(row.is_padded_with_zeros() && self.key.len() <= Hostname::MAX_BYTES)?;
        check_labels(self.key.get(self.first_new_label(shared)..)?).ok()
    }

    /// Where the first label begins that the row before does not have. The labels are in reverse
    /// order, but each is still a valid label.
    fn first_new_label(&self, shared: usize) -> usize {
        let mut known = self.before.iter().take(if self.is_first { 0 } else { shared });
        known.rposition(|&byte| byte == b'.').map_or(0, |dot| dot + 1)
    }
}
