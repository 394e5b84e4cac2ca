//! Where things stand in a table. Builder and reader both go by this file.

use super::Mode;

/// The newest version of the format that this code reads. It is written when it is needed, and no newer one is read.
pub const FORMAT_VERSION: u32 = 2;

/// The version of a table in which no TLS is passed through. It is written wherever it says enough, so that a filter that is older than
/// the controller can go on reading.
pub(super) const PLAIN_VERSION: u32 = 1;

/// The most bytes that a table may have: ten times what 100,000 exports take. A longer one is refused unread.
pub const MAX_TABLE_BYTES: usize = 16 << 20;

/// The most caller patterns that one grant may have: they are tried one by one for each connection.
pub const MAX_CALLER_PATTERNS: usize = 1_000;

pub(super) const MAGIC: [u8; 8] = *b"FEDGATE\0";
pub(super) const VERSION_AT: usize = 8;
pub(super) const GENERATION_AT: usize = 12;
pub(super) const COUNTS_AT: usize = 20;
pub(super) const HEADER_BYTES: usize = COUNTS_AT + COUNTS * 4;
/// How many counts stand in the header.
pub(super) const COUNTS: usize = 10;
pub(super) const HASH_BYTES: usize = 32;

/// Rows between two points that the binary search can go to.
pub(super) const ROWS_PER_BLOCK: u32 = 32;

/// A grant's callers are given by number; this one means every caller of the peer.
pub(super) const ANY_CALLER: u16 = u16::MAX;

/// In place of a listing's grant set: TLS is passed through, so that the gateway sees no caller that could be granted anything.
pub(super) const PASSTHROUGH: u32 = u32::MAX;

/// The most peers: their numbers have 16 bits.
pub(super) const MAX_PEERS: u32 = u16::MAX as u32;

/// The number of the first peer's trust domain among the names; its name follows, then the next peer.
pub(super) const FIRST_PEER_NAME: u32 = 2;

pub(super) const PATTERN_BYTES: usize = 8;
pub(super) const ENTRY_BYTES: usize = 4;
pub(super) const LISTING_BYTES: usize = 6;

/// How a mode is written.
pub(super) fn mode_byte(mode: Mode) -> u8 {
    match mode {
        Mode::Enforce => 0,
        Mode::Audit => 1,
    }
}

pub(super) fn mode_of(byte: u8) -> Option<Mode> {
    [Mode::Enforce, Mode::Audit].into_iter().find(|&mode| mode_byte(mode) == byte)
}

/// The header's counts, in their order in the table, behind magic, version and generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) generation: u64,
    /// Bytes of all names together.
    pub(super) name_bytes: u32,
    pub(super) peers: u32,
    /// Different texts of caller patterns.
    pub(super) texts: u32,
    pub(super) patterns: u32,
    pub(super) caller_sets: u32,
    pub(super) entries: u32,
    pub(super) grant_sets: u32,
    /// Different pairs of port and grant set.
    pub(super) listings: u32,
    pub(super) rows: u32,
    /// Bytes of all rows together.
    pub(super) row_bytes: u32,
}

/// The sections in their order in the table.
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

    /// The number of names. In 64 bits, since the counts may be anybody's.
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
        [
            self.name_bytes,
            self.peers,
            self.texts,
            self.patterns,
            self.caller_sets,
            self.entries,
            self.grant_sets,
            self.listings,
            self.rows,
            self.row_bytes,
        ]
    }

    pub(super) fn new(version: u32, generation: u64, counts: [u32; COUNTS]) -> Self {
        let [name_bytes, peers, texts, patterns, caller_sets, entries, grant_sets, listings, rows, row_bytes] = counts;
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
