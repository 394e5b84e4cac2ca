//! The one check that a table's bytes go through before anything is looked up in them.

use super::bytes::{Cursor, u32_at, u64_at};
use super::layout::{
    ANY_CALLER, FORMAT_VERSION, HASH_BYTES, HEADER_BYTES, Header, MAGIC, MAX_TABLE_BYTES, ROWS_PER_BLOCK,
};
use super::rows::{Key, Row};
use super::{ContentHash, Table};
use crate::callers::check_pattern;
use crate::name::{Hostname, PeerName, TrustDomain};
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Why bytes are no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// They don't begin as a table does.
    #[error("this is no fedgate table: it does not begin with the magic bytes")]
    Magic,
    /// The format is another one.
    #[error("the table has format version {0}, this program reads version {FORMAT_VERSION}: run filter and controller of one release")]
    Version(u32),
    /// There are more bytes than are read.
    #[error("the table has {0} bytes, at most {MAX_TABLE_BYTES} are read")]
    TooLarge(usize),
    /// The length differs from what the header says.
    #[error("the table is truncated or has bytes behind its end: {actual} bytes, the header says {expected}")]
    Length {
        /// What the header says.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// Some byte was changed on the way.
    #[error("the table's checksum is wrong: it was damaged on the way")]
    Checksum,
    /// The checksum is right and the content is not: whoever wrote it did not follow the format.
    #[error("the table contradicts itself in its {0}")]
    Content(&'static str),
}

pub(super) fn header(bytes: &[u8]) -> Result<(Header, [Range<usize>; 8]), TableError> {
    if bytes.len() > MAX_TABLE_BYTES {
        return Err(TableError::TooLarge(bytes.len()));
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(TableError::Magic);
    }
    let short = TableError::Length { expected: (HEADER_BYTES + HASH_BYTES) as u64, actual: bytes.len() as u64 };
    let version = u32_at(bytes, 8).ok_or(short)?;
    if version != FORMAT_VERSION {
        return Err(TableError::Version(version));
    }
    let generation = u64_at(bytes, 12).ok_or(short)?;
    let mut words = [0; 10];
    for (number, word) in words.iter_mut().enumerate() {
        *word = u32_at(bytes, 20 + 4 * number).ok_or(short)?;
    }
    let header = Header::from_words(generation, words);
    Ok((header, sections(&header, bytes.len())?))
}

/// Where each section lies; together they fill the table exactly.
fn sections(header: &Header, length: usize) -> Result<[Range<usize>; 8], TableError> {
    let lengths = header.section_lengths();
    let expected = lengths.iter().sum::<u64>() + (HEADER_BYTES + HASH_BYTES) as u64;
    if expected != length as u64 {
        return Err(TableError::Length { expected, actual: length as u64 });
    }
    let mut end = HEADER_BYTES;
    Ok(lengths.map(|length| {
        let start = end;
        end = start + length as usize;
        start..end
    }))
}

pub(super) fn trailer(bytes: &[u8]) -> Result<ContentHash, TableError> {
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or(TableError::Checksum)?;
    let actual: [u8; HASH_BYTES] = Sha256::digest(content).into();
    match actual == *hash {
        true => Ok(ContentHash(actual)),
        false => Err(TableError::Checksum),
    }
}

pub(super) fn content(table: &Table) -> Result<(), TableError> {
    names(table).ok_or(TableError::Content("header"))?;
    peers(table).ok_or(TableError::Content("peers"))?;
    caller_sets(table).ok_or(TableError::Content("callers"))?;
    grant_sets(table).ok_or(TableError::Content("grants"))?;
    rows(table).ok_or(TableError::Content("exports"))
}

fn require(condition: bool) -> Option<()> {
    condition.then_some(())
}

fn names(table: &Table) -> Option<()> {
    let header = &table.header;
    require(u64::from(header.trust_domain) + u64::from(header.prefix) <= u64::from(header.strings))?;
    TrustDomain::parse(table.string(0, header.trust_domain)?).ok()?;
    require(table.prefix().len() <= Hostname::MAX_BYTES)
}

fn peers(table: &Table) -> Option<()> {
    let mut before = "";
    for index in 0..table.header.peers {
        let peer = table.peer(u16::try_from(index).ok()?)?;
        TrustDomain::parse(peer.trust_domain).ok()?;
        PeerName::parse(peer.name).ok()?;
        require(before < peer.trust_domain)?;
        before = peer.trust_domain;
    }
    Some(())
}

fn caller_sets(table: &Table) -> Option<()> {
    require(table.header.caller_sets <= u32::from(ANY_CALLER))?;
    let mut end = 0;
    for number in 0..table.header.caller_sets {
        let patterns = table.caller_patterns(u16::try_from(number).ok()?)?;
        require(patterns.start == end && patterns.end >= end && patterns.end <= table.header.patterns)?;
        end = patterns.end;
    }
    require(end == table.header.patterns)?;
    (0..table.header.patterns).try_for_each(|number| {
        let (namespace, service_account) = table.pattern(number)?;
        check_pattern(namespace).ok()?;
        check_pattern(service_account).ok()
    })
}

fn grant_sets(table: &Table) -> Option<()> {
    let mut end = 0;
    for number in 0..table.header.grant_sets {
        let entries = table.set_entries(number)?;
        require(entries.start == end && entries.end >= end && entries.end <= table.header.entries)?;
        end = entries.end;
        grant_set(table, entries)?;
    }
    require(end == table.header.entries)
}

fn grant_set(table: &Table, entries: Range<u32>) -> Option<()> {
    let mut least = 0;
    for number in entries {
        let (peer, callers) = table.entry(number)?;
        require(u32::from(peer) >= least && u32::from(peer) < table.header.peers)?;
        require(callers == ANY_CALLER || u32::from(callers) < table.header.caller_sets)?;
        least = u32::from(peer) + 1;
    }
    Some(())
}

fn rows(table: &Table) -> Option<()> {
    let section = table.section(7);
    let mut cursor = Cursor::new(section);
    let mut key = table.prefix().to_vec();
    let prefix = key.len();
    let mut port_before = 0;
    for number in 0..table.header.rows {
        let starts_block = number % ROWS_PER_BLOCK == 0;
        if starts_block {
            require(table.block_start(number / ROWS_PER_BLOCK)? == section.len() - cursor.remaining())?;
        }
        let row = Row::read(&mut cursor)?;
        require(row.grant_set < table.header.grant_sets && row.port != 0)?;
        require(if starts_block { row.shared == 0 } else { true })?;
        require(number == 0 || is_behind(&row, key.get(prefix..)?, port_before, starts_block))?;
        key.truncate(prefix.checked_add(row.shared)?);
        require(key.len() == prefix + row.shared)?;
        key.extend_from_slice(row.own);
        host(&key)?;
        port_before = row.port;
    }
    require(cursor.remaining() == 0)
}

/// Whether `row` stands behind the row before, and shares with it exactly the bytes that it says.
fn is_behind(row: &Row<'_>, before: &[u8], port: u16, starts_block: bool) -> bool {
    if starts_block {
        return (before, port) < (row.own, row.port);
    }
    match (before.get(row.shared), row.own.first()) {
        (None, Some(_)) => row.shared == before.len(),
        (None, None) => row.shared == before.len() && port < row.port,
        (Some(old), Some(new)) => old < new,
        (Some(_), None) => false,
    }
}

/// The key must be that of a host name in lower case.
fn host(key: &[u8]) -> Option<()> {
    let host = Key::new(std::str::from_utf8(key).ok()?)?;
    let host = std::str::from_utf8(host.as_bytes()).ok()?;
    require(matches!(crate::name::fold_host(host), Ok(std::borrow::Cow::Borrowed(_))))
}
