use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The parts of a cluster's network that peers must know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The network's name. Clusters with the same name reach each other's Pods directly (Istio's
    /// single-network mode). A cluster without a name shares its network with no other.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The ranges of its Pods' addresses.
    #[serde(rename = "podCIDRs", default)]
    pub pod_cidrs: Vec<IpNet>,
    /// The ranges of its Services' addresses.
    #[serde(rename = "serviceCIDRs", default)]
    pub service_cidrs: Vec<IpNet>,
}

impl Network {
    /// Returns true if both clusters are in one network.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        self.name.is_some() && self.name == other.name
    }

    /// Returns the first pair of overlapping ranges: ours, then theirs.
    pub(crate) fn overlap(&self, other: &Self) -> Option<(IpNet, IpNet)> {
        let theirs = || other.cidrs();
        self.cidrs().find_map(|ours| {
            theirs().find(|theirs| overlap(&ours, theirs)).map(|theirs| (ours, theirs))
        })
    }

    fn cidrs(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.pod_cidrs.iter().chain(&self.service_cidrs).copied()
    }
}

/// Two ranges overlap if one contains the other. Ranges of different families never do.
fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: Option<&str>, pods: &str, services: &str) -> Network {
        let name = name.map(str::to_owned);
        Network {
            name,
            pod_cidrs: vec![pods.parse().unwrap()],
            service_cidrs: vec![services.parse().unwrap()],
        }
    }

    #[test]
    fn ranges_overlap_across_their_kinds() {
        let ours = network(None, "10.0.0.0/16", "10.1.0.0/16");
        assert!(ours.overlap(&network(None, "10.2.0.0/16", "10.0.128.0/24")).is_some());
        assert!(ours.overlap(&network(None, "10.0.0.0/8", "192.168.0.0/16")).is_some());
        assert!(ours.overlap(&network(None, "10.2.0.0/16", "10.3.0.0/16")).is_none());
        assert!(ours.overlap(&network(None, "fd00::/64", "10.3.0.0/16")).is_none());
    }

    #[test]
    fn clusters_without_a_network_name_share_none() {
        let [none, a, b] =
            [None, Some("a"), Some("b")].map(|name| network(name, "10.0.0.0/16", "10.1.0.0/16"));
        assert!(a.is_shared_with(&a));
        assert!(!a.is_shared_with(&b));
        assert!(!none.is_shared_with(&none));
    }
}
