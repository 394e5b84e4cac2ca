//! The settings about how peers reach this cluster.

use super::GatewaySettings;
use fedgate_core::PeerName;
use fedgate_federation::document::Advertised;
use std::collections::BTreeMap;

/// An address for one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisedTo {
    peer: PeerName,
    advertised: Advertised,
}

impl AdvertisedTo {
    /// Reads `PEER=HOST:PORT`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            format!("expected a peer and an address such as beta=10.0.0.5:15443, found {text:?}")
        };
        let (peer, address) = text.trim().split_once('=').ok_or_else(expected)?;
        let peer = PeerName::parse(peer).map_err(|_| expected())?;
        Ok(Self { peer, advertised: Advertised::parse(address).map_err(|_| expected())? })
    }
}

impl GatewaySettings {
    /// The addresses of each peer that is told others than the rest.
    pub(crate) fn for_peers(&self) -> BTreeMap<PeerName, Vec<Advertised>> {
        let mut for_peers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for AdvertisedTo { peer, advertised } in self.advertise_to.clone() {
            for_peers.entry(peer).or_default().push(advertised);
        }
        for_peers
    }
}

pub(super) fn advertised(text: &str) -> Result<Advertised, String> {
    let expected = || format!("expected a host and port such as gw.example:15443, found {text:?}");
    Advertised::parse(text.trim()).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use crate::settings::tests::read;

    #[test]
    fn addresses_for_one_peer_are_collected() {
        let flags =
            ["--advertise-to", "beta=10.0.0.5:443@eu/a,gamma=gw.example:443,beta=[fd00::1]:443"];
        let for_peers = read(&flags).unwrap().gateway.for_peers();
        let text: Vec<_> = for_peers
            .iter()
            .map(|(peer, all)| {
                format!(
                    "{peer} {}",
                    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                )
            })
            .collect();
        assert_eq!(text, ["beta 10.0.0.5:443@eu/a [fd00::1]:443", "gamma gw.example:443"]);
        for bad in ["10.0.0.5:443", "beta", "beta=10.0.0.5", "Be ta=10.0.0.5:443", "=10.0.0.5:443"]
        {
            let error = read(&["--advertise-to", bad]).unwrap_err();
            assert!(error.contains("beta=10.0.0.5:15443"), "{error}");
        }
    }
}
