//! The addresses at which something on this machine listens.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads the kernel's tables of TCP sockets. What cannot be read has no sockets.
pub(super) fn sockets() -> BTreeSet<SocketAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.map(|table| std::fs::read_to_string(table).unwrap_or_default());
    texts.iter().flat_map(|text| listening(text)).collect()
}

fn listening(table: &str) -> impl Iterator<Item = SocketAddr> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next()?;
        (words.nth(1)? == LISTEN).then(|| address(local)).flatten()
    })
}

/// An address is in hexadecimal, each of its words of four bytes in the machine's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<_>> = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .collect();
    let address = match *words? {
        [word] => IpAddr::from(Ipv4Addr::from(word.to_ne_bytes())),
        [a, b, c, d] => {
            let bytes = [a, b, c, d].map(u32::to_ne_bytes).concat();
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_listener_is_found_and_a_connection_is_not() {
        let listener = TcpListener::bind("127.96.3.4:0").unwrap();
        let six = TcpListener::bind("[::1]:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let found = sockets();
        assert!(found.contains(&listener.local_addr().unwrap()));
        assert!(found.contains(&six.local_addr().unwrap()));
        assert!(!found.contains(&client.local_addr().unwrap()));
    }

    #[test]
    fn an_unexpected_line_is_skipped() {
        let text = "header\n 0: 0100007F:0050 00000000:0000 0A x\n 1: zz:0050 0:0 0A\n 2:\n";
        assert_eq!(listening(text).count(), 1);
    }
}
