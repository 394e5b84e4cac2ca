use super::{Hostname, InvalidName};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

/// A Service port: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePort(NonZeroU16);

impl ServicePort {
    /// Wraps `number`; returns `None` for 0.
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// Parses a decimal number without sign, spaces or leading zeros, so that each port has only
    /// one spelling.
    ///
    /// # Errors
    /// [`InvalidName`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        const FORM: InvalidName = InvalidName::Form("a port from 1 to 65535");
        if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(FORM);
        }
        text.parse().ok().and_then(Self::new).ok_or(FORM)
    }

    /// The port's number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl std::fmt::Display for ServicePort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One port of one Service, written `host:port`: the unit that is exported, granted and called. Its
/// server name is short enough for TLS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct ServiceName {
    /// `<name>.<namespace>.svc.<trust domain>`.
    pub host: Hostname,
    /// The Service's port, not the workload's.
    pub port: ServicePort,
}

impl ServiceName {
    /// The maximum length of a server name in bytes. BoringSSL, and therefore Envoy, neither sends
    /// nor accepts a longer one (`TLSEXT_MAXLEN_host_name`).
    pub const MAX_SNI_BYTES: usize = 255;

    /// Names the service at `port` of `host`.
    ///
    /// # Errors
    /// [`InvalidName::ServerName`] if no client could call it. A host name may have 253 bytes, and
    /// the server name adds up to 19.
    pub fn new(host: Hostname, port: ServicePort) -> Result<Self, InvalidName> {
        let name = Self { host, port };
        match name.sni().len() {
            length if length > Self::MAX_SNI_BYTES => Err(InvalidName::ServerName(length)),
            _ => Ok(name),
        }
    }

    /// Parses `host:port`.
    ///
    /// # Errors
    /// [`InvalidName`] if either part is invalid, or if both together are too long.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidName::Form("<host>:<port>"))?;
        Self::new(Hostname::parse(host)?, ServicePort::parse(port)?)
    }

    /// The server name that clients send for this service (Istio's form, without a subset).
    pub fn sni(&self) -> String {
        format!("outbound_.{}_._.{}", self.port, self.host)
    }

    /// The name as text, `host:port`.
    pub fn text(&self) -> String {
        // On the hot path, and cheaper than `format!`.
        [self.host.as_str(), ":", &self.port.get().to_string()].concat()
    }

    /// The name of this service's Envoy cluster (Istio's form, without a subset).
    pub fn cluster(&self) -> String {
        // On the hot path, and cheaper than `format!`.
        ["outbound|", &self.port.get().to_string(), "||", self.host.as_str()].concat()
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl std::str::FromStr for ServiceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ServiceName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> String {
        name.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_spelling() {
        assert_eq!(ServicePort::parse("443").unwrap().get(), 443);
        for bad in ["", "0", "080", "+80", " 80", "65536", "8o", "-1"] {
            assert!(ServicePort::parse(bad).is_err(), "{bad}");
        }
    }

    /// A host name of `length` bytes.
    fn host(length: usize) -> Hostname {
        let labels = "a".repeat(63) + ".";
        let text: String = labels.chars().cycle().take(length - 1).chain(['b']).collect();
        Hostname::parse(&text).unwrap()
    }

    #[test]
    fn its_server_name_fits_in_tls() {
        for (port, longest) in [(1, 240), (80, 239), (443, 238), (8080, 237), (65_535, 236)] {
            let port = ServicePort::new(port).unwrap();
            let name = ServiceName::new(host(longest), port).unwrap();
            assert_eq!((name.host.as_str().len(), name.sni().len()), (longest, 255));
            assert_eq!(ServiceName::parse(&name.to_string()), Ok(name));
            let too_long = host(longest + 1);
            assert_eq!(ServiceName::new(too_long.clone(), port), Err(InvalidName::ServerName(256)));
            assert_eq!(
                ServiceName::parse(&format!("{too_long}:{port}")),
                Err(InvalidName::ServerName(256))
            );
        }
    }

    #[test]
    fn has_the_names_that_envoy_uses() {
        let web = ServiceName::parse("web.shop.svc.beta.example:80").unwrap();
        assert_eq!(web.sni(), "outbound_.80_._.web.shop.svc.beta.example");
        assert_eq!(web.cluster(), "outbound|80||web.shop.svc.beta.example");
        assert_eq!(web.to_string(), "web.shop.svc.beta.example:80");
    }
}
