//! What one run of [`federate_again`](super::federate_again) keeps for the next.

use super::importing::OfPeer;
use fedgate_core::PeerName;
use std::collections::BTreeMap;

/// What the last run worked out for each peer, with what it followed from. It makes the next run
/// faster and never changes its result: a part is used again only if it follows from the same.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) imports: BTreeMap<PeerName, OfPeer>,
}
