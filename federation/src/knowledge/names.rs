//! What the names of a peer's gateways lead to.

use super::{Age, PeerKnowledge, Times};
use crate::document::{GatewayHost, PrivateDocument};
use crate::finding::shown;
use fedgate_core::Hostname;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most addresses of one name that are used.
pub const ADDRESSES_PER_NAME: usize = 8;

/// What one name leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookedUp {
    /// The addresses of the last good answer, in order, at most [`ADDRESSES_PER_NAME`]. Nothing has been judged about them.
    pub addresses: Vec<IpAddr>,
    /// When the last good answer came.
    pub found: Option<Timestamp>,
    /// Why the last look-up failed; `None` when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How the look-up of one name ended: its addresses, or why there are none.
pub type LookUpOutcome = (Hostname, Result<Vec<IpAddr>, String>);

impl LookedUp {
    /// The addresses of the last good answer, while it is not older than the staleness limit.
    pub fn usable(&self, times: &Times, now: Timestamp) -> &[IpAddr] {
        match self.found.is_some_and(|found| times.age(found, now) < Age::Expired) {
            true => &self.addresses,
            false => &[],
        }
    }

    /// What there is to tell.
    pub(super) fn said(&self) -> (&[IpAddr], Option<&str>) {
        (&self.addresses, self.failure.as_deref())
    }
}

impl PeerKnowledge {
    /// The names of the peer's gateways that have never been looked up.
    pub fn new_names(&self) -> BTreeSet<Hostname> {
        let names = self.private.iter().flat_map(|known| names(&known.document));
        names.filter(|name| !self.names.contains_key(*name)).cloned().collect()
    }

    /// Takes the outcomes for names of the peer's gateways. A failed look-up leaves the last good addresses. What is no name of the
    /// peer's any more is forgotten.
    pub fn looked_up(&mut self, outcomes: Vec<LookUpOutcome>, now: Timestamp) {
        for (name, outcome) in outcomes {
            let before = self.names.remove(&name);
            let known = match outcome {
                Ok(addresses) => LookedUp { addresses: ordered(addresses), found: Some(now), failure: None },
                Err(why) => LookedUp { failure: Some(shown(&why)), ..before.unwrap_or_default() },
            };
            self.names.insert(name, known);
        }
        let announced: BTreeSet<_> = self.private.iter().flat_map(|known| names(&known.document)).collect();
        self.names.retain(|name, _| announced.contains(name));
    }
}

fn names(document: &PrivateDocument) -> impl Iterator<Item = &Hostname> {
    document.gateways.iter().filter_map(|gateway| match &gateway.address {
        GatewayHost::Name(name) => Some(name),
        GatewayHost::Ip(_) => None,
    })
}

/// Resolvers rotate addresses; the same ones in another order are the same answer.
fn ordered(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = addresses.into_iter().map(|ip| ip.to_canonical()).collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(ADDRESSES_PER_NAME);
    addresses
}
