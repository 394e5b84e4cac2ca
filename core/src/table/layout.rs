//! Where things stand in a table. Builder and reader both go by this file.

/// The version of the format that this code writes and reads. Any other is refused.
pub const FORMAT_VERSION: u32 = 1;

/// The most bytes that a table may have: ten times what 100,000 exports take. A longer one is refused unread.
pub const MAX_TABLE_BYTES: usize = 16 << 20;

pub(super) const MAGIC: [u8; 8] = *b"FEDGATE\0";
pub(super) const HASH_BYTES: usize = 32;

/// Rows between two points that the binary search can go to.
pub(super) const ROWS_PER_BLOCK: u32 = 16;

/// A grant's callers are given by number; this one means every caller of the peer.
pub(super) const ANY_CALLER: u16 = u16::MAX;

pub(super) const PEER_BYTES: usize = 16;
pub(super) const PATTERN_BYTES: usize = 12;
pub(super) const ENTRY_BYTES: usize = 4;

/// The header's numbers, in their order in the table, after magic and version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u64,
    /// Length of the local trust domain, which stands at the beginning of the strings.
    pub(super) trust_domain: u32,
    /// Length of the shared key prefix, which stands behind the local trust domain.
    pub(super) prefix: u32,
    pub(super) strings: u32,
    pub(super) peers: u32,
    pub(super) patterns: u32,
    pub(super) caller_sets: u32,
    pub(super) entries: u32,
    pub(super) grant_sets: u32,
    pub(super) rows: u32,
    /// Length of the rows in bytes.
    pub(super) row_bytes: u32,
}

pub(super) const HEADER_BYTES: usize = 8 + 4 + 8 + 10 * 4;

impl Header {
    pub(super) fn blocks(&self) -> u32 {
        self.rows.div_ceil(ROWS_PER_BLOCK)
    }

    /// The lengths of the sections in bytes, in their order in the table.
    pub(super) fn section_lengths(&self) -> [u64; 8] {
        let table = |count: u32, bytes: usize| u64::from(count) * bytes as u64;
        [
            u64::from(self.strings),
            table(self.peers, PEER_BYTES),
            table(self.patterns, PATTERN_BYTES),
            table(self.caller_sets, 4),
            table(self.entries, ENTRY_BYTES),
            table(self.grant_sets, 4),
            table(self.blocks(), 4),
            u64::from(self.row_bytes),
        ]
    }

    pub(super) fn words(&self) -> [u32; 10] {
        [
            self.trust_domain,
            self.prefix,
            self.strings,
            self.peers,
            self.patterns,
            self.caller_sets,
            self.entries,
            self.grant_sets,
            self.rows,
            self.row_bytes,
        ]
    }

    pub(super) fn from_words(generation: u64, words: [u32; 10]) -> Self {
        let [trust_domain, prefix, strings, peers, patterns, caller_sets, entries, grant_sets, rows, row_bytes] = words;
        Self {
            generation,
            trust_domain,
            prefix,
            strings,
            peers,
            patterns,
            caller_sets,
            entries,
            grant_sets,
            rows,
            row_bytes,
        }
    }
}
