//! The federated names, and who takes their calls.

use super::{Query, Rows, Words, cut};
use crate::feed::Look;
use fedgate_engine::federated::{FederatedServiceStatus, MemberStatus};
use serde::Serialize;

/// The most members that are shown of one name.
const MOST_MEMBERS: usize = 64;

/// A name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FederatedRow {
    service: String,
    object: String,
    protocol: String,
    /// Where programs reach it.
    location: String,
    ready: bool,
    /// Who takes calls now, in words.
    taken: String,
    members: Vec<MemberRow>,
}

/// A member.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberRow {
    place: String,
    priority: u32,
    state: String,
    message: String,
    taken: bool,
    used: bool,
}

/// Some rows of the list of names. `peers` is the name of a peer that must be a member; the state
/// `failing` is for names whose calls do not get through.
pub(crate) fn federated(look: &Look, query: &Query) -> Rows<FederatedRow> {
    let words = Words::of(&query.search);
    let all = &look.status.federated_services;
    let is_found = |name: &&FederatedServiceStatus| {
        let of_peer = |member: &MemberStatus| member.peer.as_deref() == Some(query.peers.as_str());
        (query.peers.is_empty() || name.members.iter().any(of_peer))
            && (query.state != "failing" || !name.ready)
            && words.are_in(&[name.service.host.as_str(), &name.namespace])
    };
    let found: Vec<_> = all.iter().filter(is_found).collect();
    cut(all.len(), &found, query, |name| row(name))
}

fn row(name: &FederatedServiceStatus) -> FederatedRow {
    let taken = name.takers();
    FederatedRow {
        service: name.service.to_string(),
        object: format!("{}/{}", name.namespace, name.name),
        protocol: name.protocol.clone(),
        location: match name.address {
            _ if name.in_mesh => "in the mesh".to_owned(),
            Some(address) => format!("at {address}"),
            None => "at no port: none is left".to_owned(),
        },
        ready: name.ready,
        taken: match (&name.obstacle, taken.is_empty()) {
            (Some(obstacle), _) => obstacle.clone(),
            (None, true) => "no member takes calls".to_owned(),
            (None, false) => taken.join(", "),
        },
        members: {
            let shown = name.members.iter().take(MOST_MEMBERS);
            shown.map(|one| member(name, one)).collect()
        },
    }
}

fn member(name: &FederatedServiceStatus, member: &MemberStatus) -> MemberRow {
    MemberRow {
        place: name.place_of(member),
        priority: member.priority,
        state: member.state.clone(),
        message: member.message.clone(),
        taken: member.taken,
        used: member.is_used(),
    }
}
