//! Turns priorities and weights into weighted orders: an aggregate cluster has an order and no
//! shares, and `tcp_proxy` draws one of several clusters by weight.

use fedgate_federation::federate::FederatedMember;

/// An order of clusters, and how many of [`WHOLE`] connections take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) weight: u32,
    pub(super) clusters: Vec<String>,
}

/// The sum of all weights.
const WHOLE: u64 = 10_000;

/// Returns the orders for these members with their clusters, which are in order of priority.
///
/// Each priority cuts the whole into a piece for each of its members, as large as its weight. In
/// the piece between two cuts of any priority, each priority begins with the member whose piece it
/// is, and goes on with the others in turn. So at every priority each member is the first in its
/// share of the orders.
pub(super) fn shares(members: Vec<(&FederatedMember, String)>) -> Vec<Share> {
    let priorities: Vec<_> =
        members.chunk_by(|(a, _), (b, _)| a.priority == b.priority).map(pieces).collect();
    if priorities.is_empty() {
        return Vec::new();
    }
    let mut cuts: Vec<u64> =
        priorities.iter().flatten().map(|(end, _)| *end).filter(|end| *end > 0).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut begin = 0;
    let mut shares = Vec::new();
    for end in cuts {
        let clusters = priorities.iter().flat_map(|pieces| from(pieces, begin)).collect();
        shares.push(Share { weight: u32::try_from(end - begin).unwrap_or(u32::MAX), clusters });
        begin = end;
    }
    shares
}

/// Where each member's piece ends, with its cluster.
fn pieces<'a>(members: &'a [(&FederatedMember, String)]) -> Vec<(u64, &'a str)> {
    let whole: u64 = members.iter().map(|(member, _)| u64::from(member.weight)).sum();
    let mut sum = 0;
    let piece = |(member, cluster): &'a (&FederatedMember, String)| {
        sum += u64::from(member.weight);
        (sum * WHOLE / whole.max(1), cluster.as_str())
    };
    members.iter().map(piece).collect()
}

/// The clusters, beginning with the one whose piece has `position`.
fn from(pieces: &[(u64, &str)], position: u64) -> Vec<String> {
    let first = pieces.iter().position(|(end, _)| *end > position).unwrap_or_default();
    let (before, after) = pieces.split_at(first);
    after.iter().chain(before).map(|(_, cluster)| (*cluster).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_federation::federate::{MemberPlace, MemberState};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn member(priority: u32, weight: u32) -> FederatedMember {
        let state = MemberState::Ready;
        FederatedMember {
            place: MemberPlace::Local,
            service: None,
            priority,
            weight,
            state,
            check: None,
        }
    }

    fn shares_of(members: &[(u32, u32)]) -> Vec<Share> {
        let members: Vec<_> = members.iter().map(|(p, w)| member(*p, *w)).collect();
        let named = members.iter().enumerate().map(|(n, member)| (member, format!("c{n}")));
        shares(named.collect())
    }

    #[test]
    fn one_member_at_each_priority_is_one_order() {
        let [share] = &shares_of(&[(0, 1), (1, 7), (2, 1)])[..] else { panic!() };
        assert_eq!((share.weight, share.clusters.join(" ")), (10_000, "c0 c1 c2".to_owned()));
        assert_eq!(shares_of(&[]), []);
    }

    #[test]
    fn members_of_one_priority_take_turns_to_be_first() {
        let orders: Vec<_> = shares_of(&[(0, 3), (0, 1), (1, 1)])
            .into_iter()
            .map(|share| (share.weight, share.clusters.join(" ")))
            .collect();
        assert_eq!(orders, [(7_500, "c0 c1 c2".to_owned()), (2_500, "c1 c0 c2".to_owned())]);
    }

    proptest! {
        #[test]
        fn each_member_is_first_in_its_share(mut members in proptest::collection::vec((0u32..3, 1u32..=100), 1..8)) {
            members.sort_by_key(|(priority, _)| *priority);
            let shares = shares_of(&members);
            prop_assert_eq!(shares.iter().map(|share| u64::from(share.weight)).sum::<u64>(), WHOLE);
            prop_assert!(shares.len() <= members.len());
            let mut first: BTreeMap<String, u64> = BTreeMap::new();
            for share in &shares {
                let priorities: Vec<_> = share.clusters.iter().map(|cluster| {
                    members[cluster[1..].parse::<usize>().unwrap()].0
                }).collect();
                prop_assert!(priorities.is_sorted() && share.clusters.len() == members.len());
                for (place, cluster) in share.clusters.iter().enumerate() {
                    if place == 0 || priorities[place] != priorities[place - 1] {
                        *first.entry(cluster.clone()).or_default() += u64::from(share.weight);
                    }
                }
            }
            for (number, (priority, weight)) in members.iter().enumerate() {
                let whole: u64 = members.iter().filter(|(p, _)| p == priority).map(|(_, w)| u64::from(*w)).sum();
                let exact = u64::from(*weight) * WHOLE / whole;
                let found = first.get(&format!("c{number}")).copied().unwrap_or_default();
                prop_assert!(found.abs_diff(exact) <= 1, "{found} for {exact}");
            }
        }
    }
}
