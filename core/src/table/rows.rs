//! The rows: front-coded keys in order.

use super::bytes::{Cursor, push_number};
use super::layout::ROWS_PER_BLOCK;
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
    pub(super) own: &'t [u8],
    pub(super) port: u16,
    pub(super) grant_set: u32,
}

impl<'t> Row<'t> {
    pub(super) fn read(cursor: &mut Cursor<'t>) -> Option<Self> {
        let shared = cursor.number()? as usize;
        let length = cursor.number()? as usize;
        let own = cursor.take(length)?;
        let port = cursor.number()?.try_into().ok()?;
        Some(Self { shared, own, port, grant_set: cursor.number()? })
    }
}

/// Writes rows, which must come in order of `(key, port)`; returns the rows and the beginning of each block.
pub(super) fn encode<'a>(rows: impl Iterator<Item = (&'a [u8], u16, u32)>) -> (Vec<u8>, Vec<u32>) {
    let (mut out, mut blocks) = (Vec::new(), Vec::new());
    let mut before: &[u8] = &[];
    for (number, (key, port, grant_set)) in rows.enumerate() {
        if number % ROWS_PER_BLOCK as usize == 0 {
            blocks.push(out.len() as u32);
            before = &[];
        }
        let shared = shared_length(before, key);
        let own = key.get(shared..).unwrap_or_default();
        push_number(&mut out, shared as u32);
        push_number(&mut out, own.len() as u32);
        out.extend_from_slice(own);
        push_number(&mut out, u32::from(port));
        push_number(&mut out, grant_set);
        before = key;
    }
    (out, blocks)
}

/// How `row`, the first of a block, stands to the key that is looked for.
pub(super) fn compare_first(row: &Row<'_>, key: &[u8], port: u16) -> Ordering {
    row.own.cmp(key).then(row.port.cmp(&port))
}

/// Looks for `(key, port)` in one block of at most `ROWS_PER_BLOCK` rows without putting any key together: `matched` is how many
/// bytes of the key the row before has.
pub(super) fn find_in_block(block: &[u8], key: &[u8], port: u16) -> Option<u32> {
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
        let wanted = key.get(matched..)?;
        let more = shared_length(row.own, wanted);
        matched += more;
        match (row.own.get(more), wanted.get(more)) {
            (None, None) => match row.port.cmp(&port) {
                Ordering::Equal => return Some(row.grant_set),
                Ordering::Greater => return None,
                Ordering::Less => {}
            },
            (Some(own), Some(wanted)) if own > wanted => return None,
            (Some(_), None) => return None,
            _ => {}
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
