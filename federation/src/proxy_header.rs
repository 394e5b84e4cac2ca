//! The header of the PROXY protocol, by which a load balancer says from where a connection came
//! (`proxy-protocol.txt` of HAProxy, versions 1 and 2).

use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use std::net::IpAddr;

/// The first bytes of a header that are enough to tell its version.
pub const START: usize = 12;
/// The bytes of a header of version 2 before its variable part.
pub const FIXED: usize = 16;
/// The longest header of version 1, with its line break.
pub const LONGEST_LINE: usize = 107;
/// The longest header of version 2 that is read. The protocol allows 64 KiB; balancers add some
/// hundred bytes to the addresses.
pub const LONGEST: usize = 4096;
/// A header of version 2 by which a balancer, or whoever acts for it, connects on its own behalf.
pub const LOCAL: [u8; FIXED] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// How a header goes on after its first [`START`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line: it ends with the next line break.
    One,
    /// The length is in the next bytes.
    Two,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a header of the PROXY protocol, version 1 or 2")]
pub struct InvalidHeader;

impl From<InvalidHeader> for std::io::Error {
    fn from(error: InvalidHeader) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Tells the version by the first [`START`] bytes.
///
/// # Errors
/// [`InvalidHeader`] if no header begins so.
pub fn version(start: &[u8]) -> Result<Version, InvalidHeader> {
    match (start, start.starts_with(b"PROXY ")) {
        (SIGNATURE, _) => Ok(Version::Two),
        (_, true) => Ok(Version::One),
        _ => Err(InvalidHeader),
    }
}

/// Returns the length of the variable part of a header of version 2, given its first [`FIXED`]
/// bytes.
///
/// # Errors
/// [`InvalidHeader`] if the whole header would be longer than [`LONGEST`].
pub fn variable_part(fixed: &[u8]) -> Result<usize, InvalidHeader> {
    let [.., high, low] = fixed else { return Err(InvalidHeader) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    (length <= LONGEST - FIXED).then_some(length).ok_or(InvalidHeader)
}

/// Returns the source of the connection, given a whole header and nothing after it. `None` if the
/// balancer connects on its own behalf, or does not know the source.
///
/// # Errors
/// [`InvalidHeader`] for anything else.
pub fn source(header: &[u8]) -> Result<Option<IpAddr>, InvalidHeader> {
    // The parser takes any byte for the space after `PROXY`, and any number of lines after
    // `UNKNOWN`.
    let version = version(header.get(..START).ok_or(InvalidHeader)?)?;
    if version == Version::One && !is_line(header) {
        return Err(InvalidHeader);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, length)) if length == header.len() => {
            let ip = |address: &ProxiedAddress| address.source.ip().to_canonical();
            Ok(parsed.proxied_address().map(ip))
        }
        _ => Err(InvalidHeader),
    }
}

/// Returns true for one line, of a length that the protocol allows.
fn is_line(header: &[u8]) -> bool {
    header.len() <= LONGEST_LINE
        && header.iter().position(|byte| *byte == b'\n') == Some(header.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[test]
    fn both_versions_say_the_source() {
        let ip = |text: &str| Ok(Some(text.parse().unwrap()));
        assert_eq!(source(b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n"), ip("192.0.2.7"));
        assert_eq!(source(b"PROXY TCP6 2001:db8::7 ::1 40000 443\r\n"), ip("2001:db8::7"));
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 0, 1, 187];
        assert_eq!(source(&two(0x21, 0x11, &v4)), ip("192.0.2.7"));
        let with_more = [&v4[..], &[4, 0, 1, 7]].concat();
        assert_eq!(source(&two(0x21, 0x11, &with_more)), ip("192.0.2.7"), "more fields follow");
        let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 443\r\n";
        assert_eq!(source(mapped), ip("192.0.2.7"));
    }

    #[test]
    fn a_balancer_may_connect_on_its_own_behalf() {
        assert_eq!(source(&LOCAL), Ok(None));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), Ok(None));
    }

    #[test]
    fn other_bytes_are_no_header() {
        let short = [192, 0, 2, 7];
        for bad in [
            b"".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\nmore".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n".to_vec(),
            b"PROXY UNKNOWN\n\r\n".to_vec(),
            [&b"PROXY UNKNOWN"[..], &[b' '; 100], b"\r\n"].concat(),
            b"PROXY.TCP4 192.0.2.7 10.0.0.1 40000 443\r\n".to_vec(),
            b"PROXY TCP4 fd00::1 10.0.0.1 40000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.700 10.0.0.1 40000 443\r\n".to_vec(),
            two(0x21, 0x11, &short),
            two(0x31, 0x11, &short),
            LOCAL[..15].to_vec(),
        ] {
            assert_eq!(source(&bad), Err(InvalidHeader), "{bad:?}");
        }
    }

    #[test]
    fn the_length_is_limited_before_anything_is_read() {
        assert_eq!(version(&LOCAL[..START]), Ok(Version::Two));
        assert_eq!(version(b"PROXY TCP4 1"), Ok(Version::One));
        assert_eq!(version(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0"), Err(InvalidHeader));
        let of = |length: u16| {
            let mut fixed = LOCAL;
            fixed[14..].copy_from_slice(&length.to_be_bytes());
            variable_part(&fixed)
        };
        assert_eq!((of(0), of(4080)), (Ok(0), Ok(4080)));
        assert_eq!((of(4081), of(u16::MAX)), (Err(InvalidHeader), Err(InvalidHeader)));
    }
}
