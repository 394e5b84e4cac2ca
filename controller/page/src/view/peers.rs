//! The peers: as rows of a list, and as nodes of the picture.

use super::{Query, Rows, Words, cut};
use crate::counters::Traffic;
use crate::feed::Look;
use crate::traffic::Counts;
use fedgate_core::Mode;
use fedgate_engine::status::PeerStatus;
use fedgate_federation::bundle::Root;
use fedgate_federation::federate::Turn;
use jiff::Timestamp;
use serde::Serialize;
use std::cmp::Reverse;

/// A peer in short.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerRow {
    pub(super) name: String,
    pub(super) trust_domain: String,
    pub(super) ready: bool,
    /// What `fedgate status` says about it.
    pub(super) state: String,
    /// Who has to act: `ours`, `theirs` or `either`. `None` if nobody has to.
    pub(super) turn: Option<Turn>,
    pub(super) mode: Mode,
    /// Whether it announced a root, key or UUID that waits for an approval.
    pub(super) held: bool,
    pub(super) granted_exports: usize,
    pub(super) imports: usize,
    /// When the older of its documents was confirmed.
    pub(super) confirmed: Option<Timestamp>,
    pub(super) roots: usize,
    /// When its last root ends. From then on its identities are not believed.
    pub(super) roots_end: Option<Timestamp>,
    /// Connections from it, as far as the gateway counts them by name.
    pub(super) traffic: Option<Counts>,
    /// Calls from here to its services; `None` if that is not known.
    pub(super) calls: Option<Traffic>,
}

/// How much a peer needs an operator; the smallest comes first.
fn urgency(peer: &PeerStatus) -> u8 {
    let missing = peer.missing();
    match missing.iter().find_map(|missing| missing.turn) {
        _ if peer.held_trust.is_some() => 0,
        Some(Turn::Ours) => 1,
        Some(Turn::Either) => 2,
        Some(Turn::Theirs) => 3,
        None if !peer.ready => 4,
        None => 5,
    }
}

/// All peers, those that need an operator first.
pub(super) fn by_urgency(look: &Look) -> Vec<&PeerStatus> {
    let mut peers: Vec<_> = look.status.peers.iter().map(|peer| (urgency(peer), peer)).collect();
    let imports = |peer: &PeerStatus| Reverse(peer.imports + peer.granted_exports);
    peers.sort_by(|(a, one), (b, other)| {
        (a, imports(one), &one.name).cmp(&(b, imports(other), &other.name))
    });
    peers.into_iter().map(|(_, peer)| peer).collect()
}

/// Some rows of the list of peers. The states are `ready`, `not_ready`, `held` and `audit`.
pub(crate) fn peers(look: &Look, query: &Query) -> Rows<PeerRow> {
    let words = Words::of(&query.search);
    let is_found = |peer: &&PeerStatus| {
        let fits = match query.state.as_str() {
            "ready" => peer.ready,
            "not_ready" => !peer.ready,
            "held" => peer.held_trust.is_some(),
            "audit" => peer.mode == Mode::Audit,
            _ => true,
        };
        fits && words.are_in(&[&peer.name.to_lowercase(), &peer.trust_domain])
    };
    let found: Vec<_> = by_urgency(look).into_iter().filter(is_found).collect();
    cut(look.status.peers.len(), &found, query, |peer| row(look, peer))
}

pub(super) fn row(look: &Look, peer: &PeerStatus) -> PeerRow {
    let roots = roots(look, peer);
    let traffic = look.around.traffic.as_ref().ok();
    let calls = look.around.calls.as_ref().ok();
    PeerRow {
        name: peer.name.clone(),
        trust_domain: peer.trust_domain.clone(),
        ready: peer.ready,
        state: peer.readiness().1,
        turn: peer.missing().iter().find_map(|missing| missing.turn),
        mode: peer.mode,
        held: peer.held_trust.is_some(),
        granted_exports: peer.granted_exports,
        imports: peer.imports,
        confirmed: peer.public_confirmed.min(peer.private_confirmed),
        roots: peer.roots.len(),
        roots_end: roots.iter().map(Root::not_after).max(),
        traffic: traffic.and_then(|traffic| traffic.by_peer.get(&peer.name)).copied(),
        calls: calls.map(|calls| calls.by_peer.get(&peer.name).copied().unwrap_or_default()),
    }
}

/// The roots in force for a peer.
pub(super) fn roots<'a>(look: &'a Look, peer: &PeerStatus) -> &'a [Root] {
    let mut bundles = look.in_force.federation.bundles.iter();
    let bundle = bundles.find(|(trust_domain, _)| trust_domain.as_str() == peer.trust_domain);
    bundle.map_or(&[], |(_, bundle)| &bundle.roots)
}
