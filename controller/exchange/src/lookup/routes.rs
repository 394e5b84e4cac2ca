//! Leaves out addresses of a family that this machine has no way to: a name may have IPv6 addresses,
//! and this cluster only IPv4.

use super::Found;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The addresses of a name that have a route; all of them if none has one, so that the failure of
/// their connections is seen.
pub(super) fn with_route(found: Found, has_route: impl Fn(IpAddr) -> bool) -> Found {
    let with: Vec<_> = found.addresses.iter().copied().filter(|ip| has_route(*ip)).collect();
    match with.is_empty() {
        true => found,
        false => Found { addresses: with, ..found },
    }
}

/// Asks the system for a route. Nothing is sent: for UDP, to connect is to look up the route.
pub(super) fn has_route(ip: IpAddr) -> bool {
    const DISCARD: u16 = 9;
    let own: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((own, 0)).and_then(|socket| socket.connect((ip, DISCARD))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn found(addresses: &[&str]) -> Found {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        Found { addresses, time_to_live: Duration::from_secs(30) }
    }

    #[test]
    fn addresses_without_a_route_are_left_out_if_others_have_one() {
        let both = found(&["192.0.2.9", "2001:db8::9"]);
        assert_eq!(with_route(both.clone(), |ip| ip.is_ipv4()), found(&["192.0.2.9"]));
        assert_eq!(with_route(both.clone(), |ip| ip.is_ipv6()), found(&["2001:db8::9"]));
        assert_eq!(with_route(both.clone(), |_| true), both);
        assert_eq!(with_route(both.clone(), |_| false), both);
    }

    #[test]
    fn loopback_has_a_route_everywhere() {
        assert!(has_route(Ipv4Addr::LOCALHOST.into()));
    }
}
