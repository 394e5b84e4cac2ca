//! The name by which a peer finds out whether it gets through to this cluster (peer protocol, section 4).
//!
//! DKP's clusters call it once a minute through the data plane, as a Service like any other, and raise an alert when nobody answers. So it
//! is announced to every peer and granted to all of its callers, whatever policies say: behind it is nothing but the answer. A cluster of
//! ours does not import it, and asks for it in its own probe of the gateways.

use super::LocalCluster;
use super::offer::{Offer, OfferedPort};
use crate::document::{ClusterUuid, PublicServicePort};
use crate::grant::Granter;
use crate::object::{GatewayMode, TransportProtocol};
use fedgate_core::{Hostname, ServiceName, ServicePort, TrustDomain};
use std::collections::BTreeMap;

/// DKP's clusters ask for this port, with HTTP.
const PORT: u16 = 80;

/// The name of the cluster with this UUID; `None` when it is too long for a host name or a server name.
pub(super) fn name(cluster: &ClusterUuid, trust_domain: &TrustDomain) -> Option<ServiceName> {
    let host = Hostname::parse(&format!("alliance-healthcheck-{cluster}.d8-istio.svc.{trust_domain}")).ok()?;
    ServiceName::new(host, ServicePort::new(PORT)?).ok()
}

/// Offers ours, unless it is switched off or a Service of this cluster has the name.
pub(super) fn add(
    local: &LocalCluster,
    offers: &mut BTreeMap<Hostname, Offer>,
    granter: &Granter<'_>,
) -> Option<ServiceName> {
    let name = name(&local.cluster_uuid, &local.trust_domain).filter(|_| local.health_name)?;
    if offers.contains_key(&name.host) || crate::object::check_cluster_domain(&local.trust_domain).is_err() {
        return None;
    }
    let port = OfferedPort {
        row: PublicServicePort { name: "http".to_owned(), port: name.port },
        protocol: TransportProtocol::Tcp,
        grants: granter.public(),
    };
    let offer = Offer { hostname: name.host.clone(), service: None, mode: GatewayMode::Terminate, ports: vec![port] };
    offers.insert(name.host.clone(), offer);
    Some(name)
}
