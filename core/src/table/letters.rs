//! The 39 characters of a host name as numbers, three of which fit in two bytes.
//!
//! Three letters form one number in base 40, big-endian; zeros pad the last group. Letters are
//! numbered in ASCII order and none is zero, so packed texts compare byte by byte as the texts do.

use crate::name::Hostname;

const BASE: u16 = 40;

/// The letter of a character; `None` if it cannot occur in a lower-case host name.
pub(super) fn letter_of(character: u8) -> Option<u8> {
    match character {
        b'-' => Some(1),
        b'.' => Some(2),
        b'0'..=b'9' => Some(character - b'0' + 3),
        b'_' => Some(13),
        b'a'..=b'z' => Some(character - b'a' + 14),
        _ => None,
    }
}

pub(super) fn character_of(letter: u8) -> Option<u8> {
    match letter {
        1 => Some(b'-'),
        2 => Some(b'.'),
        3..=12 => Some(letter - 3 + b'0'),
        13 => Some(b'_'),
        14..=39 => Some(letter - 14 + b'a'),
        _ => None,
    }
}

/// The number of bytes that `letters` packed letters take.
pub(super) fn packed_length(letters: usize) -> usize {
    letters.div_ceil(3) * 2
}

/// Packs letters, two bytes per three letters.
pub(super) fn pack(letters: &[u8]) -> impl Iterator<Item = u8> {
    letters.chunks(3).flat_map(pack_three)
}

fn pack_three(three: &[u8]) -> [u8; 2] {
    let letter = |index| three.get(index).copied().map_or(0, u16::from);
    ((letter(0) * BASE + letter(1)) * BASE + letter(2)).to_be_bytes()
}

/// Unpacks letters, three at a time, including the zeros that pad the last group. (On the hot path
/// two nested loops take half the time of one over a flattened iterator.)
pub(super) fn unpack(packed: &[u8]) -> impl Iterator<Item = [u8; 3]> {
    packed.as_chunks::<2>().0.iter().map(|two| {
        let number = u16::from_be_bytes(*two);
        [number / BASE / BASE, number / BASE % BASE, number % BASE].map(|letter| letter as u8)
    })
}

/// A text to look up among the rows, both as letters and packed.
pub(super) struct Letters {
    letters: [u8; Hostname::MAX_BYTES],
    packed: [u8; Hostname::MAX_BYTES.div_ceil(3) * 2],
    length: usize,
}

impl Letters {
    /// Returns `None` if `text` is too long or has a character that cannot occur in a host name.
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let mut new = Self { letters: [0; _], packed: [0; _], length: text.len() };
        for (slot, &character) in new.letters.get_mut(..text.len())?.iter_mut().zip(text) {
            *slot = letter_of(character)?;
        }
        let Self { letters, packed, .. } = &mut new;
        let groups = letters.get(..text.len())?.chunks(3);
        for (slot, three) in packed.as_chunks_mut::<2>().0.iter_mut().zip(groups) {
            *slot = pack_three(three);
        }
        Some(new)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.letters.get(..self.length).unwrap_or_default()
    }

    pub(super) fn packed(&self) -> &[u8] {
        self.packed.get(..packed_length(self.length)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_in_the_order_of_their_characters() {
        let characters: Vec<u8> = (0..=255).filter(|&c| letter_of(c).is_some()).collect();
        assert_eq!(characters, b"-.0123456789_abcdefghijklmnopqrstuvwxyz");
        let letters: Vec<u8> = characters.iter().filter_map(|&c| letter_of(c)).collect();
        assert_eq!(letters, (1..40).collect::<Vec<u8>>());
        assert_eq!(letters.iter().filter_map(|&l| character_of(l)).collect::<Vec<_>>(), characters);
        assert_eq!((character_of(0), character_of(40)), (None, None));
    }

    #[test]
    fn the_longest_host_fits_and_nothing_longer() {
        assert_eq!(Letters::new(&[b'z'; 253]).unwrap().packed().len(), 170);
        assert!(Letters::new(&[b'z'; 254]).is_none());
        assert!(Letters::new(b"A").is_none());
        assert!(Letters::new(b"").unwrap().packed().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn packing_round_trips(text in "[a-z0-9._-]{0,40}") {
            let letters = Letters::new(text.as_bytes()).unwrap();
            let back: Vec<u8> = unpack(letters.packed()).flatten().collect();
            proptest::prop_assert_eq!(&back[..text.len()], letters.as_slice());
            proptest::prop_assert!(back[text.len()..].iter().all(|&letter| letter == 0));
            proptest::prop_assert_eq!(letters.packed().len(), packed_length(text.len()));
        }

        #[test]
        fn packed_texts_compare_as_the_texts_do(a in "[ab._-]{0,7}", b in "[ab._-]{0,7}") {
            let (packed_a, packed_b) = (Letters::new(a.as_bytes()).unwrap(), Letters::new(b.as_bytes()).unwrap());
            proptest::prop_assert_eq!(packed_a.packed().cmp(packed_b.packed()), a.cmp(&b));
        }
    }
}
