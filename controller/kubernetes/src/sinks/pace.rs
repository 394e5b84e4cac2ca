//! How soon an object is put right that somebody changed: at once the first time, then later and later, so that two controllers that
//! want different things don't keep the API server busy.

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
/// After so long without a change by somebody else, the next one is the first again.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// From so many corrections on an operator is told.
pub(crate) const CONTESTED: u32 = 4;

/// The corrections of late.
#[derive(Debug, Default)]
pub(crate) struct Corrections(BTreeMap<(Kind, Key), Correction>);

#[derive(Debug)]
struct Correction {
    wanted: Fingerprint,
    count: u32,
    last: Instant,
}

impl Corrections {
    /// When an object that is not as it should be may be written; `None`: at once.
    pub(crate) fn not_before(&self, kind: Kind, key: &Key, wanted: Fingerprint) -> Option<Instant> {
        let correction = self.0.get(&(kind, key.clone())).filter(|correction| correction.wanted == wanted)?;
        let pause = backoff(THIRD, LONGEST, correction.count.saturating_sub(1));
        let then = correction.last + if correction.count <= 1 { Duration::ZERO } else { pause };
        (then > Instant::now()).then_some(then)
    }

    /// It was written over something else. How often that happened of late.
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
    async fn a_quarrel_gets_slower_and_a_change_of_ours_does_not() {
        let mut corrections = Corrections::default();
        let key = Key { namespace: "a".into(), name: "b".into() };
        let (wanted, other) = (fingerprint(&json!(1)), fingerprint(&json!(2)));
        let pause = |corrections: &Corrections, wanted| {
            corrections.not_before(Kind::EnvoyFilter, &key, wanted).map(|then| (then - Instant::now()).as_secs())
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
