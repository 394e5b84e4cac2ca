//! What the Pods have answered, and how soon to ask again.

use super::Presented;
use fedgate_federation::credentials::leaf_expiry;
use fedgate_process::backoff::backoff;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after the first failure, and the shortest one before a certificate expires.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause while a Pod does not answer.
const SILENT: Duration = Duration::from_secs(15);
/// The pause when all have answered.
const SELDOM: Duration = Duration::from_secs(60);
/// How long the last answer of a Pod counts that does not answer any more. Then nothing is known of
/// it: it may have been renewed.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// What came of asking a Pod.
pub(super) type Answer = Result<Arc<[Vec<u8>]>, String>;

/// The last answers of the Pods that there are.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pods: BTreeMap<String, Last>,
    /// How often in a row not all have answered.
    failures: u32,
}

/// The last answer of a Pod.
#[derive(Debug)]
struct Last {
    chain: Option<Arc<[Vec<u8>]>>,
    /// Since when it does not answer.
    silent: Option<Instant>,
    /// Whether that was logged.
    told: bool,
}

impl Answers {
    /// Takes those of all Pods that were asked; how long to wait before the next round.
    pub(super) fn take(&mut self, found: Vec<(String, Answer)>) -> Duration {
        let mut before = std::mem::take(&mut self.pods);
        for (name, answer) in found {
            let last = match answer {
                Ok(chain) => Last { chain: Some(chain), silent: None, told: false },
                Err(why) => silent(&name, before.remove(&name), &why),
            };
            self.pods.insert(name, last);
        }
        let all = self.pods.values().all(|last| last.silent.is_none());
        self.failures = if all { 0 } else { self.failures.saturating_add(1) };
        match self.failures {
            0 => SELDOM,
            failures => backoff(FIRST, SILENT, failures),
        }
    }

    /// How soon to ask so that a certificate that is renewed in time is never taken for one that
    /// has expired: meshes may have some of less than a minute.
    pub(super) fn before_expiry(&self, now: Timestamp) -> Duration {
        let chains = self.pods.values().filter_map(|last| last.chain.as_deref());
        let left = chains
            .filter_map(leaf_expiry)
            .map(|end| end.duration_since(now))
            .filter(SignedDuration::is_positive);
        let quarter = left.min().map_or(SELDOM, |left| left.unsigned_abs() / 4);
        quarter.clamp(FIRST, SELDOM)
    }

    /// `None` while no Pod has answered since this replica leads: what the last leader wrote down
    /// is more than nothing for a while.
    pub(super) fn known(&self) -> Option<Presented> {
        let chains =
            self.pods.iter().filter_map(|(name, last)| Some((name.clone(), last.chain.clone()?)));
        let known: Presented = chains.collect();
        let waits = |last: &Last| last.silent.is_some_and(|since| since.elapsed() < KEPT);
        (!known.is_empty() || !self.pods.values().any(waits)).then_some(known)
    }
}

fn silent(name: &str, before: Option<Last>, why: &str) -> Last {
    let since = before.as_ref().and_then(|before| before.silent).unwrap_or_else(Instant::now);
    let (chain, mut told) = before.map_or((None, false), |before| (before.chain, before.told));
    let forgotten = since.elapsed() >= KEPT;
    if forgotten && !told {
        tracing::warn!(
            pod = name,
            why,
            "it is not known which certificate this Pod of the gateway shows; check that the controller reaches its port"
        );
        told = true;
    }
    Last { chain: chain.filter(|_| !forgotten), silent: Some(since), told }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_exchange::loopback::TestCa;
    use jiff::ToSpan;
    use tokio::time::advance;

    fn shows(chain: &[u8]) -> Answer {
        Ok(Arc::from([chain.to_vec()]))
    }

    fn names(answers: &Answers) -> Option<Vec<String>> {
        answers.known().map(|known| known.into_keys().collect())
    }

    fn named(answers: &[(&str, Answer)]) -> Vec<(String, Answer)> {
        answers.iter().map(|(name, answer)| ((*name).to_owned(), answer.clone())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_pod_is_asked_sooner_and_its_last_answer_counts_for_a_while() {
        let mut answers = Answers::default();
        assert_eq!(answers.take(named(&[("a", shows(b"1")), ("b", shows(b"2"))])), SELDOM);
        let both = answers.known();
        assert_eq!(both.as_ref().map(Presented::len), Some(2));
        let refused = || named(&[("a", shows(b"1")), ("b", Err("connection refused".to_owned()))]);
        assert_eq!(answers.take(refused()), FIRST);
        advance(KEPT - Duration::from_secs(1)).await;
        assert_eq!(answers.take(refused()), FIRST * 2);
        assert_eq!(answers.known(), both, "it is what was known last");
        advance(Duration::from_secs(1)).await;
        answers.take(refused());
        assert_eq!(names(&answers), Some(vec!["a".to_owned()]), "it may be another one by now");
        for _ in 0..20 {
            assert!(answers.take(refused()) <= SILENT);
        }
        assert_eq!(answers.take(named(&[("a", shows(b"1")), ("b", shows(b"3"))])), SELDOM);
        assert_eq!(answers.known().unwrap()["b"].as_ref(), [b"3".to_vec()]);
    }

    #[tokio::test(start_paused = true)]
    async fn until_a_pod_answers_nothing_is_known_and_in_the_end_that_is_told() {
        let mut answers = Answers::default();
        let silent = || {
            named(&[("a", Err("connection refused".to_owned())), ("b", Err("too late".to_owned()))])
        };
        answers.take(silent());
        assert_eq!(names(&answers), None);
        advance(KEPT).await;
        answers.take(silent());
        assert_eq!(names(&answers), Some(Vec::new()));
        answers.take(named(&[("a", shows(b"1")), ("b", Err("too late".to_owned()))]));
        assert_eq!(names(&answers), Some(vec!["a".to_owned()]));
        answers.take(Vec::new());
        assert_eq!(names(&answers), Some(Vec::new()), "there is no Pod");
    }

    #[test]
    fn a_certificate_that_is_about_to_expire_is_looked_at_in_time() {
        let (ca, now) = (TestCa::new(), Timestamp::from_second(1_800_000_000).unwrap());
        let ends = |left: i64| {
            let leaf = ca.workload(
                &["spiffe://alpha.example/a"],
                now - 60.seconds(),
                now + left.seconds(),
            );
            Ok(Arc::from(leaf.der()))
        };
        let wait = |left: &[i64]| {
            let mut answers = Answers::default();
            let pods = left.iter().map(|left| (left.to_string(), ends(*left)));
            answers.take(pods.chain([("damaged".to_owned(), shows(b"1"))]).collect());
            answers.before_expiry(now).as_secs()
        };
        assert_eq!(
            [wait(&[]), wait(&[86_400]), wait(&[86_400, 120]), wait(&[30])],
            [60, 60, 30, 7]
        );
        assert_eq!([wait(&[1]), wait(&[-1]), wait(&[-1, 40])], [2, 60, 10]);
    }

    #[test]
    fn what_a_pod_showed_goes_with_the_pod() {
        let mut answers = Answers::default();
        answers.take(named(&[("a", shows(b"1")), ("b", shows(b"2"))]));
        answers.take(named(&[("b", shows(b"2"))]));
        assert_eq!(names(&answers), Some(vec!["b".to_owned()]));
    }
}
