//! Compares what this cluster publishes with what peers accept. Peers read with
//! [`Limits::DEFAULT`]. Whatever they would refuse or leave out is reported here, where the
//! operator can change it.

use super::Inputs;
use crate::document::{Limits, PrivateDocument};
use crate::finding::{Finding, FindingReason, ObjectRef};
use fedgate_core::PeerName;
use std::collections::BTreeMap;
use std::sync::Arc;

const LIMITS: Limits = Limits::DEFAULT;

/// Returns a finding for everything that exceeds a limit. `bytes` are the sizes of the documents.
pub(super) fn findings(
    inputs: &Inputs<'_>,
    documents: &BTreeMap<PeerName, Arc<PrivateDocument>>,
    bytes: &BTreeMap<PeerName, usize>,
) -> Vec<Finding> {
    let services = documents.iter().map(|(peer, document)| (peer, document.services.len()));
    let largest = [
        largest(services, "services", LIMITS.services),
        largest(bytes.iter().map(|(peer, bytes)| (peer, *bytes)), "bytes", LIMITS.body_bytes),
    ];
    let finding = |(field, message): (&str, String)| {
        let cluster = ObjectRef::cluster(inputs.local.trust_domain.as_str());
        Finding::error(FindingReason::LimitExceeded, cluster, field, message)
    };
    own(inputs).into_iter().chain(largest.into_iter().flatten()).map(finding).collect()
}

/// Checks the parts that are the same for all peers.
fn own(inputs: &Inputs<'_>) -> Vec<(&'static str, String)> {
    let local = inputs.local;
    let no_document = "peers refuse the whole document; publish fewer";
    let no_extension =
        "peers leave out all that clusters of fedgate add to the document; name fewer";
    let rows = LIMITS.extension_rows;
    let counts = [
        (
            "gateway.advertise",
            local.gateways.len(),
            LIMITS.gateways,
            "only the first ones are announced to peers; remove some",
        ),
        ("identity.roots", local.roots.len(), LIMITS.roots, no_document),
        ("network.podCIDRs", local.network.pod_cidrs.len(), rows, no_extension),
        ("network.serviceCIDRs", local.network.service_cidrs.len(), rows, no_extension),
        ("identity.certificateChain", local.gateway_identities.len(), rows, no_extension),
    ];
    let over = counts.into_iter().filter(|(_, count, most, _)| count > most);
    over.map(|(field, count, most, then)| {
        (field, format!("expected at most {most}, found {count}; {then}"))
    })
    .collect()
}

/// Returns the largest document that a peer would refuse, and how many more there are.
fn largest<'a>(
    sizes: impl Iterator<Item = (&'a PeerName, usize)>,
    unit: &str,
    most: usize,
) -> Option<(&'static str, String)> {
    let over: Vec<_> = sizes.filter(|(_, size)| *size > most).collect();
    let (peer, size) = over.iter().max_by_key(|(_, size)| *size)?;
    let others = match over.len() - 1 {
        0 => String::new(),
        others => format!(", and those for {others} more peers"),
    };
    let message = format!(
        "the document for {peer}{others}: expected at most {most} {unit}, found {size}; such peers refuse it and keep what they know: \
         export fewer Services, or allow fewer to these peers by a FederationPolicy"
    );
    Some(("federation.json", message))
}
