//! What is offered to peers, before it is decided which peers may have it.

use super::pods::ExportedPod;
use crate::document::PublicServicePort;
use crate::grant::PeerGrant;
use crate::object::{GatewayMode, TransportProtocol};
use fedgate_core::Hostname;
use std::sync::Arc;

/// A host name that is offered to peers, with all its ports: a labelled Service that can be
/// exported, one of its Pods, or the health name.
pub(super) struct Offer {
    pub(super) hostname: Hostname,
    /// Namespace and name of the Service; `None` for the health name.
    pub(super) service: Option<(String, String)>,
    /// The Pod, if this is one of the Service's Pods.
    pub(super) pod: Option<Arc<ExportedPod>>,
    pub(super) mode: GatewayMode,
    pub(super) ports: Vec<OfferedPort>,
}

#[derive(Clone)]
pub(super) struct OfferedPort {
    pub(super) row: PublicServicePort,
    pub(super) protocol: TransportProtocol,
    pub(super) grants: Arc<[PeerGrant]>,
}
