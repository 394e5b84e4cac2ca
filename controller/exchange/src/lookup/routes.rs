//! Leaves out addresses of a family that this machine has no way to: a name may have IPv6 addresses,
//! and this cluster only IPv4.

use super::Found;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The addresses of a name that have a route; all of them if none has one, so that the failure of
/// their connections is seen.
///
/// If none has one and the other family could not be looked up, that is the failure: its addresses
/// may have a route. The caller then keeps the last addresses.
pub(super) fn with_route(
    found: Found,
    has_route: impl Fn(IpAddr) -> bool,
) -> Result<Found, String> {
    let with: Vec<_> = found.addresses.iter().copied().filter(|ip| has_route(*ip)).collect();
    match (with.is_empty(), found.failure) {
        (true, Some(failure)) => Err(failure),
        (true, None) => Ok(Found { failure: None, ..found }),
        (false, failure) => Ok(Found { addresses: with, failure, ..found }),
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
        Found { addresses, time_to_live: Duration::from_secs(30), failure: None }
    }

    #[test]
    fn addresses_without_a_route_are_left_out_if_others_have_one() {
        let both = found(&["192.0.2.9", "2001:db8::9"]);
        let with = |has_route: fn(IpAddr) -> bool| with_route(both.clone(), has_route).unwrap();
        assert_eq!(with(|ip| ip.is_ipv4()), found(&["192.0.2.9"]));
        assert_eq!(with(|ip| ip.is_ipv6()), found(&["2001:db8::9"]));
        assert_eq!(with(|_| true), both);
        assert_eq!(with(|_| false), both);
    }

    /// The last addresses stay: those of the family that could not be looked up may be among them.
    #[test]
    fn half_an_answer_without_a_route_is_a_failure() {
        let failed = |addresses: &[&str]| {
            let failure = Some("no name server answers".to_owned());
            Found { failure, ..found(addresses) }
        };
        let half = failed(&["2001:db8::9"]);
        let error = with_route(half.clone(), |ip| ip.is_ipv4()).unwrap_err();
        assert_eq!(error, "no name server answers");
        // The twin: what has a route is used.
        assert_eq!(with_route(half.clone(), |_| true), Ok(half));
        let half = failed(&["192.0.2.9"]);
        assert_eq!(with_route(half.clone(), |ip| ip.is_ipv4()), Ok(half));
    }

    #[test]
    fn loopback_has_a_route_everywhere() {
        assert!(has_route(Ipv4Addr::LOCALHOST.into()));
    }
}
