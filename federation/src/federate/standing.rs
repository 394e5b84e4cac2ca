//! Decides which of the valid peers take part. A refusal concerns only that peer: it gets no row in
//! the table, no trust bundle, no import and no document. The other peers do not notice.

use super::{Candidate, Inputs};
use crate::finding::{Finding, FindingReason};
use crate::knowledge::PeerKnowledge;
use crate::object::Peer;
use fedgate_core::{PeerName, TrustDomain};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, btree_map::Entry};

/// Whether a peer takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It does.
    Accepted,
    /// It does not.
    Refused {
        /// `same_trust_domain`, `not_pinned`, `our_uuid`, `uuid_taken` or `network_overlap`.
        reason: FindingReason,
        /// The explanation for people.
        message: String,
    },
}

impl Standing {
    /// Returns true if a token may be sent to the peer's endpoint.
    ///
    /// A token's audience is the UUID that the peer claims. A peer that claims another cluster's
    /// UUID must get no token: it could use the token at that cluster and fetch the document meant
    /// for us. So after a public document with a new UUID, the private document has to wait for the
    /// next [`crate::federate()`], which compares the UUIDs of all peers.
    pub fn may_send_token(&self) -> bool {
        match self {
            Self::Accepted => true,
            Self::Refused { reason, .. } => *reason == FindingReason::NetworkOverlap,
        }
    }
}

pub(super) fn judge<'a>(
    inputs: &Inputs<'a>,
    peers: Vec<Peer>,
    findings: &mut Vec<Finding>,
) -> Vec<Candidate<'a>> {
    let candidate = |peer: Peer| {
        let knowledge = inputs
            .knowledge
            .get(&peer.name)
            .filter(|knowledge| knowledge.trust_domain == peer.trust_domain);
        Candidate { peer, knowledge, standing: Standing::Accepted, refused: None }
    };
    let mut candidates: Vec<_> = peers.into_iter().map(candidate).collect();
    refuse_same_trust_domain(&mut candidates);
    refuse_not_pinned(&mut candidates);
    refuse_uuids(inputs, &mut candidates);
    findings.extend(candidates.iter_mut().filter_map(|candidate| judge_network(inputs, candidate)));
    findings.extend(candidates.iter().filter_map(refusal));
    candidates
}

fn refuse(candidate: &mut Candidate<'_>, reason: FindingReason, message: String) {
    candidate.standing = Standing::Refused { reason, message };
}

fn refusal(candidate: &Candidate<'_>) -> Option<Finding> {
    let Standing::Refused { reason, message } = &candidate.standing else { return None };
    let field = match reason {
        FindingReason::SameTrustDomain => "spec.trustDomain",
        // The fault is in what the peer says, not in its object.
        _ => "",
    };
    Some(Finding::error(*reason, candidate.peer.object(), field, message.clone()))
}

/// Of several peers with the same trust domain, the first by name stays.
fn refuse_same_trust_domain(candidates: &mut [Candidate<'_>]) {
    let mut owners: BTreeMap<TrustDomain, PeerName> = BTreeMap::new();
    for candidate in candidates {
        match owners.entry(candidate.peer.trust_domain.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(candidate.peer.name.clone());
            }
            Entry::Occupied(owner) => {
                let message = format!(
                    "IstioFederation {} has the trust domain {} already; delete the one that is wrong",
                    owner.get(),
                    owner.key()
                );
                refuse(candidate, FindingReason::SameTrustDomain, message);
            }
        }
    }
}

/// Refuses peers of which something is in force that a later pin excludes.
fn refuse_not_pinned(candidates: &mut [Candidate<'_>]) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.is_accepted()) {
        let known = candidate.knowledge.and_then(|knowledge| knowledge.public.as_ref());
        let Some(known) = known else { continue };
        let excluded = candidate.peer.trust.pins.excluded(&known.document);
        if !excluded.is_empty() {
            let message = format!(
                "what is known of the peer is not pinned: {}; compare it with the peer's operator, then correct the pins in the annotations of its IstioFederation",
                excluded.join(", ")
            );
            refuse(candidate, FindingReason::NotPinned, message);
        }
    }
}

/// Refuses peers that claim our UUID or another peer's. Of peers that claim the same UUID, the one
/// that had it first keeps it, even if it has been unreachable for long.
fn refuse_uuids(inputs: &Inputs<'_>, candidates: &mut [Candidate<'_>]) {
    let mut order: Vec<_> =
        candidates.iter_mut().filter(|candidate| candidate.is_accepted()).collect();
    let since =
        |candidate: &Candidate<'_>| candidate.knowledge.and_then(|knowledge| knowledge.uuid_since);
    // A peer with an unknown time comes last.
    let rank = |candidate: &Candidate<'_>| {
        since(candidate).map_or((true, None), |since| (false, Some(since)))
    };
    order.sort_by(|a, b| (rank(a), &a.peer.name).cmp(&(rank(b), &b.peer.name)));
    let mut owners = BTreeMap::new();
    for candidate in order {
        let Some(uuid) = candidate.knowledge.and_then(PeerKnowledge::cluster_uuid) else {
            continue;
        };
        if *uuid == inputs.local.cluster_uuid {
            let message = format!(
                "the peer claims this cluster's UUID {uuid}; its operator must give it one of its own"
            );
            refuse(candidate, FindingReason::OurUuid, message);
            continue;
        }
        match owners.entry(uuid.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(candidate.peer.name.clone());
            }
            Entry::Occupied(owner) => {
                let message = format!(
                    "the peer claims the UUID {uuid}, which IstioFederation {} had before; if both are one cluster, remove one object, \
                     else one of them must be given a UUID of its own",
                    owner.get()
                );
                refuse(candidate, FindingReason::UuidTaken, message);
            }
        }
    }
}

/// Judges overlapping addresses. In a shared network they make the peer's Pods unreachable, so the
/// peer is refused. Otherwise traffic goes through the gateways, and a warning is enough.
fn judge_network(inputs: &Inputs<'_>, candidate: &mut Candidate<'_>) -> Option<Finding> {
    if !candidate.is_accepted() {
        return None;
    }
    let theirs = &candidate.knowledge?.private.as_ref()?.document.extension.as_ref()?.network;
    let ours = &inputs.local.network;
    let (our_range, their_range) = ours.overlap(theirs)?;
    if ours.is_shared_with(theirs) {
        let name = crate::finding::shown(ours.name.as_deref().unwrap_or_default());
        let message = format!(
            "{their_range} of the peer overlaps our {our_range}, and both clusters are in the network {name}"
        );
        refuse(candidate, FindingReason::NetworkOverlap, message);
        return None;
    }
    let message = format!(
        "{their_range} of the peer overlaps our {our_range}; this works as long as all traffic goes by the gateways, so keep to that or renumber one of them"
    );
    Some(Finding::warning(FindingReason::NetworkOverlap, candidate.peer.object(), "", message))
}
