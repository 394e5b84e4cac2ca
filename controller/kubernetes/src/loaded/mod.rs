//! Which table each of the gateway's Pods has in force. The leader asks the Pods for the filter's
//! own gauges.
//!
//! It asks soon after a new table, then less and less often, and once a minute when all Pods have
//! it. The result changes only when a Pod has stayed behind for a while, so tables on their way are
//! not reported.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`gauge`] | the filter's gauges among all metrics of a proxy |
//! | `ask` | one question |
//! | `counts` | how many Pods have the table |
//! | `verdict` | the common result of all answers |

mod ask;
pub(crate) mod counts;
pub(super) mod gauge;
mod verdict;

use crate::api::watch::{Key, Watched};
use crate::metrics::Metrics;
use crate::replica::as_leader::AsLeader;
use crate::sources::pod::GatewayPod;
use ask::Asker;
use counts::Counts;
use fedgate_federation::federate::Condition;
use fedgate_process::backoff::backoff;
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use verdict::Answers;

/// How many Pods are asked at once.
const AT_ONCE: usize = 8;
/// The time until the first question about a new table; istiod and Envoy usually need it.
const SOON: Duration = Duration::from_millis(500);
/// The first pause while a Pod is behind.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause while a Pod is behind.
const BEHIND: Duration = Duration::from_secs(15);
/// The pause when all is well.
const SELDOM: Duration = Duration::from_secs(60);

/// The present result; clones share it. `None` if there is nothing more certain than the last
/// reported condition.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded(Arc<Mutex<Option<Condition>>>);

impl Loaded {
    /// The condition.
    pub(super) fn condition(&self) -> Option<Condition> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores the result; returns true if it changed.
    fn set(&self, condition: Option<Condition>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *state != condition;
        *state = condition;
        news
    }
}

/// Asks the Pods again and again.
pub(super) struct TablePoller {
    /// The gateway's Pods.
    pub(super) pods: Watched<GatewayPod>,
    /// What was compiled last, while this replica leads.
    pub(super) as_leader: AsLeader,
    /// Where the result goes.
    pub(super) loaded: Loaded,
    /// Notified when the result changes.
    pub(super) wake: Arc<Notify>,
    /// Where it is counted.
    pub(super) metrics: Metrics,
}

/// The question: the generation that all Pods should have, and the URL of each Pod.
type Question = (u64, BTreeMap<String, Option<String>>);

impl TablePoller {
    /// Runs forever.
    pub(super) async fn run(mut self) {
        let Ok(asker) = Asker::new() else {
            return tracing::error!(
                "cannot create an HTTP client, so it is unknown which table the gateway has; restart the controller"
            );
        };
        let (mut answers, mut asked, mut failures, mut next) =
            (Answers::default(), None, 0, Instant::now());
        loop {
            let Some(question) = self.question() else {
                (answers, asked) = (Answers::default(), None);
                self.loaded.set(None);
                self.metrics.show_gateway(&Counts::default());
                self.as_leader.changed().await;
                continue;
            };
            if asked.as_ref() != Some(&question) {
                // The table takes this time. Further tables shortly after it do not postpone the
                // question.
                (failures, next) = (0, next.min(Instant::now() + SOON));
                asked = Some(question.clone());
            }
            if Instant::now() < next {
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.as_leader.changed() => continue,
                }
                if self.question().as_ref() != Some(&question) {
                    continue;
                }
            }
            let (wanted, pods) = question;
            let of_pod = |(name, url): (String, Option<String>)| async {
                let answer = match url {
                    Some(url) => asker.gauges(&url).await,
                    None => Err("it has no address".to_owned()),
                };
                (name, answer)
            };
            let found = stream::iter(pods).map(of_pod).buffer_unordered(AT_ONCE).collect().await;
            failures = if answers.take(found, wanted) { 0 } else { failures + 1 };
            self.metrics.show_gateway(&answers.counts(wanted));
            let condition = answers.verdict(wanted).or_else(|| self.loaded.condition());
            if self.loaded.set(condition) {
                self.wake.notify_one();
            }
            next = Instant::now()
                + match failures {
                    0 => SELDOM,
                    failures => backoff(FIRST, BEHIND, failures),
                };
        }
    }

    /// `None` if this replica must not ask, or if there is no table yet.
    fn question(&self) -> Option<Question> {
        let compiled = self.as_leader.compiled().filter(|compiled| compiled.has_table)?;
        let pods = self.pods.all().into_iter().filter(|(_, pod)| pod.is_ready());
        Some((
            compiled.in_force.table.generation(),
            pods.map(|(Key { name, .. }, pod)| (name, pod.stats)).collect(),
        ))
    }
}
