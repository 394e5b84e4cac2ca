//! The host name by which a peer checks that it can reach this cluster (peer protocol, section 4).
//!
//! DKP's clusters call it once a minute through the data plane, like any other Service, and raise
//! an alert if there is no answer. So it is announced to every peer and granted to all callers,
//! whatever the policies say. Nothing but the answer is behind it. A fedgate cluster does not
//! import this name but asks for it when it probes the gateways.

use super::LocalCluster;
use super::offer::{Offer, OfferedPort};
use crate::document::{ClusterUuid, PublicServicePort};
use crate::grant::Granter;
use crate::object::{GatewayMode, TransportProtocol};
use fedgate_core::{Hostname, ServiceName, ServicePort, TrustDomain};
use std::collections::BTreeMap;

/// DKP's clusters call this port with HTTP.
const PORT: u16 = 80;

/// Returns the health name of the cluster with this UUID; `None` if it is too long for a host name
/// or a server name.
pub(super) fn name(cluster: &ClusterUuid, trust_domain: &TrustDomain) -> Option<ServiceName> {
    let host =
        Hostname::parse(&format!("alliance-healthcheck-{cluster}.d8-istio.svc.{trust_domain}"))
            .ok()?;
    ServiceName::new(host, ServicePort::new(PORT)?).ok()
}

/// Offers our health name, unless it is switched off or a Service of this cluster has the same
/// name.
pub(super) fn add(
    local: &LocalCluster,
    offers: &mut BTreeMap<Hostname, Offer>,
    granter: &Granter<'_>,
) -> Option<ServiceName> {
    let name = name(&local.cluster_uuid, &local.trust_domain).filter(|_| local.health_name)?;
    if offers.contains_key(&name.host)
        || crate::object::check_cluster_domain(&local.trust_domain).is_err()
    {
        return None;
    }
    let port = OfferedPort {
        row: PublicServicePort { name: "http".to_owned(), port: name.port },
        protocol: TransportProtocol::Tcp,
        grants: granter.public(),
    };
    let offer = Offer {
        hostname: name.host.clone(),
        service: None,
        pod: None,
        mode: GatewayMode::Terminate,
        ports: vec![port],
    };
    offers.insert(name.host.clone(), offer);
    Some(name)
}
