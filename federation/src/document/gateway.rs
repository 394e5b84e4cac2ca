use fedgate_core::{Hostname, InvalidName, ServicePort, SpiffeId};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of a gateway. Ordered by address, then port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayAddress {
    /// An IP address or a DNS name.
    pub address: GatewayHost,
    /// The port.
    pub port: ServicePort,
}

/// An IP address or a DNS name to which a connection can be opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GatewayHost {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Name(Hostname),
}

/// Why a text is not a [`GatewayHost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGateway {
    /// The address is not that of a single reachable host.
    #[error(
        "expected the address of a host, found an unspecified, multicast, broadcast or link-local one, or that of a cloud's metadata service"
    )]
    NoHost,
    /// It is not a valid name.
    #[error("expected an IP address or a DNS name: {0}")]
    Name(#[from] InvalidName),
    /// It looks like an IPv4 address but is not one.
    #[error("expected an IP address or a DNS name, found a name whose last label is a number")]
    Numeric,
}

impl GatewayAddress {
    /// Reads `host:port`, with an IPv6 address in brackets, as [`Self`] is displayed; `None` for
    /// anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // Without brackets the end of an IPv6 address is ambiguous: `fd00::1:443` is one without a
        // port.
        if bracketed.is_some() != host.contains(':') {
            return None;
        }
        let address = GatewayHost::parse(bracketed.unwrap_or(host)).ok()?;
        Some(Self { address, port: ServicePort::parse(port).ok()? })
    }
}

impl GatewayHost {
    /// Checks `text`.
    ///
    /// Addresses of cloud metadata services are refused, with them all link-local ones. Loopback
    /// addresses are allowed, because gateways of several clusters may run on one host.
    ///
    /// # Errors
    /// [`InvalidGateway`] if no host can be reached there.
    pub fn parse(text: &str) -> Result<Self, InvalidGateway> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            return match is_host(ip) {
                true => Ok(Self::Ip(ip)),
                false => Err(InvalidGateway::NoHost),
            };
        }
        // A trailing dot (the DNS root) does not change a name.
        let text = text.strip_suffix('.').unwrap_or(text);
        let name = Hostname::parse(text)?;
        // The last label of a host name is never all digits (RFC 1123, section 2.1), and resolvers
        // take `127.1` for an address. So a last label that begins with a digit is refused.
        match text
            .rsplit('.')
            .next()
            .is_some_and(|label| label.starts_with(|c: char| c.is_ascii_digit()))
        {
            true => Err(InvalidGateway::Numeric),
            false => Ok(Self::Name(name)),
        }
    }

    /// Returns true if it is an IP address.
    pub(crate) fn is_ip(&self) -> bool {
        matches!(self, Self::Ip(_))
    }
}

/// Returns true if `ip` is the address of a single host and not bound to one link. A mapped IPv6
/// address counts as the IPv4 address.
pub(crate) fn is_host(ip: IpAddr) -> bool {
    is_canonical_host(ip.to_canonical())
}

fn is_canonical_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local())
        }
        IpAddr::V6(ip) => {
            !(ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || CLOUD_METADATA.contains(&ip))
                && embedded(ip).is_none_or(|ip| is_canonical_host(ip.into()))
        }
    }
}

/// The metadata services of AWS and Google Cloud, which are not link-local in IPv6.
const CLOUD_METADATA: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The IPv4 address to which NAT64 translates this one (64:ff9b::/96, RFC 6052).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = ip.segments() else { return None };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

impl std::fmt::Display for GatewayHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl std::fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            GatewayHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            address => write!(f, "{address}:{}", self.port),
        }
    }
}

impl TryFrom<String> for GatewayHost {
    type Error = InvalidGateway;

    fn try_from(text: String) -> Result<Self, InvalidGateway> {
        Self::parse(&text)
    }
}

impl From<GatewayHost> for String {
    fn from(host: GatewayHost) -> String {
        host.to_string()
    }
}

/// The SPIFFE ID of a workload, as an owned value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadIdentity(Box<str>);

impl WorkloadIdentity {
    /// Checks `uri`.
    ///
    /// # Errors
    /// [`InvalidName`] if it is not the SPIFFE ID of a workload.
    pub fn parse(uri: &str) -> Result<Self, InvalidName> {
        SpiffeId::parse(uri).map(|_| Self(uri.into()))
    }

    /// Returns the whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns its trust domain.
    pub fn trust_domain(&self) -> &str {
        SpiffeId::parse(&self.0).map(|id| id.trust_domain()).unwrap_or_default()
    }
}

impl std::fmt::Display for WorkloadIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WorkloadIdentity {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<WorkloadIdentity> for String {
    fn from(identity: WorkloadIdentity) -> String {
        identity.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_hosts_are_accepted() {
        for good in [
            "10.0.0.1",
            "127.0.0.1",
            "::1",
            "2001:db8::1",
            "64:ff9b::a00:1",
            "fd00:ec2::1",
            "gw.beta.example",
            "localhost",
        ] {
            assert!(GatewayHost::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::",
            "fd00:ec2::254",
            "fd20:ce::254",
            "10.0.0.1:80",
            "a b",
            "127.1",
            "0x7f.1",
            "300.1.1.1",
            "[::1]",
            "10.0.0.1/32",
        ] {
            assert!(GatewayHost::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_parsed_as_it_is_displayed() {
        for text in ["gw.beta.example:15443", "192.0.2.1:443", "[2001:db8::1]:15443"] {
            assert_eq!(GatewayAddress::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "gw.beta.example",
            "192.0.2.1:0",
            ":15443",
            "[2001:db8::1]",
            "a b:1",
            "2001:db8::1:443",
            "[gw.example]:443",
        ] {
            assert_eq!(GatewayAddress::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trailing_dot_does_not_change_a_name() {
        assert_eq!(GatewayHost::parse("gw.beta.example."), GatewayHost::parse("GW.beta.example"));
        assert_eq!(GatewayAddress::parse("gw.example.:443").unwrap().to_string(), "gw.example:443");
        for bad in [".", "gw..", "127.0.0.1.", "gw.1."] {
            assert!(GatewayHost::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mapped_address_equals_the_ipv4_address() {
        assert_eq!(GatewayHost::parse("::ffff:10.0.0.1"), GatewayHost::parse("10.0.0.1"));
    }
}
