//! Lookups of the names of a peer's gateways.

use super::{PeerKnowledge, Times};
use crate::document::{GatewayHost, PrivateDocument};
use crate::finding::shown;
use fedgate_core::Hostname;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most addresses that are used for one name.
const ADDRESSES_PER_NAME: usize = 8;

/// The result of looking up one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameLookup {
    /// The addresses of the last good answer, in order, at most 8. They have not been
    /// judged.
    pub addresses: Vec<IpAddr>,
    /// When the last good answer came.
    pub found: Option<Timestamp>,
    /// Why the last lookup failed; `None` if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A name, with its addresses or the reason why the lookup failed.
pub type LookupOutcome = (Hostname, Result<Vec<IpAddr>, String>);

impl NameLookup {
    /// Returns the addresses of the last good answer, unless it is too old to be used.
    pub(crate) fn usable(&self, times: &Times, now: Timestamp) -> &[IpAddr] {
        match self.found.is_some_and(|found| times.is_used(found, now)) {
            true => &self.addresses,
            false => &[],
        }
    }

    /// Returns the parts that count as a change.
    pub(super) fn content(&self) -> (&[IpAddr], Option<&str>) {
        (&self.addresses, self.failure.as_deref())
    }
}

impl PeerKnowledge {
    /// Returns the names of the peer's gateways that have never been looked up.
    pub fn new_names(&self) -> BTreeSet<Hostname> {
        let names = self.private.iter().flat_map(|known| names(&known.document));
        names.filter(|name| !self.names.contains_key(*name)).cloned().collect()
    }

    /// Records the outcomes of lookups. A failed lookup keeps the last good addresses. Names that the
    /// peer no longer announces are forgotten.
    pub fn record_lookups(&mut self, outcomes: Vec<LookupOutcome>, now: Timestamp) {
        for (name, outcome) in outcomes {
            let before = self.names.remove(&name);
            let known = match outcome {
                Ok(addresses) => {
                    NameLookup { addresses: ordered(addresses), found: Some(now), failure: None }
                }
                Err(why) => NameLookup {
                    failure: Some(shown(&why).to_string()),
                    ..before.unwrap_or_default()
                },
            };
            self.names.insert(name, known);
        }
        let announced: BTreeSet<_> =
            self.private.iter().flat_map(|known| names(&known.document)).collect();
        self.names.retain(|name, _| announced.contains(name));
    }
}

fn names(document: &PrivateDocument) -> impl Iterator<Item = &Hostname> {
    document.gateways.iter().filter_map(|gateway| match &gateway.address {
        GatewayHost::Name(name) => Some(name),
        GatewayHost::Ip(_) => None,
    })
}

/// Sorts the addresses. Resolvers rotate them, and a different order is the same answer.
fn ordered(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = addresses.into_iter().map(|ip| ip.to_canonical()).collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(ADDRESSES_PER_NAME);
    addresses
}
