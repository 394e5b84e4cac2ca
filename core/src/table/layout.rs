//! The layout of a table, shared by builder and reader.

use super::Mode;
use std::ops::RangeInclusive;

/// The newest version of the format. It is written only for tables that need it; newer versions are
/// refused.
pub(super) const FORMAT_VERSION: u32 = 2;

/// The version of a table without passthrough. It is written whenever it suffices, so that filters
/// older than the controller can still read the table.
pub(super) const PLAIN_VERSION: u32 = 1;

/// The versions of the format that this program reads. It writes the lowest that suffices.
pub const FORMAT_VERSIONS: RangeInclusive<u32> = PLAIN_VERSION..=FORMAT_VERSION;

/// The maximum size of a table in bytes: ten times what 100,000 exports take. A longer table is
/// refused unread.
pub const MAX_TABLE_BYTES: usize = 16 << 20;

/// The maximum number of caller patterns in one grant: they are tried one by one for each
/// connection.
pub const MAX_CALLER_PATTERNS: usize = 1_000;

pub(super) const MAGIC: [u8; 8] = *b"FEDGATE\0";
pub(super) const VERSION_AT: usize = 8;
pub(super) const GENERATION_AT: usize = 12;
pub(super) const COUNTS_AT: usize = 20;
pub(super) const HEADER_BYTES: usize = COUNTS_AT + COUNTS * 4;
pub(super) const COUNTS: usize = 10;
pub(super) const HASH_BYTES: usize = 32;

/// The number of rows per block. The binary search goes to blocks, not to rows.
pub(super) const ROWS_PER_BLOCK: u32 = 32;

/// Stands for every caller of the peer, in place of the number of a caller set.
pub(super) const ANY_CALLER: u16 = u16::MAX;

/// Stands for passthrough, in place of a listing's grant set: the gateway sees no caller, so there
/// is nothing to grant.
pub(super) const PASSTHROUGH: u32 = u32::MAX;

/// The maximum number of peers: their numbers have 16 bits.
pub(super) const MAX_PEERS: u32 = u16::MAX as u32;

/// The index of the first peer's trust domain among the names. Its name follows, then the next
/// peer.
pub(super) const FIRST_PEER_NAME: u32 = 2;

pub(super) const PATTERN_BYTES: usize = 8;
pub(super) const ENTRY_BYTES: usize = 4;
pub(super) const LISTING_BYTES: usize = 6;

pub(super) fn mode_byte(mode: Mode) -> u8 {
    match mode {
        Mode::Enforce => 0,
        Mode::Audit => 1,
    }
}

pub(super) fn mode_of(byte: u8) -> Option<Mode> {
    [Mode::Enforce, Mode::Audit].into_iter().find(|&mode| mode_byte(mode) == byte)
}

/// The header: version, generation, and the counts in their order in the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) generation: u64,
    /// Total bytes of all names.
    pub(super) name_bytes: u32,
    pub(super) peers: u32,
    /// Distinct texts of caller patterns.
    pub(super) texts: u32,
    pub(super) patterns: u32,
    pub(super) caller_sets: u32,
    pub(super) entries: u32,
    pub(super) grant_sets: u32,
    /// Distinct pairs of port and grant set.
    pub(super) listings: u32,
    pub(super) rows: u32,
    /// Total bytes of all rows.
    pub(super) row_bytes: u32,
}

/// The sections, in their order in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    NameEnds,
    Names,
    Modes,
    Patterns,
    CallerEnds,
    Entries,
    SetEnds,
    Listings,
    BlockStarts,
    Rows,
}

pub(super) const SECTIONS: usize = 10;

impl Header {
    pub(super) fn blocks(&self) -> u32 {
        self.rows.div_ceil(ROWS_PER_BLOCK)
    }

    /// The number of names. In 64 bits, since untrusted counts must not overflow.
    fn names(&self) -> u64 {
        u64::from(FIRST_PEER_NAME) + 2 * u64::from(self.peers) + u64::from(self.texts)
    }

    /// The lengths of the sections in bytes.
    pub(super) fn section_lengths(&self) -> [u64; SECTIONS] {
        let records = |count: u32, bytes: usize| u64::from(count) * bytes as u64;
        [
            self.names() * 4,
            self.name_bytes.into(),
            self.peers.into(),
            records(self.patterns, PATTERN_BYTES),
            records(self.caller_sets, 4),
            records(self.entries, ENTRY_BYTES),
            records(self.grant_sets, 4),
            records(self.listings, LISTING_BYTES),
            records(self.blocks(), 4),
            self.row_bytes.into(),
        ]
    }

    pub(super) fn counts(&self) -> [u32; COUNTS] {
        let Self {
            version: _,
            generation: _,
            name_bytes,
            peers,
            texts,
            patterns,
            caller_sets,
            entries,
            grant_sets,
            listings,
            rows,
            row_bytes,
        } = *self;
        [
            name_bytes,
            peers,
            texts,
            patterns,
            caller_sets,
            entries,
            grant_sets,
            listings,
            rows,
            row_bytes,
        ]
    }

    pub(super) fn new(version: u32, generation: u64, counts: [u32; COUNTS]) -> Self {
        let [
            name_bytes,
            peers,
            texts,
            patterns,
            caller_sets,
            entries,
            grant_sets,
            listings,
            rows,
            row_bytes,
        ] = counts;
        Self {
            version,
            generation,
            name_bytes,
            peers,
            texts,
            patterns,
            caller_sets,
            entries,
            grant_sets,
            listings,
            rows,
            row_bytes,
        }
    }
}
