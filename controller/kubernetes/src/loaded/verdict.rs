//! The common result of the answers of all Pods.

use super::counts::Counts;
use super::gauge::Gauges;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a Pod may keep a wrong answer before it is reported. Until then, a table is on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(15);
/// How many Pods are named.
const NAMED: usize = 3;

/// What a Pod reports of its table; `Err` says why it cannot be asked.
pub(super) type Answer = Result<Gauges, String>;

/// Each Pod's last answer, and since when it has been the same wrong one.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<String, (Answer, Option<Instant>)>);

impl Answers {
    /// Takes the answers of all present Pods; returns true if all of them have the wanted
    /// generation.
    pub(super) fn take(&mut self, found: Vec<(String, Answer)>, wanted: u64) -> bool {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.0);
        for (name, answer) in found {
            let since = match before.remove(&name) {
                _ if has(&answer, wanted) => None,
                // The number of threads changes while some of them still lack the table.
                Some((Ok(same), Some(since)))
                    if answer.as_ref().is_ok_and(|new| new.generation == same.generation) =>
                {
                    Some(since)
                }
                // The same error may come in other words each time.
                Some((Err(_), Some(since))) if answer.is_err() => Some(since),
                _ => Some(now),
            };
            self.0.insert(name, (answer, since));
        }
        let counts = self.counts(wanted);
        counts.loaded > 0 && counts.behind == 0 && counts.unknown == 0
    }

    pub(super) fn counts(&self, wanted: u64) -> Counts {
        let count = |which: fn(&Answer, u64) -> bool| {
            self.0.values().filter(|(answer, _)| which(answer, wanted)).count()
        };
        let generations =
            self.0.values().filter_map(|(answer, _)| Some(answer.as_ref().ok()?.generation));
        Counts {
            loaded: count(has),
            behind: count(|answer, wanted| answer.is_ok() && !has(answer, wanted)),
            unknown: count(|answer, _| answer.is_err()),
            lowest: generations
                .map(|generation| generation.unwrap_or_default())
                .min()
                .unwrap_or_default(),
        }
    }

    /// The condition to report; `None` to keep the last one.
    ///
    /// Messages do not contain a generation that changes with each table. So a peer's status is
    /// written when a Pod falls behind or catches up, and not with each table.
    pub(super) fn verdict(&self, wanted: u64) -> Option<Condition> {
        let condition = |status, reason: &str, message: String| {
            Some(Condition {
                kind: ConditionType::TableLoaded,
                status,
                reason: reason.to_owned(),
                message,
            })
        };
        let counts = self.counts(wanted);
        if self.0.is_empty() {
            return condition(
                ConditionStatus::False,
                "NoGateway",
                "no Pod of the gateway is ready".to_owned(),
            );
        }
        let is_late =
            |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() >= ON_ITS_WAY);
        let late = || self.0.iter().filter(|(_, (_, since))| is_late(since));
        let behind = late().filter_map(|(pod, (answer, _))| {
            let gauges = answer.as_ref().ok()?;
            match (gauges.generation, gauges.lacking()) {
                (None, _) => Some(format!("{pod} has no filter with a table")),
                (Some(generation), _) if generation != wanted => {
                    Some(format!("{pod} stays at generation {generation}"))
                }
                (_, Some((threads, all))) => {
                    Some(format!("{pod} has it on {threads} of {all} threads"))
                }
                _ => None,
            }
        });
        let behind: Vec<_> = behind.collect();
        if !behind.is_empty() {
            return condition(ConditionStatus::False, "Behind", listed(&behind));
        }
        let silent = late()
            .filter_map(|(pod, (answer, _))| Some(format!("{pod}: {}", answer.as_ref().err()?)));
        let silent: Vec<_> = silent.collect();
        if !silent.is_empty() {
            return condition(ConditionStatus::Unknown, "Unreachable", listed(&silent));
        }
        match counts.loaded == self.0.len() {
            true => condition(ConditionStatus::True, "Loaded", String::new()),
            false => None,
        }
    }
}

fn has(answer: &Answer, wanted: u64) -> bool {
    answer.as_ref().is_ok_and(|gauges| gauges.have(wanted))
}

fn listed(all: &[String]) -> String {
    let (first, more) = all.split_at(all.len().min(NAMED));
    let first = first.join("; ");
    if more.is_empty() { first } else { format!("{first}; and {} more", more.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn found(answers: &[(&str, Answer)]) -> Vec<(String, Answer)> {
        answers.iter().map(|(name, answer)| ((*name).to_owned(), answer.clone())).collect()
    }

    fn everywhere(generation: u64) -> Answer {
        Ok(Gauges::everywhere(generation))
    }

    fn verdict(answers: &Answers, wanted: u64) -> Option<(ConditionStatus, String, String)> {
        answers
            .verdict(wanted)
            .map(|condition| (condition.status, condition.reason, condition.message))
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_table_is_reported_only_after_a_while() {
        let mut answers = Answers::default();
        assert!(answers.take(found(&[("a", everywhere(1)), ("b", everywhere(1))]), 1));
        let loaded = (ConditionStatus::True, "Loaded".to_owned(), String::new());
        assert_eq!(verdict(&answers, 1), Some(loaded.clone()));
        // The next table: nothing is reported while it may be on its way, even after a long time
        // with the former one.
        advance(ON_ITS_WAY * 10).await;
        assert!(!answers.take(found(&[("a", everywhere(2)), ("b", everywhere(1))]), 2));
        assert_eq!(verdict(&answers, 2), None);
        advance(ON_ITS_WAY).await;
        // There is one more table by now, and a got each of them a little late.
        answers.take(found(&[("a", everywhere(2)), ("b", everywhere(1))]), 3);
        let (status, reason, message) = verdict(&answers, 3).unwrap();
        assert_eq!((status, reason.as_str()), (ConditionStatus::False, "Behind"));
        assert_eq!(
            message, "b stays at generation 1",
            "and nothing of what is wanted, which changes"
        );
        answers.take(found(&[("a", everywhere(3)), ("b", everywhere(3))]), 3);
        assert_eq!(verdict(&answers, 3), Some(loaded));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_pods_are_unknown_and_pods_without_a_filter_behind() {
        let mut answers = Answers::default();
        let refused = || Err("connection refused".to_owned());
        answers.take(found(&[("a", refused()), ("b", everywhere(1))]), 1);
        assert_eq!(verdict(&answers, 1), None);
        advance(ON_ITS_WAY / 2).await;
        answers.take(found(&[("a", Err("too late".to_owned())), ("b", everywhere(1))]), 1);
        advance(ON_ITS_WAY / 2).await;
        answers.take(found(&[("a", refused()), ("b", everywhere(1))]), 1);
        let (status, reason, message) = verdict(&answers, 1).unwrap();
        assert_eq!((status, reason.as_str()), (ConditionStatus::Unknown, "Unreachable"));
        assert_eq!(message, "a: connection refused");
        answers.take(found(&[("a", refused()), ("b", Ok(Gauges::default()))]), 1);
        advance(ON_ITS_WAY).await;
        let (_, reason, message) = verdict(&answers, 1).unwrap();
        assert_eq!((reason.as_str(), message.as_str()), ("Behind", "b has no filter with a table"));
        assert_eq!(answers.counts(1), Counts { loaded: 0, behind: 1, unknown: 1, lowest: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_of_many_pods_are_named_and_no_pod_is_reported() {
        let mut answers = Answers::default();
        assert!(!answers.take(Vec::new(), 1));
        assert_eq!(verdict(&answers, 1).unwrap().1, "NoGateway");
        let many: Vec<_> = (0..9).map(|number| (format!("pod-{number}"), everywhere(3))).collect();
        answers.take(many.clone(), 4);
        advance(ON_ITS_WAY).await;
        answers.take(many, 4);
        let message = verdict(&answers, 4).unwrap().2;
        assert!(
            message.starts_with("pod-0 stays at generation 3; pod-1")
                && message.ends_with("and 6 more"),
            "{message}"
        );
        assert_eq!(answers.counts(4), Counts { loaded: 0, behind: 9, unknown: 0, lowest: 3 });
    }

    /// The trial VM has accepted the table, but no thread has it.
    #[tokio::test(start_paused = true)]
    async fn a_table_that_not_all_threads_have_is_not_loaded() {
        let mut answers = Answers::default();
        let on = |threads| found(&[("a", Ok(Gauges::on_threads(1, threads)))]);
        assert!(!answers.take(on(0), 1));
        assert_eq!(verdict(&answers, 1), None, "it is on its way");
        advance(ON_ITS_WAY / 2).await;
        assert!(!answers.take(on(2), 1));
        advance(ON_ITS_WAY / 2).await;
        assert!(!answers.take(on(2), 1));
        let (status, reason, message) = verdict(&answers, 1).unwrap();
        assert_eq!((status, reason.as_str()), (ConditionStatus::False, "Behind"));
        assert_eq!(message, "a has it on 2 of 3 threads");
        assert_eq!(answers.counts(1), Counts { loaded: 0, behind: 1, unknown: 0, lowest: 1 });
        assert!(answers.take(on(3), 1));
        assert_eq!(verdict(&answers, 1).unwrap().0, ConditionStatus::True);
    }
}
