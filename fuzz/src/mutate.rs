//! Changes valid inputs a little, so that they get past a parser's first checks. A few inputs are
//! random altogether.

use fastrand::Rng;

/// The longest input, in bytes.
const LONGEST: usize = 4096;

/// Values at which parsers count wrongly, and bytes that their grammars use.
const INTERESTING: [&[u8]; 12] = [
    b"\xff\xff\xff\xff",
    b"\x00",
    b"\x7f",
    b"\xf0\x9f\x92\xa9",
    b"18446744073709551615",
    b"-1",
    b"1e999",
    b"\"",
    b"\\u0000",
    b"{}",
    b"[]",
    b"null",
];

/// An input made from `seeds`, which are not empty.
pub fn mutate(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut data = pick(seeds, rng).clone();
    for _ in 0..rng.usize(1..6) {
        change(&mut data, seeds, rng);
    }
    data.truncate(LONGEST);
    if rng.u8(..) < 16 {
        rng.fill(&mut data);
    }
    data
}

fn pick<'s>(seeds: &'s [Vec<u8>], rng: &mut Rng) -> &'s Vec<u8> {
    &seeds[rng.usize(..seeds.len())]
}

fn change(data: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=data.len());
    match rng.u8(..9) {
        0 if at < data.len() => data[at] = rng.u8(..),
        1 if at < data.len() => data[at] ^= 1 << rng.u8(..8),
        2 if at < data.len() => data[at] = data[at].wrapping_add(1),
        3 => drop(data.drain(range(data, rng))),
        4 => {
            let again = data[range(data, rng)].to_vec();
            data.splice(at..at, again);
        }
        5 => {
            let other = pick(seeds, rng);
            let part = other[range(other, rng)].to_vec();
            data.splice(at..at, part);
        }
        6 => {
            let word = INTERESTING[rng.usize(..INTERESTING.len())];
            data.splice(at..at, word.iter().copied());
        }
        7 => data.truncate(at),
        _ => data.insert(at, rng.u8(..)),
    }
}

/// A part of the data, mostly a short one.
fn range(data: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=data.len());
    let longest = if rng.bool() { 8 } else { data.len() };
    start..(start + rng.usize(..=longest)).min(data.len())
}
