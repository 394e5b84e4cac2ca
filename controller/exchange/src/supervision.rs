//! The tasks of one peer, restarted after a panic.
//!
//! These tasks are the first to handle what a peer sends. If a peer triggers a bug of ours, the
//! process must go on, and the peer must not silently lose its task. So the panic is logged and
//! counted, and the task starts again.

use fedgate_core::PeerName;
use fedgate_process::backoff::backoff;
use fedgate_process::tasks::panic_message;
use fedgate_process::words::spell;
use futures_util::FutureExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The wait before the first restart. It doubles with each further panic.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait. A task that has run this long starts over with the shortest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// How often tasks of peers have panicked, by task. Clones share their counters.
pub(crate) type Panics = Family<TaskLabels, Counter>;

/// The label that names a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TaskLabels {
    /// `exchange`, `probe` or `lookup`.
    pub(crate) task: &'static str,
}

/// Whose tasks these are, and where their panics are counted.
#[derive(Clone, Debug)]
pub(crate) struct Supervision {
    /// The peer that the tasks belong to.
    pub(crate) peer: PeerName,
    /// Where panics are counted.
    pub(crate) panics: Panics,
}

impl Supervision {
    /// Starts a task that runs until it returns or its handle is aborted. A panic restarts it.
    #[expect(clippy::disallowed_methods, reason = "this is what supervises it")]
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        self,
        task: &'static str,
        begin: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()> {
        tokio::spawn(self.run(task, begin))
    }

    async fn run<F: Future<Output = ()>>(self, task: &'static str, mut begin: impl FnMut() -> F) {
        let mut panics = 0;
        loop {
            let began = Instant::now();
            // Unwind safe: what the task shares is locked only briefly, and is consistent whenever
            // a panic can occur.
            let Err(panic) = AssertUnwindSafe(async { begin().await }).catch_unwind().await else {
                return;
            };
            if began.elapsed() >= LONGEST {
                panics = 0;
            }
            panics += 1;
            let wait = backoff(FIRST, LONGEST, panics);
            self.panics.get_or_create(&TaskLabels { task }).inc();
            let then = spell(wait);
            tracing::error!(peer = %self.peer, task, "{}; the task restarts in {then}", panic_message(panic));
            sleep(wait).await;
        }
    }

    #[cfg(test)]
    pub(crate) fn of(peer: &str) -> Self {
        Self { peer: PeerName::parse(peer).unwrap(), panics: Panics::default() }
    }

    #[cfg(test)]
    pub(crate) fn count(&self, task: &'static str) -> u64 {
        self.panics.get_or_create(&TaskLabels { task }).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::future::pending;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_panicking_task_is_counted_and_restarted_with_backoff() {
        let (supervision, first) = (Supervision::of("beta"), Instant::now());
        let begun = RefCell::new(Vec::new());
        let task = supervision.clone().run("probe", || async {
            begun.borrow_mut().push(first.elapsed().as_secs());
            let times = begun.borrow().len();
            match times {
                1..=3 => panic!("out of cheese"),
                // Long enough to start over with short waits.
                4 => sleep(LONGEST).await,
                _ => pending().await,
            }
            panic!("out of wine");
        });
        assert!(timeout(Duration::from_secs(3600), task).await.is_err());
        assert_eq!(*begun.borrow(), [0, 1, 3, 7, 68]);
        assert_eq!((supervision.count("probe"), supervision.count("lookup")), (4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn restart_waits_are_at_most_a_minute_and_a_returning_task_ends() {
        let mut begun = 0_u32;
        let supervision = Supervision::of("beta");
        let task = supervision.clone().run("probe", || {
            begun += 1;
            assert!(begun > 20, "not yet");
            async {}
        });
        let began = Instant::now();
        task.await;
        assert_eq!(
            (began.elapsed().as_secs(), supervision.count("probe")),
            (1 + 2 + 4 + 8 + 16 + 32 + 14 * 60, 20)
        );
    }
}
