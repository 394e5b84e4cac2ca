//! Malformed tables with the right length and checksum: each is refused with the right error.

use super::builder::{Grant, Peer, TableBuilder};
use super::check::check;
use super::encode::parts;
use super::layout::{
    ANY_CALLER, COUNTS, COUNTS_AT, HASH_BYTES, HEADER_BYTES, MAX_CALLER_PATTERNS, MAX_PEERS,
    Section,
};
use super::letters::letter_of;
use super::parts::Parts;
use super::{Mode, Table, TableError};
use crate::callers::{CallerPattern, Callers, Pattern};
use crate::decision::{Decision, decide};
use sha2::{Digest, Sha256};

/// Two peers, two sets of callers, three grant sets, six listings, 40 rows in two blocks.
fn builder() -> TableBuilder {
    let mut builder = TableBuilder::new("alpha.example".parse().unwrap());
    let mut peer = |name: &str, mode| {
        let trust_domain = format!("{name}.example").parse().unwrap();
        builder.peer(Peer { name: name.parse().unwrap(), trust_domain, mode }).unwrap()
    };
    let (beta, gamma) = (peer("beta", Mode::Enforce), peer("gamma", Mode::Audit));
    let shop = Callers::Only([pattern("shop", "*"), pattern("shop", "web")].into());
    let no_caller = Callers::Only([].into());
    let grants = [
        vec![],
        vec![
            Grant { peer: beta, callers: Callers::Any },
            Grant { peer: gamma, callers: no_caller },
        ],
        vec![Grant { peer: beta, callers: shop }],
    ];
    for number in 10..30 {
        let host = format!("web-{number}.shop.svc.alpha.example");
        let set = &grants[number % 3];
        builder.export(format!("{host}:80").parse().unwrap(), set.clone()).unwrap();
        builder.export(format!("{host}:443").parse().unwrap(), set.clone()).unwrap();
    }
    builder
}

fn pattern(namespace: &str, service_account: &str) -> CallerPattern {
    let parse = |text| Pattern::parse(text).unwrap();
    CallerPattern { namespace: parse(namespace), service_account: parse(service_account) }
}

/// Asserts that after `change` the table is refused because of `what`.
#[track_caller]
fn refused(what: &'static str, change: impl FnOnce(&mut Parts)) {
    let mut parts = parts(&builder()).unwrap();
    change(&mut parts);
    assert_eq!(Table::read(parts.write(1)).unwrap_err(), TableError::Content(what));
}

/// The same for a change to the bytes of one section.
#[track_caller]
fn refused_bytes(what: &'static str, section: Section, change: impl FnOnce(&mut [u8])) {
    refused_bytes_of(&parts(&builder()).unwrap(), what, section, change);
}

#[track_caller]
fn refused_bytes_of(
    parts: &Parts,
    what: &'static str,
    section: Section,
    change: impl FnOnce(&mut [u8]),
) {
    let mut bytes = parts.write(1);
    let range = check(bytes.clone().into()).unwrap().0.ranges[section as usize].clone();
    change(&mut bytes[range]);
    seal(&mut bytes);
    assert_eq!(Table::read(bytes).unwrap_err(), TableError::Content(what));
}

fn seal(bytes: &mut [u8]) {
    let (content, hash) = bytes.split_last_chunk_mut::<32>().unwrap();
    *hash = Sha256::digest(content).into();
}

fn letters(text: &str) -> Vec<u8> {
    text.bytes().map(|character| letter_of(character).unwrap()).collect()
}

fn pack(text: &str) -> Vec<u8> {
    super::letters::pack(&letters(text)).collect()
}

#[test]
fn the_unchanged_table_is_read() {
    let parts = parts(&builder()).unwrap();
    assert_eq!(
        (parts.caller_sets.len(), parts.grant_sets.len(), parts.listings.len(), parts.rows.len()),
        (2, 3, 6, 40)
    );
    assert_eq!(Table::read(parts.write(1)).unwrap().rows(), 40);
}

#[test]
fn names_are_checked() {
    refused("names", |parts| parts.names[0] = b"Alpha".to_vec());
    refused("names", |parts| parts.names[0] = vec![]);
    refused("names", |parts| parts.names[0] = b"\xff".to_vec());
    refused("names", |parts| parts.names[1] = b"Example".to_vec());
    refused("names", |parts| parts.names[1] = vec![b'a'; 254]);
    let swap_ends = |ends: &mut [u8]| (0..4).for_each(|byte| ends.swap(8 + byte, 12 + byte));
    refused_bytes("names", Section::NameEnds, swap_ends);
    refused_bytes("names", Section::NameEnds, |ends| ends[..4].fill(0xff));
    let shorten_the_last = |ends: &mut [u8]| *ends.iter_mut().nth_back(3).unwrap() -= 1;
    refused_bytes("names", Section::NameEnds, shorten_the_last);
}

#[test]
fn peers_are_checked() {
    refused("peers", |parts| parts.names.swap(2, 4));
    refused("peers", |parts| parts.names[4] = parts.names[2].clone());
    refused("peers", |parts| parts.names[2] = b"BETA".to_vec());
    refused("peers", |parts| parts.names[2] = vec![]);
    refused("peers", |parts| parts.names[3] = b"not a name".to_vec());
    refused("peers", |parts| parts.modes[1] = 2);
}

#[test]
fn one_peer_too_many_is_refused() {
    let peers = |count: u32| {
        let mut parts = parts(&TableBuilder::new("alpha.example".parse().unwrap())).unwrap();
        parts.names.extend(
            (0..count).flat_map(|number| [format!("p{number:05}").into_bytes(), b"peer".to_vec()]),
        );
        parts.modes = vec![0; count as usize];
        Table::read(parts.write(1)).map(|table| table.peer_count())
    };
    assert_eq!(peers(MAX_PEERS), Ok(MAX_PEERS));
    assert_eq!(peers(MAX_PEERS + 1), Err(TableError::Content("names")));
}

#[test]
fn texts_of_patterns_are_checked() {
    refused("callers", |parts| parts.names.swap(6, 7));
    refused("callers", |parts| parts.names[7] = parts.names[6].clone());
    refused("callers", |parts| parts.names[7] = b"Shop".to_vec());
    refused("callers", |parts| parts.names[6] = vec![]);
    refused("callers", |parts| parts.names.push(b"unused".to_vec()));
}

#[test]
fn callers_are_checked() {
    refused("callers", |parts| parts.caller_sets[1][0] = [7, 0]);
    refused("callers", |parts| parts.caller_sets[1][0] = [0, u32::MAX]);
    refused("callers", |parts| parts.caller_sets[1].swap(0, 1));
    refused("callers", |parts| parts.caller_sets[1].extend_from_within(1..));
    refused("callers", |parts| parts.caller_sets.swap(0, 1));
    refused("callers", |parts| parts.caller_sets.push(parts.caller_sets[1].clone()));
    refused_bytes("callers", Section::CallerEnds, |ends| ends[0] = 3);
    refused_bytes("callers", Section::CallerEnds, |ends| ends[4] = 1);
    refused_bytes("callers", Section::CallerEnds, |ends| ends[4..].fill(0xff));
    refused_bytes("callers", Section::CallerEnds, |ends| ends.fill(0xff));
}

#[test]
fn each_pattern_and_each_entry_belongs_to_a_set() {
    let mut parts = parts(&builder()).unwrap();
    parts.caller_sets[1] = vec![[1, 0], [1, 2], [2, 0]];
    refused_bytes_of(&parts, "callers", Section::CallerEnds, |ends| ends[4] = 2);
    parts.grant_sets = vec![vec![], vec![[0, 0], [1, 1]], vec![[0, ANY_CALLER], [1, ANY_CALLER]]];
    refused_bytes_of(&parts, "grants", Section::SetEnds, |ends| ends[8] = 3);
}

#[test]
fn the_number_of_patterns_in_a_caller_set_is_limited() {
    let sets = |count: usize| {
        let mut parts = parts(&builder()).unwrap();
        let texts: Vec<Vec<u8>> =
            (0..count).map(|number| format!("a-{number:04}").into_bytes()).collect();
        parts.names.splice(6.., texts);
        parts.caller_sets[1] = (0..count as u32).map(|number| [number, number]).collect();
        Table::read(parts.write(1)).map(|table| table.rows())
    };
    assert_eq!(sets(MAX_CALLER_PATTERNS), Ok(40));
    assert_eq!(sets(MAX_CALLER_PATTERNS + 1), Err(TableError::Content("callers")));
}

#[test]
fn grants_are_checked() {
    refused("grants", |parts| parts.grant_sets[1][0][0] = 2);
    refused("grants", |parts| parts.grant_sets[1][0][1] = 2);
    refused("grants", |parts| parts.grant_sets[1][0][1] = ANY_CALLER - 1);
    refused("grants", |parts| parts.grant_sets[2].swap(0, 1));
    refused("grants", |parts| parts.grant_sets[2][1][0] = 0);
    refused("grants", |parts| parts.grant_sets[2][1][0] = 2);
    refused("grants", |parts| parts.grant_sets.swap(1, 2));
    refused("grants", |parts| parts.grant_sets[2] = parts.grant_sets[1].clone());
    refused("grants", |parts| parts.caller_sets.push(vec![[1, 1]]));
    refused_bytes("grants", Section::SetEnds, |ends| ends[4] = 0xff);
    refused_bytes("grants", Section::SetEnds, |ends| ends[0] = 1);
    refused_bytes("grants", Section::SetEnds, |ends| ends[8] -= 1);
}

#[test]
fn listings_are_checked() {
    refused("listings", |parts| parts.listings[0].0 = 0);
    refused("listings", |parts| parts.listings[5].1 = 3);
    refused("listings", |parts| parts.listings[1] = parts.listings[0]);
    refused("listings", |parts| parts.listings.swap(0, 1));
    refused("listings", |parts| parts.grant_sets.push(vec![[1, ANY_CALLER]]));
}

#[test]
fn rows_are_checked() {
    refused("exports", |parts| parts.rows[7].1 = 6);
    refused("exports", |parts| parts.rows.swap(3, 4));
    refused("exports", |parts| parts.rows.swap(31, 32));
    refused("exports", |parts| parts.rows[3] = parts.rows[2].clone());
    refused("exports", |parts| parts.rows[32] = parts.rows[31].clone());
    refused("exports", |parts| parts.listings.push((444, 0)));
    refused("exports", |parts| drop(parts.rows.drain(..)));
    refused("exports", |parts| parts.rows.insert(0, (letters("-"), 0)));
    refused("exports", |parts| parts.names[1] = b"example-.svc.shop.web-".to_vec());
    refused("exports", |parts| parts.names[1] = b"example..svc.shop.web-".to_vec());
    for bad in ["z.", "z..z", "z-.z", "z.-z", &"z".repeat(64), &"z.".repeat(127)] {
        refused("exports", |parts| parts.rows[39].0 = letters(bad));
    }
    refused("exports", |parts| parts.rows[39].0 = vec![40]);
    refused("exports", |parts| parts.rows[39].0 = vec![39, 0, 39]);
}

#[test]
fn the_longest_host_is_the_limit() {
    let hosts = |length: usize| {
        let mut parts = parts(&builder()).unwrap();
        // The prefix is followed by the first host's number, then by labels of 50 letters.
        let length = length - parts.names[1].len();
        let text: String =
            (0..length).map(|index| if index % 51 == 50 { '.' } else { 'z' }).collect();
        parts.rows[39].0 = letters(&text);
        Table::read(parts.write(1)).map(|table| table.rows())
    };
    assert_eq!(hosts(253), Ok(40));
    assert_eq!(hosts(254), Err(TableError::Content("exports")));
}

#[test]
fn the_prefix_must_be_as_long_as_possible() {
    refused("exports", |parts| {
        let moved = letter_of(parts.names[1].pop().unwrap()).unwrap();
        parts.rows.iter_mut().for_each(|(letters, _)| letters.insert(0, moved));
    });
    refused("exports", |parts| {
        parts.rows.truncate(1);
        parts.listings.truncate(1);
        parts.grant_sets.truncate(1);
        parts.caller_sets.clear();
        parts.names.truncate(6);
    });
    let empty = parts(&TableBuilder::new("alpha.example".parse().unwrap())).unwrap();
    assert!(Table::read(empty.write(1)).is_ok());
    let with_prefix = Parts { names: vec![empty.names[0].clone(), b"a".to_vec()], ..empty };
    assert_eq!(Table::read(with_prefix.write(1)).unwrap_err(), TableError::Content("exports"));
}

#[test]
fn the_rows_bytes_are_checked() {
    refused_bytes("exports", Section::BlockStarts, |starts| starts[4] += 1);
    refused_bytes("exports", Section::BlockStarts, |starts| starts[0] = 1);
    // The rows begin with `10` on port 80, `10` on 443, `11` on 80.
    let start = |rows: &[u8]| {
        assert_eq!((&rows[..2], &rows[5..7], &rows[8..10]), (&[0, 2][..], &[2, 0][..], &[1, 1][..]))
    };
    refused_bytes("exports", Section::Rows, |rows| {
        start(rows);
        rows[2..4].copy_from_slice(&pack("10-"));
    });
    refused_bytes("exports", Section::Rows, |rows| rows[5] = 1);
    refused_bytes("exports", Section::Rows, |rows| rows[5] = 3);
    refused_bytes("exports", Section::Rows, |rows| {
        rows[8..10].copy_from_slice(&[0, 2]);
        rows[10..12].copy_from_slice(&pack("11"));
    });
}

#[test]
fn a_block_shares_nothing_with_the_one_before() {
    let bytes = parts(&builder()).unwrap().write(1);
    let start = check(bytes.into()).unwrap().0.block_start(1).unwrap();
    // The block begins with `26`, and the row before is `25`.
    refused_bytes("exports", Section::Rows, |rows| {
        assert_eq!(rows[start..start + 4], [&[0, 2], &pack("26")[..]].concat());
        rows[start..start + 2].copy_from_slice(&[1, 1]);
        rows[start + 2..start + 4].copy_from_slice(&pack("6"));
    });
}

#[test]
fn every_wrong_count_is_refused() {
    let whole = parts(&builder()).unwrap().write(1);
    for count in 0..COUNTS {
        let at = COUNTS_AT + 4 * count;
        let old = u32::from_le_bytes(*whole[at..].first_chunk().unwrap());
        for new in [0, old - 1, old + 1, u32::MAX / 4, u32::MAX - 1, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
            seal(&mut bytes);
            let error = Table::read(bytes).unwrap_err();
            assert!(
                matches!(error, TableError::Length { .. } | TableError::Content(_)),
                "count {count}: {new}: {error}"
            );
        }
    }
}

#[test]
fn a_truncated_or_extended_table_is_refused_with_the_reason() {
    let whole = parts(&builder()).unwrap().write(1);
    for length in 0..whole.len() {
        let expected = if length < 8 { "not a fedgate table" } else { "truncated" };
        let error = Table::read(whole[..length].to_vec()).unwrap_err().to_string();
        assert!(error.contains(expected), "{length}: {error}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert!(matches!(Table::read(longer), Err(TableError::Length { .. })));
    let least = (HEADER_BYTES + HASH_BYTES) as u64;
    let error = Table::read(whole[..9].to_vec()).unwrap_err();
    assert!(
        matches!(error, TableError::Length { expected, actual: 9 } if expected == least),
        "{error}"
    );
}

#[test]
fn any_changed_byte_is_detected() {
    let whole = parts(&builder()).unwrap().write(1);
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        assert!(Table::read(bytes).is_err(), "{index}");
    }
}

/// Lookups in a table that was never checked may give wrong answers, but they end.
#[test]
fn lookups_in_unchecked_bytes_do_not_panic() {
    let whole = parts(&builder()).unwrap().write(1);
    fn ask(table: &Table, number: usize) -> Decision<'_> {
        let sni = format!("outbound_.80_._.web-{number}.shop.svc.alpha.example");
        decide(table, Some(&sni), Some("spiffe://beta.example/ns/other/sa/web"))
    }
    let read = |bytes: &[u8]| Table::read_checked(bytes);
    let (checked, unchecked) = (Table::read(whole.clone()).unwrap(), read(&whole).unwrap());
    for number in 9..31 {
        assert_eq!(ask(&unchecked, number), ask(&checked, number));
    }
    for index in 0..whole.len() {
        for value in [0, 1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[index] = value;
            if let Ok(table) = read(&bytes) {
                for number in [10, 11, 12, 29] {
                    ask(&table, number);
                }
            }
        }
    }
    assert!(read(&whole[..whole.len() - 1]).is_err());
}

/// The builder's content plus one passthrough service.
fn passthrough() -> Parts {
    let mut builder = builder();
    builder.passthrough("legacy.shop.svc.alpha.example:80".parse().unwrap()).unwrap();
    parts(&builder).unwrap()
}

#[test]
fn the_newer_version_is_for_tables_with_passthrough_only() {
    let (plain, newer) = (parts(&builder()).unwrap().write(1), passthrough().write(1));
    assert_eq!((plain[8], newer[8]), (1, 2));
    assert!(Table::read(newer.clone()).is_ok());
    for (mut bytes, other) in [(plain, 2), (newer, 1)] {
        bytes[8] = other;
        seal(&mut bytes);
        assert_eq!(
            Table::read(bytes).unwrap_err(),
            TableError::Content("listings"),
            "version {other}"
        );
    }
}

#[test]
fn a_grant_set_that_only_passthrough_would_use_is_refused() {
    let mut parts = passthrough();
    parts.grant_sets.push(vec![[1, ANY_CALLER]]);
    assert_eq!(Table::read(parts.write(1)).unwrap_err(), TableError::Content("listings"));
}

#[test]
fn unknown_versions_and_oversized_tables_are_refused_unread() {
    let mut bytes = parts(&builder()).unwrap().write(1);
    for version in [0, 3] {
        bytes[8] = version;
        assert_eq!(Table::read(bytes.clone()).unwrap_err(), TableError::Version(version.into()));
    }
    let size = super::MAX_TABLE_BYTES;
    assert_eq!(Table::read(vec![0; size + 1]).unwrap_err(), TableError::TooLarge(size + 1));
    assert_eq!(Table::read(vec![0; size]).unwrap_err(), TableError::Magic);
}
