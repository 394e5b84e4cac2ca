//! How many URI names a client's certificate has.
//!
//! Envoy shows a filter only the first URI SAN. A certificate with a second one belongs to no SPIFFE workload (X509-SVID,
//! section 2: exactly one), and what is behind us may judge by another name than we do, so it is refused. All that is
//! needed for that is to find the SAN extension (RFC 5280, section 4.1 and 4.2.1.6) and count: a walk over DER's tags
//! and lengths, in place. Envoy has parsed and verified the certificate before; what this walk cannot follow is refused.

use std::iter::from_fn;

/// The most bytes of URL-encoded PEM that are looked at. Certificates of workloads have 1 to 2 KiB.
pub const MAX_BYTES: usize = 64 << 10;

/// Why a certificate cannot be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafError {
    /// It is longer than [`MAX_BYTES`].
    TooLong,
    /// It is no URL-encoded PEM block of a certificate.
    Pem,
    /// Its DER has not the form of a certificate.
    Der,
}

/// Counts the URI names of a certificate that is given as Envoy does in `connection.peer_certificate`.
///
/// # Errors
/// [`LeafError`] for anything but one PEM block of a certificate in URL encoding; nothing panics.
pub fn uri_names(url_encoded_pem: &[u8]) -> Result<usize, LeafError> {
    if url_encoded_pem.len() > MAX_BYTES {
        return Err(LeafError::TooLong);
    }
    let der = pem_to_der(url_encoded_pem).ok_or(LeafError::Pem)?;
    uri_names_of_der(&der)
}

/// Counts the URI names of a certificate that is given as DER.
///
/// # Errors
/// [`LeafError::Der`] when its form is not that of a certificate with at most one SAN extension.
pub fn uri_names_of_der(der: &[u8]) -> Result<usize, LeafError> {
    count(der).ok_or(LeafError::Der)
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
/// `[3] EXPLICIT`: the extensions of a TBSCertificate.
const EXTENSIONS: u8 = 0xa3;
/// `[6] IMPLICIT IA5String`: the uniformResourceIdentifier of a GeneralName.
const URI: u8 = 0x86;
/// 2.5.29.17, subjectAltName.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

fn count(der: &[u8]) -> Option<usize> {
    let (certificate, []) = expect(SEQUENCE, der)? else { return None };
    let (mut fields, _signature) = expect(SEQUENCE, certificate)?;
    // The fields before have fixed places but for the optional version; none but the extensions has this tag.
    while !fields.is_empty() {
        let (tag, value, rest) = element(fields)?;
        if tag == EXTENSIONS {
            let (extensions, []) = expect(SEQUENCE, value)? else { return None };
            return rest.is_empty().then(|| count_in_extensions(extensions)).flatten();
        }
        fields = rest;
    }
    Some(0)
}

fn count_in_extensions(mut extensions: &[u8]) -> Option<usize> {
    let mut found = None;
    while !extensions.is_empty() {
        let (extension, rest) = expect(SEQUENCE, extensions)?;
        let (identifier, value) = expect(OBJECT_IDENTIFIER, extension)?;
        if identifier == SUBJECT_ALT_NAME && found.replace(count_in_names(value)?).is_some() {
            return None;
        }
        extensions = rest;
    }
    Some(found.unwrap_or(0))
}

/// What follows an extension's identifier: whether it is critical, and the names in an octet string.
fn count_in_names(value: &[u8]) -> Option<usize> {
    let value = expect(BOOLEAN, value).map_or(value, |(_critical, rest)| rest);
    let (value, []) = expect(OCTET_STRING, value)? else { return None };
    let (mut names, []) = expect(SEQUENCE, value)? else { return None };
    let mut uris = 0;
    while !names.is_empty() {
        let (tag, _, rest) = element(names)?;
        uris += usize::from(tag == URI);
        names = rest;
    }
    Some(uris)
}

/// An element's value and what follows it, when it has this tag.
fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = element(bytes)?;
    (found == tag).then_some((value, rest))
}

/// The first element: tag, value and what follows it. Tags of more than one byte and lengths of more than three occur in
/// no certificate of at most 64 KiB; lengths must be as short as they can (X.690, section 10.1).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => long_length(rest, usize::from(first & 0x7f))?,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    (tag & 0x1f != 0x1f).then_some((tag, value, rest))
}

fn long_length(bytes: &[u8], size: usize) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_at_checked(size)?;
    let shortest = length.first() != Some(&0);
    let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    (shortest && length > 0x7f).then_some((length, rest))
}

/// Undoes the URL encoding and the PEM in one pass.
fn pem_to_der(text: &[u8]) -> Option<Vec<u8>> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let mut bytes = percent_decoded(text);
    if !BEGIN.iter().all(|&expected| bytes.next() == Some(Some(expected))) {
        return None;
    }
    let mut der = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut pending) = (0_u32, 0_u32);
    loop {
        match bytes.next()?? {
            b'\n' | b'\r' => continue,
            // Padding ends the data, a dash begins the block's last line. What follows is of no interest.
            b'=' | b'-' => return Some(der),
            digit => bits = bits << 6 | base64_digit(digit)?,
        }
        pending += 6;
        if pending >= 8 {
            pending -= 8;
            der.push((bits >> pending & 0xff) as u8);
        }
    }
}

/// The bytes behind `%XX`; `Some(None)` for a broken escape.
fn percent_decoded(text: &[u8]) -> impl Iterator<Item = Option<u8>> + '_ {
    let mut bytes = text.iter();
    from_fn(move || match bytes.next()? {
        b'%' => {
            let mut digit = || char::from(*bytes.next()?).to_digit(16);
            Some(digit().zip(digit()).and_then(|(high, low)| u8::try_from(high << 4 | low).ok()))
        }
        &byte => Some(Some(byte)),
    })
}

fn base64_digit(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
