//! The tasks of a process, none of which may end before the process does.
//!
//! If one task ended, the process would look alive but do less than it should. So the first end, by
//! failure or panic, ends the process with a reason and a nonzero status. Whoever started it
//! (kubelet, systemd) restarts it.

use std::any::Any;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

/// Tasks that run as long as the process. Dropping it aborts them.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<Option<String>>,
    names: HashMap<Id, String>,
}

/// The output of a task.
pub trait Ending: Send + 'static {
    /// What went wrong, if anything.
    fn failure(self) -> Option<String>;
}

impl Ending for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl Ending for Infallible {
    fn failure(self) -> Option<String> {
        match self {}
    }
}

impl<E: std::fmt::Display + Send + 'static> Ending for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

impl Tasks {
    /// Starts a task. `name` is used in messages about its end.
    pub fn spawn<T: Ending>(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = T> + Send + 'static,
    ) {
        let handle = self.running.spawn(async { task.await.failure() });
        self.names.insert(handle.id(), name.into());
    }

    /// Waits until one of the tasks ends, and returns the reason. Cancel safe.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.running.join_next_with_id().await {
            Some(ended) => anyhow::anyhow!("{}", self.reason(ended)),
            None => std::future::pending().await,
        }
    }

    /// Waits up to `limit` for tasks that have been told to stop. Returns the reasons of those that
    /// failed.
    pub async fn stop(mut self, limit: Duration) -> Vec<String> {
        let mut failures = Vec::new();
        let all = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                let failed = !matches!(ended, Ok((_, None)));
                let reason = self.reason(ended);
                failures.extend(failed.then_some(reason));
            }
        };
        if timeout(limit, all).await.is_err() {
            let left: Vec<_> = self.names.into_values().collect();
            failures.push(format!("not ended within {limit:?}: {}", left.join(", ")));
        }
        failures
    }

    fn reason(&mut self, ended: Result<(Id, Option<String>), JoinError>) -> String {
        let (id, why) = match ended {
            Ok((id, Some(failure))) => (id, failure),
            Ok((id, None)) => (id, "it has returned".to_owned()),
            Err(error) => (error.id(), panicked(error)),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        format!("{name}: expected to run for as long as the process, but has ended: {why}")
    }
}

/// The message of a panic in a task.
pub fn panicked(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|_| "it was stopped".to_owned(), panic_message)
}

/// The message of a panic.
pub fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let message = panic
        .downcast::<String>()
        .map(|message| *message)
        .or_else(|other| other.downcast::<&str>().map(|message| (*message).to_owned()));
    format!(
        "a bug in fedgate: {}; please report it",
        message.as_deref().unwrap_or("it gave no message")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    async fn first_end(task: impl Future<Output = Result<(), String>> + Send + 'static) -> String {
        let mut tasks = Tasks::default();
        tasks.spawn("the other", pending::<()>());
        tasks.spawn("the writer", task);
        tasks.ended().await.to_string()
    }

    #[tokio::test]
    async fn the_first_task_to_end_is_reported_with_name_and_reason() {
        let panics = first_end(async { panic!("out of cheese") }).await;
        assert!(panics.starts_with("the writer: ") && panics.contains("out of cheese"), "{panics}");
        let formatted = first_end(async { panic!("out of {}", "wine") }).await;
        assert!(formatted.contains("out of wine"), "{formatted}");
        assert!(first_end(async { Err("no socket".to_owned()) }).await.contains("no socket"));
        assert!(first_end(async { Ok(()) }).await.contains("has returned"));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_reported_while_all_tasks_run() {
        let mut tasks = Tasks::default();
        assert!(
            timeout(Duration::from_secs(3600), tasks.ended()).await.is_err(),
            "without tasks nothing ends"
        );
        tasks.spawn("the writer", pending::<()>());
        assert!(timeout(Duration::from_secs(3600), tasks.ended()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_only_up_to_the_limit() {
        let mut tasks = Tasks::default();
        tasks.spawn("the exporter", async {});
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, Vec::<String>::new());
        let mut tasks = Tasks::default();
        tasks.spawn("the exporter", async {});
        tasks.spawn("the writer", pending::<()>());
        let failures = tasks.stop(Duration::from_secs(5)).await;
        assert_eq!(failures, ["not ended within 5s: the writer"]);
    }
}
