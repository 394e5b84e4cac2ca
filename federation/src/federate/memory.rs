//! What one run of [`federate_again`](super::federate_again) keeps for the next.

use super::importing::PeerImports;
use fedgate_core::PeerName;
use std::collections::BTreeMap;

/// What the last run worked out for each peer, with its inputs. It makes the next run faster and
/// never changes its result: a part is reused only if its inputs are unchanged.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) imports: BTreeMap<PeerName, PeerImports>,
}
