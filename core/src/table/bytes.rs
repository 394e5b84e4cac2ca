//! Reads numbers from bytes. Any read may fail; none panics.

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    rest: &'t [u8],
}

impl<'t> Cursor<'t> {
    pub(super) fn new(rest: &'t [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'t [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Reads an unsigned LEB128 number of at most 32 bits. Only the shortest form is accepted, so
    /// that each table has one spelling.
    pub(super) fn number(&mut self) -> Option<u32> {
        let (&first, mut rest) = self.rest.split_first()?;
        let mut value = u32::from(first & 0x7f);
        let mut last = first;
        let mut shift = 7;
        while last & 0x80 != 0 {
            let (&byte, tail) = rest.split_first()?;
            let bits = u32::from(byte & 0x7f);
            if shift > 28 || (shift == 28 && bits > 0xf) || byte == 0 {
                return None;
            }
            value |= bits << shift;
            (last, rest, shift) = (byte, tail, shift + 7);
        }
        self.rest = rest;
        Some(value)
    }
}

pub(super) fn push_number(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_truncated_or_padded_number_is_refused() {
        let read = |bytes: &[u8]| Cursor::new(bytes).number();
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some(u32::MAX));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x10]), None, "33 bits");
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), None, "36 bits");
        assert_eq!(read(&[0x81, 0x00]), None, "not the shortest form");
        assert_eq!(read(&[0x81]), None, "the next byte is missing");
        assert_eq!(read(&[]), None);
    }

    proptest::proptest! {
        #[test]
        fn a_number_round_trips(value: u32) {
            let mut out = Vec::new();
            push_number(&mut out, value);
            let mut cursor = Cursor::new(&out);
            proptest::prop_assert_eq!(cursor.number(), Some(value));
            proptest::prop_assert_eq!(cursor.remaining(), 0);
        }

        #[test]
        fn a_number_has_one_spelling(bytes in proptest::collection::vec(0u8.., 1..8)) {
            let mut cursor = Cursor::new(&bytes);
            if let Some(value) = cursor.number() {
                let mut out = Vec::new();
                push_number(&mut out, value);
                proptest::prop_assert_eq!(&out[..], &bytes[..bytes.len() - cursor.remaining()]);
            }
        }
    }
}
