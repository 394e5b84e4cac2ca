//! What is offered to peers, before it is decided which peers may have it.

use crate::document::PublicServicePort;
use crate::grant::PeerGrant;
use crate::object::{GatewayMode, TransportProtocol};
use fedgate_core::Hostname;
use std::sync::Arc;

/// A host name that is offered to peers, with all its ports: a labelled Service that can be
/// exported, or the health name.
pub(super) struct Offer {
    pub(super) hostname: Hostname,
    /// Namespace and name of the Service; `None` for the health name.
    pub(super) service: Option<(String, String)>,
    pub(super) mode: GatewayMode,
    pub(super) ports: Vec<OfferedPort>,
}

pub(super) struct OfferedPort {
    pub(super) row: PublicServicePort,
    pub(super) protocol: TransportProtocol,
    pub(super) grants: Arc<[PeerGrant]>,
}
