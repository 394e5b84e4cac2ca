//! Whose clock is off, as far as three parties can tell.
//!
//! Clocks that agree are a group, ours among them. If one group is larger than every other, its
//! time is taken for right. Two clocks that differ tell nothing about which of them is off.

use super::{Candidate, Inputs};
use crate::finding::{Finding, FindingReason, ObjectRef};
use crate::knowledge::{Age, Blame, ClockReading};
use jiff::SignedDuration;

/// Clocks agree up to this difference. It is twice what a stored reading may be off.
const SAME: SignedDuration = SignedDuration::from_secs(10);

/// The clocks of all parties, by how far they are ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clocks {
    /// The first and the last clock of the group that is larger than every other.
    right: Option<(SignedDuration, SignedDuration)>,
}

impl Clocks {
    /// Compares the clocks of the peers that answered lately. What a peer's clock said long ago
    /// says nothing about ours.
    pub(super) fn of<'a, 'k: 'a>(
        inputs: &Inputs<'_>,
        accepted: impl Iterator<Item = &'a Candidate<'k>>,
    ) -> Self {
        let skew = |candidate: &Candidate<'_>| {
            let knowledge = candidate.knowledge?;
            let confirmed = knowledge.public.as_ref()?.confirmed;
            let age = candidate.times(inputs).age(confirmed, inputs.now);
            knowledge.clock_skew().filter(|_| age == Age::Fresh)
        };
        Self::of_skews(accepted.filter_map(skew))
    }

    fn of_skews(skews: impl Iterator<Item = SignedDuration>) -> Self {
        let mut clocks: Vec<_> = skews.chain([SignedDuration::ZERO]).collect();
        clocks.sort();
        let agree = |a: &SignedDuration, b: &SignedDuration| {
            b.checked_sub(*a).is_some_and(|apart| apart <= SAME)
        };
        let groups = || clocks.chunk_by(agree);
        let most = groups().map(<[_]>::len).max().unwrap_or_default();
        let mut largest = groups().filter(|group| group.len() == most);
        let right = match (largest.next(), largest.next()) {
            (Some(group), None) if most > 1 => group.first().copied().zip(group.last().copied()),
            _ => None,
        };
        Self { right }
    }

    /// Says whose clock is off, given how far a peer's clock is ahead of ours.
    pub(super) fn blame(self, skew: SignedDuration) -> Blame {
        let Some((first, last)) = self.right else { return Blame::Unknown };
        let is_right = |clock: SignedDuration| first <= clock && clock <= last;
        match (is_right(SignedDuration::ZERO), is_right(skew)) {
            (true, true) => Blame::Unknown,
            (false, true) => Blame::Ours,
            (true, false) => Blame::Theirs,
            (false, false) => Blame::Both,
        }
    }

    /// Returns the finding about a peer's clock, if it differs too much from ours.
    pub(super) fn finding(self, candidate: &Candidate<'_>) -> Option<Finding> {
        let reading = candidate.knowledge?.clock?;
        reading.finding(candidate.peer.object(), self.blame(reading.skew()))
    }

    /// Returns true if the finding about this peer's clock says nothing more than the one about
    /// ours: [`Self::ours`].
    pub(super) fn is_ours(self, candidate: &Candidate<'_>) -> bool {
        let reading = candidate.knowledge.and_then(|knowledge| knowledge.clock);
        reading.is_some_and(|reading| self.blame(reading.skew()) == Blame::Ours)
    }

    /// Returns the one finding about our own clock, if it is off: each peer would tell the same.
    pub(super) fn ours<'a, 'k: 'a>(
        self,
        inputs: &Inputs<'_>,
        mut accepted: impl Iterator<Item = &'a Candidate<'k>>,
    ) -> Option<Finding> {
        let (witness, reading) = accepted.find_map(|candidate| {
            let reading: ClockReading = candidate.knowledge?.clock?;
            let is_far = self.is_ours(candidate) && reading.warning(Blame::Ours).is_some();
            is_far.then_some((&candidate.peer.name, reading))
        })?;
        let message = format!(
            "this cluster's clock is off: peers agree with each other, and {witness}'s endpoint said {} when ours said {}; tokens are good for a minute, so set it",
            reading.theirs, reading.ours
        );
        let cluster = ObjectRef::cluster(inputs.local.trust_domain.as_str());
        Some(Finding::warning(FindingReason::ClockSkew, cluster, "", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blame(of: i64, others: &[i64]) -> Blame {
        let skews = others.iter().chain([&of]).map(|skew| SignedDuration::from_secs(*skew));
        Clocks::of_skews(skews).blame(SignedDuration::from_secs(of))
    }

    #[test]
    fn three_parties_can_tell_whose_clock_is_off() {
        for (of, others, expected) in [
            (45, &[][..], Blame::Unknown),
            // A third clock agrees with theirs, with ours, or with neither.
            (45, &[45], Blame::Ours),
            (45, &[50], Blame::Ours),
            (-45, &[-45], Blame::Ours),
            (45, &[0], Blame::Theirs),
            (45, &[-6], Blame::Theirs),
            (45, &[-45], Blame::Unknown),
            (45, &[90], Blame::Unknown),
            // One against one, whoever else is off.
            (45, &[45, 0], Blame::Unknown),
            (45, &[45, 0, 0], Blame::Theirs),
            (45, &[45, 44, 0], Blame::Ours),
            (45, &[90, 90], Blame::Both),
            // A drift from clock to clock is one group.
            (40, &[10, 20, 30], Blame::Unknown),
            (i64::MAX, &[i64::MIN, 0], Blame::Theirs),
        ] {
            assert_eq!(blame(of, others), expected, "{of} among {others:?}");
        }
    }

    proptest! {
        /// Whatever the clocks say, nobody is blamed alone against a majority that agrees with him.
        #[test]
        fn the_majority_is_right(
            skew in prop_oneof![-100_000_i64..-30, 31_i64..100_000],
            theirs in 0_usize..6,
            ours in 0_usize..6,
            noise in proptest::collection::vec(-2_i64..=2, 12),
        ) {
            let noise = |index: usize| noise[index % noise.len()];
            let with_them = (0..theirs).map(|index| skew + noise(index));
            let with_us = (0..ours).map(|index| noise(index + theirs));
            let others: Vec<_> = with_them.chain(with_us).collect();
            let expected = match (theirs + 1).cmp(&(ours + 1)) {
                std::cmp::Ordering::Greater => Blame::Ours,
                std::cmp::Ordering::Less => Blame::Theirs,
                std::cmp::Ordering::Equal => Blame::Unknown,
            };
            prop_assert_eq!(blame(skew, &others), expected);
        }

        /// The order of the peers does not matter, and no number is too large.
        #[test]
        fn any_clocks_are_compared(of in any::<i64>(), mut others in proptest::collection::vec(any::<i64>(), 0..8)) {
            let once = blame(of, &others);
            others.reverse();
            prop_assert_eq!(blame(of, &others), once);
        }
    }
}
