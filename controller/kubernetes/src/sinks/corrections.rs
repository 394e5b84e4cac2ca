//! Delays corrections. The first change by someone else is corrected at once, repeated changes with
//! growing delays. So two controllers with different goals do not overload the API server.

use crate::api::fingerprint::Fingerprint;
use crate::api::kind::Kind;
use crate::api::watch::Key;
use fedgate_process::backoff::backoff;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The pause before the third correction. The second one comes at once.
const THIRD: Duration = Duration::from_secs(4);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);
/// After this time without a change by someone else, the next correction counts as the first.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// From this number of corrections on, a finding reports the contest.
pub(crate) const CONTESTED: u32 = 4;

/// The recent corrections.
#[derive(Debug, Default)]
pub(crate) struct Corrections(BTreeMap<(Kind, Key), Correction>);

#[derive(Debug)]
struct Correction {
    wanted: Fingerprint,
    count: u32,
    last: Instant,
}

impl Corrections {
    /// The earliest time for writing an object that differs from what is wanted; `None` means at
    /// once.
    pub(crate) fn not_before(&self, kind: Kind, key: &Key, wanted: Fingerprint) -> Option<Instant> {
        let correction =
            self.0.get(&(kind, key.clone())).filter(|correction| correction.wanted == wanted)?;
        let pause = backoff(THIRD, LONGEST, correction.count.saturating_sub(1));
        let then = correction.last + if correction.count <= 1 { Duration::ZERO } else { pause };
        (then > Instant::now()).then_some(then)
    }

    /// Records a correction; returns the number of recent ones.
    pub(crate) fn corrected(&mut self, kind: Kind, key: &Key, wanted: Fingerprint) -> u32 {
        let now = Instant::now();
        self.0.retain(|_, correction| now.duration_since(correction.last) < FORGOTTEN);
        let new = Correction { wanted, count: 0, last: now };
        let correction = self.0.entry((kind, key.clone())).or_insert(new);
        if correction.wanted != wanted {
            *correction = Correction { wanted, count: 0, last: now };
        }
        correction.count += 1;
        correction.last = now;
        correction.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fingerprint::fingerprint;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn repeated_corrections_slow_down_and_own_changes_do_not() {
        let mut corrections = Corrections::default();
        let key = Key { namespace: "a".into(), name: "b".into() };
        let (wanted, other) = (fingerprint(&json!(1)), fingerprint(&json!(2)));
        let pause = |corrections: &Corrections, wanted| {
            corrections
                .not_before(Kind::EnvoyFilter, &key, wanted)
                .map(|then| (then - Instant::now()).as_secs())
        };
        assert_eq!(pause(&corrections, wanted), None);
        for (count, expected) in [(1, None), (2, Some(4)), (3, Some(8)), (4, Some(16))] {
            assert_eq!(corrections.corrected(Kind::EnvoyFilter, &key, wanted), count);
            assert_eq!(pause(&corrections, wanted), expected);
        }
        assert_eq!(pause(&corrections, other), None, "what we want anew is written at once");
        tokio::time::advance(FORGOTTEN).await;
        assert_eq!(corrections.corrected(Kind::EnvoyFilter, &key, wanted), 1);
    }
}
