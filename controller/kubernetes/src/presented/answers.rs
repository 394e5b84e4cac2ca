//! The Pods' answers, and when to ask again.

use super::Presented;
use fedgate_federation::credentials::leaf_expiry;
use fedgate_process::backoff::backoff;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after the first failure, and the shortest pause before a certificate expires.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause while a Pod does not answer.
const SILENT: Duration = Duration::from_secs(15);
/// The pause when all have answered.
const SELDOM: Duration = Duration::from_secs(60);
/// How long the last answer of a silent Pod is kept. After that, its certificate may have been
/// renewed.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// A Pod's certificates in DER, the leaf first; `Err` says why it did not answer.
pub(super) type Answer = Result<Arc<[Vec<u8>]>, String>;

/// The last answers of all present Pods.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pods: BTreeMap<String, Last>,
    /// The number of consecutive rounds in which not all Pods answered.
    failures: u32,
}

/// The last answer of a Pod.
#[derive(Debug)]
struct Last {
    chain: Option<Arc<[Vec<u8>]>>,
    /// Since when it has not answered; `None` if it has.
    silent: Option<Instant>,
    /// Whether its silence was logged.
    logged: bool,
}

impl Answers {
    /// Takes the answers of a round; returns the pause before the next one.
    pub(super) fn take(&mut self, found: Vec<(String, Answer)>) -> Duration {
        let mut before = std::mem::take(&mut self.pods);
        for (name, answer) in found {
            let last = match answer {
                Ok(chain) => Last { chain: Some(chain), silent: None, logged: false },
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

    /// The pause that is short enough to see a renewed certificate before the old one expires. Some
    /// meshes issue certificates that last less than a minute.
    pub(super) fn before_expiry(&self, now: Timestamp) -> Duration {
        let chains = self.pods.values().filter_map(|last| last.chain.as_deref());
        let left = chains
            .filter_map(leaf_expiry)
            .map(|end| end.duration_since(now))
            .filter(SignedDuration::is_positive);
        let quarter = left.min().map_or(SELDOM, |left| left.unsigned_abs() / 4);
        quarter.clamp(FIRST, SELDOM)
    }

    /// What the Pods present; `None` if none has answered since this replica leads. The last
    /// leader's record then applies for a while.
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
    let (chain, mut logged) = before.map_or((None, false), |before| (before.chain, before.logged));
    let forgotten = since.elapsed() >= KEPT;
    if forgotten && !logged {
        tracing::warn!(
            pod = name,
            why,
            "it is unknown which certificate this Pod of the gateway presents; check that the controller can connect to its port"
        );
        logged = true;
    }
    Last { chain: chain.filter(|_| !forgotten), silent: Some(since), logged }
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
    async fn a_silent_pod_is_asked_sooner_and_its_last_answer_is_kept_for_a_while() {
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
    async fn without_any_answer_nothing_is_known_until_the_limit() {
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
    fn pods_are_asked_before_their_certificates_expire() {
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
    fn the_answer_of_a_removed_pod_is_dropped() {
        let mut answers = Answers::default();
        answers.take(named(&[("a", shows(b"1")), ("b", shows(b"2"))]));
        answers.take(named(&[("b", shows(b"2"))]));
        assert_eq!(names(&answers), Some(vec!["b".to_owned()]));
    }
}
