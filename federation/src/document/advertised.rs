use super::gateway::is_host;
use super::{GatewayAddress, InvalidLocality, Locality};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A gateway address that this cluster tells its peers, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Advertised {
    /// The address.
    pub gateway: GatewayAddress,
    /// The region and zone of the gateway; `None` if peers are not told.
    pub locality: Option<Locality>,
}

/// Why a text is not an [`Advertised`] address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAdvertised {
    /// It has another form.
    #[error(
        "expected a host and port such as gw.example:15443, 192.0.2.1:15443 or [2001:db8::1]:15443, or with a locality 192.0.2.1:15443@eu-west/a"
    )]
    Form,
    /// The address is not that of a single host, or is bound to one link.
    #[error(
        "expected an address that peers can connect to, not an unspecified, multicast, broadcast or link-local one"
    )]
    NoHost,
    /// The part after the `@` is not a locality.
    #[error("expected HOST:PORT@LOCALITY, with {}", expected(.0))]
    Locality(InvalidLocality),
}

/// The locality's own message without its first word.
fn expected(error: &InvalidLocality) -> String {
    error.to_string().replacen("expected", "a locality of the form", 1)
}

impl Advertised {
    /// Reads `HOST:PORT` or `HOST:PORT@LOCALITY`.
    ///
    /// # Errors
    /// [`InvalidAdvertised`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidAdvertised> {
        let (gateway, locality) = match text.split_once('@') {
            Some((gateway, locality)) => {
                (gateway, Some(Locality::parse(locality).map_err(InvalidAdvertised::Locality)?))
            }
            None => (text, None),
        };
        let gateway =
            GatewayAddress::parse(gateway).ok_or_else(|| match gateway.parse::<SocketAddr>() {
                Ok(address) if !is_host(address.ip()) => InvalidAdvertised::NoHost,
                _ => InvalidAdvertised::Form,
            })?;
        Ok(Self { gateway, locality })
    }
}

impl From<GatewayAddress> for Advertised {
    fn from(gateway: GatewayAddress) -> Self {
        Self { gateway, locality: None }
    }
}

impl std::fmt::Display for Advertised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.locality {
            Some(locality) => write!(f, "{}@{locality}", self.gateway),
            None => self.gateway.fmt(f),
        }
    }
}

impl TryFrom<String> for Advertised {
    type Error = InvalidAdvertised;

    fn try_from(text: String) -> Result<Self, InvalidAdvertised> {
        Self::parse(&text)
    }
}

impl From<Advertised> for String {
    fn from(advertised: Advertised) -> Self {
        advertised.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parsed_as_it_is_displayed() {
        for text in ["gw.example:443", "192.0.2.1:443@eu", "[2001:db8::1]:443@eu/a/rack-1"] {
            assert_eq!(Advertised::parse(text).unwrap().to_string(), text);
        }
        for bad in ["gw.example", "192.0.2.1:443@", "192.0.2.1:443@a@b", "@eu", "192.0.2.1@eu:443"]
        {
            assert!(Advertised::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_message_says_which_part_is_wrong() {
        for (text, why) in [
            ("gw.example", "a host and port"),
            ("169.254.169.254:80", "link-local"),
            ("0.0.0.0:15443", "unspecified"),
            ("[ff02::1]:15443", "multicast"),
            ("192.0.2.1:443@a/b/c/d", "a locality of the form REGION, REGION/ZONE"),
        ] {
            let error = Advertised::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
