//! The rows: front-coded keys in order.
//!
//! A row is: how many letters its key shares with the row before (one byte; none in the first row of a block), how many
//! are its own (one byte), these letters packed (see `letters`), and the number of its listing: its port and grant set (LEB128).

use super::bytes::{Cursor, push_number};
use super::layout::ROWS_PER_BLOCK;
use super::letters::{Letters, pack, packed_length, unpack};
use crate::name::Hostname;
use std::cmp::Ordering;

/// A host with its labels in reverse order, in place: no allocation on the hot path.
pub(super) struct Key {
    bytes: [u8; Hostname::MAX_BYTES],
    length: usize,
}

impl Key {
    /// The key of `host`; `None` when it is longer than a host name may be.
    pub(super) fn new(host: &str) -> Option<Self> {
        let mut key = Self { bytes: [0; Hostname::MAX_BYTES], length: host.len() };
        let mut rest = key.bytes.get_mut(..host.len())?;
        for label in host.as_bytes().rsplit(|&byte| byte == b'.') {
            let (place, tail) = rest.split_at_mut_checked(label.len())?;
            place.copy_from_slice(label);
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

/// The host that has `key`: reversing is its own inverse.
pub(super) fn host_of(key: &[u8]) -> Option<String> {
    let host = Key::new(std::str::from_utf8(key).ok()?)?;
    String::from_utf8(host.as_bytes().to_vec()).ok()
}

/// One row as it is written: what differs from the row before.
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

    /// The key's letters that the row before does not have.
    pub(super) fn own(&self) -> impl Iterator<Item = u8> {
        unpack(self.packed).take(self.own)
    }

    /// Whether there are zeros and nothing else behind the last letter.
    pub(super) fn is_padded_with_zeros(&self) -> bool {
        unpack(self.packed).skip(self.own).all(|letter| letter == 0)
    }

    /// How the key of this row, the first of a block, stands to the one that is looked for.
    pub(super) fn compare_as_first(&self, key: &Letters) -> Ordering {
        self.packed.cmp(key.packed())
    }

    /// How the own letters stand to `wanted`, and how many of them are the same.
    fn compare_own(&self, wanted: &[u8]) -> (usize, Ordering) {
        let mut same = 0;
        for letter in self.own() {
            match wanted.get(same) {
                Some(other) if *other == letter => same += 1,
                Some(other) => return (same, letter.cmp(other)),
                None => return (same, Ordering::Greater),
            }
        }
        (same, same.cmp(&wanted.len()))
    }
}

/// Writes rows, which must come in order of letters and port, each with its listing; returns the rows and the beginning of each block.
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

/// Looks for a key, and for a listing that `compare_port` finds equal, in one block of at most `ROWS_PER_BLOCK` rows
/// without putting any key together: `matched` is how many letters of the key the row before has.
pub(super) fn find_in_block(block: &[u8], key: &[u8], compare_port: impl Fn(u32) -> Option<Ordering>) -> Option<u32> {
    let mut cursor = Cursor::new(block);
    let mut matched = 0;
    for _ in 0..ROWS_PER_BLOCK {
        let row = Row::read(&mut cursor)?;
        match row.shared.cmp(&matched) {
            // It differs from the key where the row before does, and is still smaller.
            Ordering::Greater => continue,
            // It left the key before the row before did, so it is larger, and so are all behind it.
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
    fn a_key_is_the_host_backwards() {
        assert_eq!(Key::new("web.shop.svc.beta.example").unwrap().as_bytes(), b"example.beta.svc.shop.web");
        assert_eq!(host_of(b"example.beta.svc.shop.web").unwrap(), "web.shop.svc.beta.example");
        assert_eq!(Key::new("web").unwrap().as_bytes(), b"web");
        assert!(Key::new(&"a".repeat(254)).is_none());
        assert!(Key::new("").unwrap().as_bytes().is_empty());
    }
}
