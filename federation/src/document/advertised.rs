use super::{GatewayAddress, Locality};
use serde::{Deserialize, Serialize};

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
#[error(
    "expected a host and port such as gw.example:15443, 192.0.2.1:15443 or [2001:db8::1]:15443, or with a locality 192.0.2.1:15443@eu-west/a"
)]
pub struct InvalidAdvertised;

impl Advertised {
    /// Reads `HOST:PORT` or `HOST:PORT@LOCALITY`.
    ///
    /// # Errors
    /// [`InvalidAdvertised`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidAdvertised> {
        let (gateway, locality) = match text.split_once('@') {
            Some((gateway, locality)) => {
                (gateway, Some(Locality::parse(locality).map_err(|_| InvalidAdvertised)?))
            }
            None => (text, None),
        };
        let gateway = GatewayAddress::parse(gateway).ok_or(InvalidAdvertised)?;
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
}
