//! The settings of this cluster's network, and of how peers reach it.

use super::GatewaySettings;
use clap::Args;
use fedgate_core::PeerName;
use fedgate_envoy::Quiet;
use fedgate_federation::document::Advertised;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::time::Duration;

/// The settings of the network.
#[derive(Debug, Clone, Args)]
pub struct NetworkSettings {
    /// The network's name: clusters with the same name reach each other's Pods directly
    #[arg(long = "network", env = "FEDGATE_NETWORK", value_name = "NAME")]
    pub name: Option<String>,
    /// The address ranges of Pods [default: those of the Nodes]
    #[arg(long, env = "FEDGATE_POD_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidrs: Vec<IpNet>,
    /// The address ranges of Services [default: those of the ServiceCIDRs]
    #[arg(long, env = "FEDGATE_SERVICE_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    pub service_cidrs: Vec<IpNet>,
}

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

/// What becomes of connections on which nothing is sent, to peers and from them.
#[derive(Debug, Clone, Args)]
pub struct ConnectionSettings {
    /// How long a connection is silent before TCP asks whether the other side is still there
    #[arg(long, env = "FEDGATE_KEEPALIVE", value_name = "TIME", default_value = "30s", value_parser = super::values::seconds)]
    pub keepalive: Duration,
    /// How long a connection may be silent before it is ended; never: for ever
    #[arg(long, env = "FEDGATE_IDLE_TIMEOUT", value_name = "TIME", default_value = "1h", value_parser = idle_timeout)]
    pub idle_timeout: Duration,
}

impl ConnectionSettings {
    /// The same for Envoy.
    pub(crate) fn quiet(&self) -> Quiet {
        Quiet { keepalive: self.keepalive, idle_timeout: self.idle_timeout }
    }
}

fn idle_timeout(text: &str) -> Result<Duration, String> {
    match text {
        "never" => Ok(Duration::ZERO),
        _ => super::values::seconds(text).map_err(|error| format!("{error}, or never")),
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
    fn times_of_silence_are_whole_seconds_or_never() {
        let quiet = |flags: &[&str]| read(flags).map(|settings| settings.connections.quiet());
        let settings = quiet(&["--keepalive", "5s", "--idle-timeout", "never"]).unwrap();
        assert_eq!((settings.keepalive_seconds(), settings.idle_timeout_text()), (5, "0s".into()));
        assert_eq!(quiet(&[]).unwrap(), fedgate_envoy::Quiet::default());
        for bad in ["500ms", "1500ms", "never", "0s", "soon"] {
            assert!(quiet(&["--keepalive", bad]).unwrap_err().contains("expected"), "{bad}");
        }
        assert!(quiet(&["--idle-timeout", "0s"]).unwrap_err().contains("never"));
    }

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
