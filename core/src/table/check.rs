//! The check that every table passes before any lookup: header, length and checksum here,
//! everything else in `content`.

use super::bytes::{u32_at, u64_at};
use super::layout::{
    COUNTS, COUNTS_AT, FORMAT_VERSION, FORMAT_VERSIONS, GENERATION_AT, HASH_BYTES, HEADER_BYTES,
    Header, MAGIC, MAX_TABLE_BYTES, PLAIN_VERSION, SECTIONS, VERSION_AT,
};
use super::sections::Sections;
use super::{ContentHash, content};
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Why bytes are not a valid table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// They do not begin with a table's magic number.
    #[error("this is not a fedgate table: it does not begin with the magic bytes")]
    Magic,
    /// This program cannot read the format's version.
    #[error(
        "the table has format version {0}, this program reads version {PLAIN_VERSION} to {FORMAT_VERSION}: run filter and controller of one release"
    )]
    Version(u32),
    /// The table exceeds [`MAX_TABLE_BYTES`].
    #[error("the table has {0} bytes, at most {MAX_TABLE_BYTES} are read")]
    TooLarge(usize),
    /// The length does not match the header.
    #[error(
        "the table is truncated or has bytes after its end: {actual} bytes, the header says {expected}"
    )]
    Length {
        /// The length that the header implies.
        expected: u64,
        /// The actual length.
        actual: u64,
    },
    /// The checksum does not match: some byte was changed in transit.
    #[error("the table's checksum is wrong: it was damaged on the way")]
    Checksum,
    /// The checksum is right but the content is not: the writer did not follow the format.
    #[error("the table contradicts itself in its {0}")]
    Content(&'static str),
}

pub(super) fn check(bytes: Box<[u8]>) -> Result<(Sections, ContentHash), TableError> {
    let (sections, hash) = split(bytes)?;
    let (content, _) = content_and_hash(&sections.bytes)?;
    if hash.0 != <[u8; HASH_BYTES]>::from(Sha256::digest(content)) {
        return Err(TableError::Checksum);
    }
    content::check(&sections)?;
    Ok((sections, hash))
}

/// Splits the bytes into sections by the counts in the header. Does not check the hash or the
/// content.
pub(super) fn split(bytes: Box<[u8]>) -> Result<(Sections, ContentHash), TableError> {
    let header = header(&bytes)?;
    let ranges = ranges(&header, bytes.len())?;
    let (_, hash) = content_and_hash(&bytes)?;
    Ok((Sections { bytes, header, ranges }, hash))
}

fn header(bytes: &[u8]) -> Result<Header, TableError> {
    if bytes.len() > MAX_TABLE_BYTES {
        return Err(TableError::TooLarge(bytes.len()));
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(TableError::Magic);
    }
    let short = TableError::Length {
        expected: (HEADER_BYTES + HASH_BYTES) as u64,
        actual: bytes.len() as u64,
    };
    let version = u32_at(bytes, VERSION_AT).ok_or(short)?;
    if !is_known(version) {
        return Err(TableError::Version(version));
    }
    let generation = u64_at(bytes, GENERATION_AT).ok_or(short)?;
    let mut counts = [0; COUNTS];
    for (number, count) in counts.iter_mut().enumerate() {
        *count = u32_at(bytes, COUNTS_AT + 4 * number).ok_or(short)?;
    }
    Ok(Header::new(version, generation, counts))
}

/// Returns true if tables of this version can be read.
pub(crate) fn is_known(version: u32) -> bool {
    FORMAT_VERSIONS.contains(&version)
}

/// The byte range of each section; together with header and trailer they fill the table exactly.
fn ranges(header: &Header, length: usize) -> Result<[Range<usize>; SECTIONS], TableError> {
    let lengths = header.section_lengths();
    let expected = lengths.iter().sum::<u64>() + (HEADER_BYTES + HASH_BYTES) as u64;
    if expected != length as u64 {
        return Err(TableError::Length { expected, actual: length as u64 });
    }
    let mut end = HEADER_BYTES;
    // No section is longer than the whole table, whose length is a `usize`, so the cast is
    // lossless.
    Ok(lengths.map(|length| {
        let start = end;
        end = start + length as usize;
        start..end
    }))
}

fn content_and_hash(bytes: &[u8]) -> Result<(&[u8], ContentHash), TableError> {
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or(TableError::Checksum)?;
    Ok((content, ContentHash(*hash)))
}
