//! Tests that a replica ends, with a reason, if it loses an essential task.

use super::super::until_end;
use super::*;
use fedgate_process::tasks::Tasks;
use std::future::pending;

/// How a replica ends if the task that makes the first matching call panics; `None` if it
/// continues.
async fn end(matches: impl Fn(&Call) -> bool + Send + 'static) -> Option<String> {
    let site = Site::new();
    site.export("web");
    site.server.fail(1, Fault::Panic, matches);
    let parts = site.parts("a");
    let health = parts.health.clone();
    let (mut replica, election) = ReplicaLoop::start(parts).unwrap();
    let mut servers = Tasks::default();
    servers.spawn("the election", election.run(pending()));
    let end = until_end(pending(), &mut servers, &mut replica, &health);
    let ended = timeout(Duration::from_secs(600), end).await.ok();
    let why = ended.map(|ended| ended.unwrap_err().to_string());
    assert_eq!(health.live().is_err(), why.is_some(), "/healthz says the same");
    why
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_task_ends_the_replica_with_the_tasks_name() {
    let writer = end(|call| call.name == TABLE && call.writes()).await.unwrap();
    assert!(writer.starts_with("the writer: ") && writer.contains("out of cheese"), "{writer}");
    let election = end(of_lease).await.unwrap();
    assert!(
        election.starts_with("the election: ") && election.contains("out of cheese"),
        "{election}"
    );
    let input =
        end(|call| call.verb == Verb::Watch && call.plural == "istiofederations").await.unwrap();
    assert!(input.starts_with("the watch of IstioFederations: "), "{input}");
    let output =
        end(|call| call.verb == Verb::List && call.plural == "destinationrules").await.unwrap();
    assert!(output.starts_with("the watch of destinationrules: "), "{output}");
}

#[tokio::test(start_paused = true)]
async fn without_a_panic_the_replica_continues() {
    assert_eq!(end(|_| false).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_not_a_failure() {
    let site = Site::new();
    let parts = site.parts("a");
    let health = parts.health.clone();
    let (mut replica, _election) = ReplicaLoop::start(parts).unwrap();
    let stop = sleep(Duration::from_secs(5));
    assert!(until_end(stop, &mut Tasks::default(), &mut replica, &health).await.is_ok());
    assert!(health.live().is_ok());
}
