//! The parts of a table, ready to be written.

use super::layout::{FIRST_PEER_NAME, FORMAT_VERSION, Header, MAGIC, PASSTHROUGH, PLAIN_VERSION};
use super::rows;
use sha2::{Digest, Sha256};

/// Everything is in the order in which it is written. Items refer to each other by their index.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// Local trust domain, key prefix, trust domain and name of each peer, texts of caller
    /// patterns.
    pub(super) names: Vec<Vec<u8>>,
    pub(super) modes: Vec<u8>,
    pub(super) caller_sets: Vec<Vec<[u32; 2]>>,
    pub(super) grant_sets: Vec<Vec<[u16; 2]>>,
    pub(super) listings: Vec<(u16, u32)>,
    /// The key's letters after the prefix, and the number of the listing.
    pub(super) rows: Vec<(Vec<u8>, u32)>,
}

impl Parts {
    /// Writes the table. Numbers overflow only in a table that is too large to be read anyway.
    pub(super) fn write(&self, generation: u64) -> Vec<u8> {
        let (rows, block_starts) = rows::encode(&self.rows);
        let header = self.header(generation, rows.len());
        let mut out = MAGIC.to_vec();
        out.extend(header.version.to_le_bytes());
        out.extend(generation.to_le_bytes());
        push(&mut out, header.counts());
        push(&mut out, ends(&self.names));
        out.extend(self.names.iter().flatten());
        out.extend(&self.modes);
        push(&mut out, self.caller_sets.iter().flatten().flatten().copied());
        push(&mut out, ends(&self.caller_sets));
        out.extend(
            self.grant_sets.iter().flatten().flatten().flat_map(|number| number.to_le_bytes()),
        );
        push(&mut out, ends(&self.grant_sets));
        for (port, grant_set) in &self.listings {
            out.extend(port.to_le_bytes());
            push(&mut out, [*grant_set]);
        }
        push(&mut out, block_starts);
        out.extend(rows);
        let hash = Sha256::digest(&out);
        out.extend_from_slice(&hash);
        out
    }

    fn header(&self, generation: u64, row_bytes: usize) -> Header {
        let texts =
            self.names.len().saturating_sub(FIRST_PEER_NAME as usize + 2 * self.modes.len());
        let passes_through = self.listings.iter().any(|(_, grant_set)| *grant_set == PASSTHROUGH);
        Header {
            version: if passes_through { FORMAT_VERSION } else { PLAIN_VERSION },
            generation,
            name_bytes: items(&self.names),
            peers: self.modes.len() as u32,
            texts: texts as u32,
            patterns: items(&self.caller_sets),
            caller_sets: self.caller_sets.len() as u32,
            entries: items(&self.grant_sets),
            grant_sets: self.grant_sets.len() as u32,
            listings: self.listings.len() as u32,
            rows: self.rows.len() as u32,
            row_bytes: row_bytes as u32,
        }
    }
}

fn push(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    out.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
}

fn items<T>(groups: &[Vec<T>]) -> u32 {
    groups.iter().map(Vec::len).sum::<usize>() as u32
}

/// Where each group ends when all are concatenated.
fn ends<T>(groups: &[Vec<T>]) -> impl Iterator<Item = u32> {
    groups.iter().scan(0, |end, group| {
        *end += group.len();
        Some(*end as u32)
    })
}
