//! In which order calls try the members of a port.
//!
//! An aggregate cluster of Envoy's tries its members one after another. It does not share calls
//! among some of them. So if members share a priority, there are several orders, each beginning
//! with another of these members, and routes pick among the orders by weight.

use fedgate_federation::federate::{FederatedMember, FederatedPort};

/// How many names all orders of a port have together, roughly. With many orders each is shorter:
/// 64 orders of 64 names would not fit into an object.
const NAMES: usize = 256;
/// The shortest limit of an order.
const SHORTEST: usize = 8;

/// The name of a cluster that never exists. An aggregate cluster needs one member at least.
pub(super) const NO_MEMBER: &str = "fedgate-no-member-is-ready";

/// An order in which members are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// Its share in the calls.
    pub(super) weight: u32,
    /// The clusters of the members that are not passed over.
    pub(super) clusters: Vec<String>,
}

/// The orders of a port; one, if no members share a priority. Their number depends on the object
/// alone and not on which members are ready, so routes stay as they are when a member fails.
pub(super) fn orders(port: &FederatedPort) -> Vec<Order> {
    let groups: Vec<&[FederatedMember]> =
        port.members.chunk_by(|one, other| one.priority == other.priority).collect();
    let count = groups.iter().map(|group| group.len()).max().unwrap_or(1).max(1);
    let longest = (NAMES / count).max(SHORTEST);
    (0..count).map(|turn| order(&groups, turn, longest)).collect()
}

/// The order whose groups begin with their `turn`th member. The first group that is shared gives
/// the weights.
fn order(groups: &[&[FederatedMember]], turn: usize, longest: usize) -> Order {
    let rotated = groups.iter().flat_map(|group| {
        let (front, back) = group.split_at(turn % group.len().max(1));
        back.iter().chain(front)
    });
    let used = rotated.filter(|member| member.state.is_used());
    let mut clusters: Vec<_> =
        used.filter_map(|member| Some(member.service.as_ref()?.cluster())).take(longest).collect();
    if clusters.is_empty() {
        clusters.push(NO_MEMBER.to_owned());
    }
    let shared = groups.iter().find(|group| group.len() > 1);
    let weight = shared.and_then(|group| Some(group.get(turn % group.len())?.weight));
    Order { weight: weight.unwrap_or(1), clusters }
}

/// The name of the subset of an order; `None` for the first, which is the host's own cluster.
pub(super) fn subset(number: usize) -> Option<String> {
    (number > 0).then(|| format!("order-{number}"))
}
