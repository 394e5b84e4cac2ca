//! A strict check of the encoding of certificates.
//!
//! Envoy reads a bundle map as a whole. If BoringSSL cannot read one certificate, *no* peer's roots
//! are updated any more, and a new gateway does not even start. x509-parser is more lenient: it
//! ignores wrong tags inside names, long spellings of lengths and more. So a peer could publish a
//! root that passes x509-parser and stops everybody.
//!
//! This module therefore checks the whole structure of an X.509 version 3 certificate (RFC 5280,
//! section 4.1) in DER (X.690), byte by byte and more strictly than BoringSSL. The contents are
//! read elsewhere.

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const T61_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Returns true if `der` is a version 3 certificate in strict DER. It refuses the obsolete unique
/// identifiers. It also refuses algorithms with parameters other than an object identifier or NULL,
/// such as RSASSA-PSS.
pub(crate) fn is_certificate(der: &[u8]) -> bool {
    whole(der, |reader| {
        let certificate = reader.take(SEQUENCE)?;
        whole(certificate, |reader| {
            whole(reader.take(SEQUENCE)?, tbs_certificate)?;
            algorithm(reader)?;
            octets(reader)
        })
    })
    .is_some()
}

fn tbs_certificate(reader: &mut Reader<'_>) -> Option<()> {
    whole(reader.take(VERSION)?, |version| (version.take(INTEGER)? == [2]).then_some(()))?;
    integer(reader.take(INTEGER)?)?;
    algorithm(reader)?;
    name(reader)?;
    whole(reader.take(SEQUENCE)?, |validity| time(validity).and_then(|()| time(validity)))?;
    name(reader)?;
    whole(reader.take(SEQUENCE)?, |key| algorithm(key).and_then(|()| octets(key)))?;
    whole(reader.take(EXTENSIONS)?, |reader| each(reader.take(SEQUENCE)?, extension))
}

fn algorithm(reader: &mut Reader<'_>) -> Option<()> {
    whole(reader.take(SEQUENCE)?, |algorithm| {
        oid(algorithm.take(OID)?)?;
        match algorithm.next_tag() {
            None => Some(()),
            Some(NULL) => algorithm.take(NULL)?.is_empty().then_some(()),
            Some(_) => oid(algorithm.take(OID)?),
        }
    })
}

fn name(reader: &mut Reader<'_>) -> Option<()> {
    let attribute = |reader: &mut Reader<'_>| {
        whole(reader.take(SEQUENCE)?, |attribute| {
            oid(attribute.take(OID)?)?;
            let (tag, value) = attribute.any()?;
            is_text(tag, value).then_some(())
        })
    };
    let set = |reader: &mut Reader<'_>| {
        let attributes = reader.take(SET)?;
        (!attributes.is_empty()).then_some(())?;
        each(attributes, attribute)
    };
    each_or_none(reader.take(SEQUENCE)?, set)
}

fn is_text(tag: u8, value: &[u8]) -> bool {
    match tag {
        UTF8_STRING => std::str::from_utf8(value)
            .is_ok_and(|text| text.chars().all(|c| is_character(c.into()))),
        PRINTABLE_STRING | IA5_STRING => value.is_ascii(),
        T61_STRING => true,
        BMP_STRING => {
            let (units, rest) = value.as_chunks();
            rest.is_empty()
                && units.iter().all(|unit| is_character(u16::from_be_bytes(*unit).into()))
        }
        _ => false,
    }
}

/// Refuses surrogates and Unicode's noncharacters, as BoringSSL does.
fn is_character(code: u32) -> bool {
    char::from_u32(code).is_some() && code & 0xfffe != 0xfffe && !(0xfdd0..=0xfdef).contains(&code)
}

/// RFC 5280, section 4.1.2.5: in UTC, to the second. x509-parser checks that the digits are a date.
fn time(reader: &mut Reader<'_>) -> Option<()> {
    let (tag, text) = reader.any()?;
    let (zone, digits) = text.split_last()?;
    let length = match tag {
        UTC_TIME => 12,
        GENERALIZED_TIME => 14,
        _ => return None,
    };
    (*zone == b'Z' && digits.len() == length && digits.iter().all(u8::is_ascii_digit)).then_some(())
}

fn extension(reader: &mut Reader<'_>) -> Option<()> {
    whole(reader.take(SEQUENCE)?, |extension| {
        oid(extension.take(OID)?)?;
        // DER leaves out defaults, and the default here is false.
        if extension.next_tag() == Some(BOOLEAN) && extension.take(BOOLEAN)? != [0xff] {
            return None;
        }
        extension.take(OCTET_STRING).map(|_| ())
    })
}

/// Reads a bit string of whole bytes.
fn octets(reader: &mut Reader<'_>) -> Option<()> {
    reader.take(BIT_STRING)?.split_first().filter(|(unused, _)| **unused == 0).map(|_| ())
}

fn integer(value: &[u8]) -> Option<()> {
    match value {
        [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => None,
        _ => Some(()),
    }
}

/// Checks numbers in base 128. None begins with a zero digit, and the last byte ends one.
fn oid(value: &[u8]) -> Option<()> {
    let mut begins = true;
    for byte in value {
        if begins && *byte == 0x80 {
            return None;
        }
        begins = byte & 0x80 == 0;
    }
    (!value.is_empty() && begins).then_some(())
}

/// Reads `value` to its end.
fn whole<'a>(value: &'a [u8], read: impl FnOnce(&mut Reader<'a>) -> Option<()>) -> Option<()> {
    let mut reader = Reader(value);
    read(&mut reader)?;
    reader.0.is_empty().then_some(())
}

/// Reads one or more items to the end of `value`.
fn each<'a>(value: &'a [u8], read: impl Fn(&mut Reader<'a>) -> Option<()>) -> Option<()> {
    (!value.is_empty()).then_some(())?;
    each_or_none(value, read)
}

fn each_or_none<'a>(value: &'a [u8], read: impl Fn(&mut Reader<'a>) -> Option<()>) -> Option<()> {
    let mut reader = Reader(value);
    while !reader.0.is_empty() {
        read(&mut reader)?;
    }
    Some(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next_tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value) = self.any()?;
        (found == tag).then_some(value)
    }

    /// Returns a tag and its value. The length must have its shortest spelling, in at most two
    /// bytes.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (length, value) = match self.0 {
            [_, short @ 0x00..=0x7f, value @ ..] => (usize::from(*short), value),
            [_, 0x81, long @ 0x80..=0xff, value @ ..] => (usize::from(*long), value),
            [_, 0x82, high @ 0x01..=0xff, low, value @ ..] => {
                (usize::from(u16::from_be_bytes([*high, *low])), value)
            }
            _ => return None,
        };
        let tag = self.next_tag()?;
        let (value, rest) = value.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(1));
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "x");
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    /// Returns the offset of `bytes` in `der`.
    fn position_of(der: &[u8], bytes: &[u8]) -> usize {
        der.windows(bytes.len()).position(|window| window == bytes).unwrap()
    }

    fn changed(bytes: &[u8], at: usize, to: u8) -> bool {
        let mut der = root();
        let start = position_of(&der, bytes);
        der[start + at] = to;
        is_certificate(&der)
    }

    #[test]
    fn accepts_a_certificate() {
        // A single root, because the lengths of signatures differ.
        let root = root();
        assert!(is_certificate(&root));
        assert!(!is_certificate(&[]));
        assert!(!is_certificate(&[root.clone(), vec![0]].concat()));
        assert!(!is_certificate(&root[..root.len() - 1]));
    }

    /// Each of these passed x509-parser and made Envoy 1.40 refuse the whole bundle map.
    #[test]
    fn refuses_what_envoy_refuses() {
        let version = [0xa0, 0x03, 0x02, 0x01, 0x02];
        assert!(changed(&version, 4, 2) && !changed(&version, 0, 0x80));
        let algorithm = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
        assert!(
            !changed(&algorithm, 0, 0x10)
                && !changed(&algorithm, 2, 0x08)
                && !changed(&algorithm, 11, 0x82)
        );
        let attribute = [0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x01, b'x'];
        assert!(
            changed(&attribute, 11, b'y')
                && !changed(&attribute, 0, 0x05)
                && !changed(&attribute, 2, 0x10)
        );
        assert!(!changed(&attribute, 9, 0x37) && !changed(&attribute, 11, 0xff));
    }

    #[test]
    fn lengths_have_one_encoding() {
        let mut reader = Reader(&[0x04, 0x81, 0x01, 0x00]);
        assert_eq!(reader.any(), None);
        assert_eq!(Reader(&[0x04, 0x82, 0x00, 0x81, 0x00]).any(), None);
        assert_eq!(Reader(&[0x04, 0x80]).any(), None);
        assert_eq!(Reader(&[0x04, 0x02, 0x00]).any(), None);
        assert_eq!(Reader(&[0x04, 0x01, 0x07, 0x08]).any(), Some((0x04, [7].as_slice())));
        let long = [vec![0x04, 0x81, 0x80], vec![0; 128]].concat();
        assert_eq!(Reader(&long).take(0x04).map(<[u8]>::len), Some(128));
    }

    #[test]
    fn texts_consist_of_valid_characters() {
        assert!(is_text(UTF8_STRING, "ä".as_bytes()) && !is_text(UTF8_STRING, &[0xff]));
        assert!(
            !is_text(UTF8_STRING, "\u{fdd0}".as_bytes())
                && !is_text(UTF8_STRING, "\u{1ffff}".as_bytes())
        );
        assert!(is_text(PRINTABLE_STRING, b"a") && !is_text(IA5_STRING, &[0x80]));
        assert!(
            is_text(BMP_STRING, &[0, 0x41])
                && !is_text(BMP_STRING, &[0x41])
                && !is_text(BMP_STRING, &[0xd8, 0])
        );
        assert!(!is_text(0x1c, &[0, 0, 0, 0x41]));
    }

    #[test]
    fn numbers_and_identifiers_have_the_shortest_encoding() {
        assert!(
            integer(&[0]).is_some()
                && integer(&[0, 0x80]).is_some()
                && integer(&[0xff, 0x7f]).is_some()
        );
        assert!(
            integer(&[]).is_none()
                && integer(&[0, 0x7f]).is_none()
                && integer(&[0xff, 0x80]).is_none()
        );
        assert!(oid(&[0x2a, 0x86, 0x48]).is_some());
        assert!(
            oid(&[]).is_none()
                && oid(&[0x2a, 0x80, 0x01]).is_none()
                && oid(&[0x2a, 0x86]).is_none()
        );
    }
}
