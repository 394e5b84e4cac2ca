//! The rows: front-coded keys in order.
//!
//! A row consists of:
//!
//! - the number of letters that its key shares with the row before (one byte; 0 in the first row of
//!   a block),
//! - the number of its own letters (one byte),
//! - these letters, packed (see `letters`),
//! - the number of its listing, which stands for its port and grant set (LEB128).

use super::bytes::{Cursor, push_number};
use super::layout::ROWS_PER_BLOCK;
use super::letters::{Letters, pack, packed_length, unpack};
use crate::name::Hostname;
use std::cmp::Ordering;

/// A host with its labels in reverse order, stored inline so that the hot path does not allocate.
pub(super) struct Key {
    bytes: [u8; Hostname::MAX_BYTES],
    length: usize,
}

impl Key {
    /// The key of `host`; `None` if it is longer than a host name may be.
    pub(super) fn new(host: &str) -> Option<Self> {
        let mut key = Self { bytes: [0; Hostname::MAX_BYTES], length: host.len() };
        let mut rest = key.bytes.get_mut(..host.len())?;
        for label in host.as_bytes().rsplit(|&byte| byte == b'.') {
            let (slot, tail) = rest.split_at_mut_checked(label.len())?;
            slot.copy_from_slice(label);
            rest = match tail.split_first_mut() {
                Some((dot, tail)) => {
                    *dot = b'.';
                    tail
                }
                None => break,
            };
        }
        Some(key)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The host of `key`: reversing the labels twice gives the original.
pub(super) fn host_of(key: &[u8]) -> Option<String> {
    let host = Key::new(std::str::from_utf8(key).ok()?)?;
    String::from_utf8(host.as_bytes().to_vec()).ok()
}

/// One encoded row: the difference from the row before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'t> {
    pub(super) shared: usize,
    own: usize,
    packed: &'t [u8],
    pub(super) listing: u32,
}

impl<'t> Row<'t> {
    pub(super) fn read(cursor: &mut Cursor<'t>) -> Option<Self> {
        let shared = cursor.byte()?.into();
        let own = cursor.byte()?.into();
        let packed = cursor.take(packed_length(own))?;
        Some(Self { shared, own, packed, listing: cursor.number()? })
    }

    /// The key's letters after those it shares with the row before.
    pub(super) fn own(&self) -> impl Iterator<Item = u8> {
        unpack(self.packed).flatten().take(self.own)
    }

    /// Returns true if the letters are padded with zeros only.
    pub(super) fn is_padded_with_zeros(&self) -> bool {
        unpack(self.packed).flatten().skip(self.own).all(|letter| letter == 0)
    }

    /// Compares the key of this row, the first of its block, with `key`.
    pub(super) fn compare_as_first(&self, key: &Letters) -> Ordering {
        self.packed.cmp(key.packed())
    }

    /// Compares the row's own letters with `wanted`; also returns how many of them match.
    fn compare_own(&self, wanted: &[u8]) -> (usize, Ordering) {
        let mut same = 0;
        for three in unpack(self.packed) {
            for letter in three {
                // The rest is padding.
                if same == self.own {
                    break;
                }
                match wanted.get(same) {
                    Some(other) if *other == letter => same += 1,
                    Some(other) => return (same, letter.cmp(other)),
                    None => return (same, Ordering::Greater),
                }
            }
        }
        (same, same.cmp(&wanted.len()))
    }
}

/// Encodes rows, each with its listing, which must be sorted by letters and port. Returns the bytes
/// and the start of each block.
pub(super) fn encode(rows: &[(Vec<u8>, u32)]) -> (Vec<u8>, Vec<u32>) {
    let (mut out, mut blocks) = (Vec::new(), Vec::new());
    let mut before: &[u8] = &[];
    for (number, (letters, listing)) in rows.iter().enumerate() {
        if number % ROWS_PER_BLOCK as usize == 0 {
            blocks.push(out.len() as u32);
            before = &[];
        }
        let shared = shared_length(before, letters);
        let own = letters.get(shared..).unwrap_or_default();
        out.extend([shared as u8, own.len() as u8]);
        out.extend(pack(own));
        push_number(&mut out, *listing);
        before = letters;
    }
    (out, blocks)
}

/// Searches one block of at most `ROWS_PER_BLOCK` rows for a key with a listing for which
/// `compare_port` returns equal. It builds no key: `matched` is the number of the key's letters
/// that the row before matches.
pub(super) fn find_in_block(
    block: &[u8],
    key: &[u8],
    compare_port: impl Fn(u32) -> Option<Ordering>,
) -> Option<u32> {
    let mut cursor = Cursor::new(block);
    let mut matched = 0;
    for _ in 0..ROWS_PER_BLOCK {
        let row = Row::read(&mut cursor)?;
        match row.shared.cmp(&matched) {
            // This row differs from the key where the row before does, and is still smaller.
            Ordering::Greater => continue,
            // This row differs from the key at an earlier letter than the row before, so it is
            // larger. So are all later rows.
            Ordering::Less => return None,
            Ordering::Equal => {}
        }
        let (same, order) = row.compare_own(key.get(matched..)?);
        matched += same;
        let order = match order {
            Ordering::Equal => compare_port(row.listing)?,
            other => other,
        };
        match order {
            Ordering::Equal => return Some(row.listing),
            Ordering::Greater => return None,
            Ordering::Less => {}
        }
    }
    None
}

pub(super) fn shared_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_host_with_its_labels_reversed() {
        assert_eq!(
            Key::new("web.shop.svc.beta.example").unwrap().as_bytes(),
            b"example.beta.svc.shop.web"
        );
        assert_eq!(host_of(b"example.beta.svc.shop.web").unwrap(), "web.shop.svc.beta.example");
        assert_eq!(Key::new("web").unwrap().as_bytes(), b"web");
        assert!(Key::new(&"a".repeat(254)).is_none());
        assert!(Key::new("").unwrap().as_bytes().is_empty());
    }
}
