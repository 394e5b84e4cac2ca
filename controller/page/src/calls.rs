//! What local programs called at peers, from the counters of the egress Envoy.

use crate::counters::{Counters, Traffic};
use fedgate_core::ServiceName;
use fedgate_federation::federate::Imports;
use std::collections::BTreeMap;

/// The calls since the egress Envoy started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// To all peers together.
    pub all: Traffic,
    /// To each peer, by its name. Failures are attempts to connect to its gateways.
    pub by_peer: BTreeMap<String, Traffic>,
    /// To each import by its own name. A connection to a gateway is counted for the peer, so there
    /// are no failures here.
    pub by_import: BTreeMap<ServiceName, Traffic>,
}

impl Calls {
    /// What the egress counted for these imports. `metric_name` is how Envoy names a cluster or a
    /// listener in its metrics.
    pub fn of(counters: &Counters, imports: &Imports, metric_name: fn(&str) -> String) -> Self {
        let mut calls = Self::default();
        for (trust_domain, imports) in imports.by_peer() {
            let Some(peer) = imports.first().map(|import| import.peer.to_string()) else {
                continue;
            };
            let of_peer = calls.by_peer.entry(peer).or_default();
            for import in imports {
                of_peer.add(&counters.of_member(&metric_name(&import.service.to_string())));
                let name = metric_name(&import.service.cluster());
                let Some(traffic) = counters.listeners.get(&name) else { continue };
                of_peer.add(traffic);
                calls.by_import.insert(import.service.clone(), *traffic);
            }
            of_peer.failures += counters.failures_of(&metric_name(trust_domain.as_str()));
        }
        let peers: Vec<_> = calls.by_peer.values().copied().collect();
        peers.iter().for_each(|peer| calls.all.add(peer));
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_core::{PeerName, TrustDomain};
    use fedgate_federation::federate::{Import, Protocol, ServerIdentity};
    use std::sync::Arc;

    fn import(name: &str) -> Import {
        let trust_domain: TrustDomain = "beta.example".parse().unwrap();
        Import {
            peer: PeerName::parse("beta").unwrap(),
            service: format!("{name}.shop.svc.beta.example:80").parse().unwrap(),
            port_name: "http".to_owned(),
            protocol: Protocol::Http,
            gateways: Arc::from([]),
            passthrough: false,
            server: Arc::new(ServerIdentity::AnyOf(trust_domain.clone())),
            trust_domain,
        }
    }

    #[test]
    fn calls_are_summed_by_peer_and_others_are_left_out() {
        let counters = Counters::of_admin(
            "tcp.outbound|80||web_shop_svc_beta_example.downstream_cx_total: 3\n\
             tcp.outbound|80||web_shop_svc_beta_example.downstream_cx_rx_bytes_total: 70\n\
             tcp.outbound|80||stock_shop_svc_beta_example.downstream_cx_total: 2\n\
             tcp.outbound|80||gone_shop_svc_beta_example.downstream_cx_total: 9\n\
             cluster.member|idle_shop_svc_beta_example_80.upstream_cx_total: 7\n\
             cluster.member|idle_shop_svc_beta_example_80.upstream_cx_connect_fail: 1\n\
             cluster.member|idle_shop_svc_beta_example_80.upstream_cx_tx_bytes_total: 5\n\
             cluster.member|web_shop_svc_alpha_example_80.upstream_cx_total: 8\n\
             cluster.peer|beta_example.upstream_cx_connect_fail: 4\n\
             cluster.peer|beta_example+passthrough.upstream_cx_connect_fail: 1\n",
        );
        let imports = ["web", "stock", "idle"].map(import).into_iter().collect();
        let calls = Calls::of(&counters, &imports, |name| name.replace('.', "_"));
        let beta = calls.by_peer["beta"];
        assert_eq!((beta.connections, beta.to_service, beta.failures), (11, 75, 6));
        assert_eq!((calls.all, calls.by_import.len()), (beta, 2));
    }
}
