//! Finds Envoys that need a restart, because their bootstrap file is newer.

use super::{Processes, bootstrap};
use fedgate_envoy::EnvoyFiles;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::envoy_processes::{RunningEnvoy, started};
use std::path::Path;
use std::time::Duration;

/// How far the clocks of files and processes may differ: both tick at least 100 times a second.
const SLACK: Duration = Duration::from_millis(100);

pub(crate) fn findings(
    processes: Processes,
    files: &EnvoyFiles,
    cluster: &ObjectRef,
) -> Vec<Finding> {
    let outdated = |(role, envoy): (&str, Option<RunningEnvoy>)| {
        let envoy = envoy.filter(|envoy| is_older(envoy, bootstrap(files, role).as_ref()))?;
        Some(restart_needed(role, envoy, cluster))
    };
    processes.named().into_iter().filter_map(outdated).collect()
}

fn is_older(envoy: &RunningEnvoy, bootstrap: &Path) -> bool {
    let written = std::fs::metadata(bootstrap).and_then(|metadata| metadata.modified());
    let started = started(envoy.pid);
    written.is_ok_and(|written| started.is_some_and(|started| started + SLACK < written))
}

fn restart_needed(role: &str, envoy: RunningEnvoy, cluster: &ObjectRef) -> Finding {
    let message = format!(
        "{role}: envoy/{role}/bootstrap.json is newer than its Envoy (process {}), which reads it at its start only: \
         restart that Envoy",
        envoy.pid
    );
    Finding::warning(FindingReason::RestartNeeded, cluster.clone(), role, message)
}
