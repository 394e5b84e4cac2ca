//! How much each of the two Envoys may take, by what its machine gives it, and what an operator has to do about it.
//!
//! The controller does not start the Envoys. It knows the limit that it has itself, the setting `openFiles`, and what an
//! Envoy that runs beside it has; the lowest of what is known of an Envoy counts. An Envoy reads its limit of connections
//! at its start, so what is seen of it is kept for the next one.

use crate::envoy::{Connections, Descriptors, EnvoyFiles, PathError};
use crate::machine::{self, INOTIFY_INSTANCES, INOTIFY_WATCHES, Inotify, RunningEnvoy, Seen};
use crate::settings::Settings;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Where what was seen is kept, in the state folder.
pub const FILE: &str = "envoys.json";
/// Fewer connections than this are worth a warning.
const FEW: u32 = 1_000;
/// By how much the clocks of files and processes may differ: both tick a hundred times a second or more.
const SLACK: Duration = Duration::from_millis(100);

/// What was seen of the two Envoys; kept over restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenEnvoys {
    gateway: Seen,
    egress: Seen,
}

/// How much the two Envoys may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    gateway: Descriptors,
    egress: Descriptors,
    /// How many ports `egress.ports` has.
    range: usize,
}

impl Capacity {
    /// By the settings, by what was seen, and by this program's own limit.
    pub fn of(settings: &Settings, seen: &SeenEnvoys) -> Self {
        Self {
            gateway: descriptors(settings.gateway.open_files, seen.gateway),
            egress: descriptors(settings.egress.open_files, seen.egress),
            range: settings.egress.ports.len(),
        }
    }

    /// How many connections the gateway may have.
    pub fn gateway(&self) -> Connections {
        self.gateway.gateway()
    }

    /// How many connections the egress may have.
    pub fn egress(&self) -> Connections {
        self.egress.egress(self.range)
    }

    /// How many of its ports the egress may have open.
    pub fn egress_ports(&self) -> usize {
        self.egress.egress_ports(self.range)
    }

    /// What an operator has to do, in this order: gateway, egress.
    pub fn findings(&self, cluster: &ObjectRef) -> Vec<Finding> {
        let rows = [("gateway", self.gateway, self.gateway()), ("egress", self.egress, self.egress())];
        rows.into_iter().filter_map(|(role, it, connections)| too_few(role, it, connections, cluster)).collect()
    }

    /// What was found, for a person.
    pub fn lines(&self) -> [String; 2] {
        let of = |it: Descriptors| format!("{} open files, {} workers", it.limit, it.workers);
        [
            format!("gateway: {} connections at a time ({})", self.gateway().0, of(self.gateway)),
            format!(
                "egress: {} connections at a time, {} ports ({})",
                self.egress().0,
                self.egress_ports(),
                of(self.egress)
            ),
        ]
    }
}

fn descriptors(setting: Option<u64>, seen: Seen) -> Descriptors {
    let known = setting.into_iter().chain(seen.open_files).min();
    Descriptors {
        limit: known.unwrap_or_else(machine::descriptor_limit),
        workers: machine::workers().max(seen.workers.unwrap_or_default()),
    }
}

fn too_few(role: &str, it: Descriptors, Connections(connections): Connections, cluster: &ObjectRef) -> Option<Finding> {
    let advice = format!(
        "raise the limit of open files of its Envoy (LimitNOFILE of the unit, ulimit -n), expected 65536 or more; \
         if it differs from the controller's, say so as {role}.openFiles"
    );
    let message = format!(
        "{role}: its Envoy may open {} files with {} workers, so it takes {connections} connections at a time: {advice}",
        it.limit, it.workers
    );
    let finding = match it.are_enough() {
        false => Finding::error,
        true if connections < FEW => Finding::warning,
        true => return None,
    };
    Some(finding(FindingReason::TooFewDescriptors, cluster.clone(), format!("{role}.openFiles"), message))
}

/// The two Envoys, as far as they run on this machine.
#[derive(Debug, Clone)]
pub struct RunningEnvoys {
    gateway: Option<RunningEnvoy>,
    egress: Option<RunningEnvoy>,
}

/// Looks for the two Envoys on this machine, and keeps what is seen of them.
pub fn look(files: &EnvoyFiles, seen: &mut SeenEnvoys) -> RunningEnvoys {
    let look = |role: &str, seen: &mut Seen| {
        let envoy = machine::running_envoy(files.path(&format!("{role}/bootstrap.json")).as_ref())?;
        *seen = envoy.seen;
        Some(envoy)
    };
    RunningEnvoys { gateway: look("gateway", &mut seen.gateway), egress: look("egress", &mut seen.egress) }
}

impl RunningEnvoys {
    /// Findings about those that have to be restarted, because their bootstrap is newer than they are.
    pub fn outdated(&self, files: &EnvoyFiles, cluster: &ObjectRef) -> Vec<Finding> {
        let outdated = |(role, envoy): (&str, &Option<RunningEnvoy>)| {
            let bootstrap = files.path(&format!("{role}/bootstrap.json"));
            let envoy = envoy.as_ref().filter(|envoy| is_older(envoy, bootstrap.as_ref()))?;
            Some(restart_needed(role, envoy, cluster))
        };
        [("gateway", &self.gateway), ("egress", &self.egress)].into_iter().filter_map(outdated).collect()
    }
}

fn is_older(envoy: &RunningEnvoy, bootstrap: &Path) -> bool {
    let written = std::fs::metadata(bootstrap).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| envoy.started + SLACK < written)
}

fn restart_needed(role: &str, envoy: &RunningEnvoy, cluster: &ObjectRef) -> Finding {
    let message = format!(
        "{role}: envoy/{role}/bootstrap.json is newer than its Envoy (process {}), which reads it at its start only: \
         restart that Envoy; until then it may take more connections than it has descriptors for, and end",
        envoy.pid
    );
    Finding::warning(FindingReason::RestartNeeded, cluster.clone(), role, message)
}

/// What a run in this folder would find now, without writing anything.
///
/// # Errors
/// When the folder's path cannot stand in a JSON file.
pub fn validate(settings: &Settings) -> Result<(Capacity, Vec<Finding>), PathError> {
    let cluster = ObjectRef::cluster(settings.trust_domain.as_str());
    let files = EnvoyFiles::new(&settings.envoy)?;
    let kept = std::fs::read(settings.state.join(FILE)).ok();
    let mut seen = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut findings = look(&files, &mut seen).outdated(&files, &cluster);
    let capacity = Capacity::of(settings, &seen);
    findings.extend(capacity.findings(&cluster));
    findings.extend(inotify_findings(&files, &cluster));
    Ok((capacity, findings))
}

/// Whether the kernel gives the inotify instances that a site takes.
pub fn inotify_findings(files: &EnvoyFiles, cluster: &ObjectRef) -> Vec<Finding> {
    let runs = |role| machine::running_envoy(files.path(&format!("{role}/bootstrap.json")).as_ref()).is_some();
    let running = runs("gateway") || runs("egress");
    Inotify::read().map(|inotify| of_inotify(inotify, running, cluster)).unwrap_or_default()
}

/// `running`: the site's own processes hold their instances already.
fn of_inotify(inotify: Inotify, running: bool, cluster: &ObjectRef) -> Vec<Finding> {
    let Inotify { instances, watches, held } = inotify;
    let finding = |name: &str, expected: u64, found: String| {
        let message = format!(
            "fs.inotify.{name}: expected {expected} for this site, found {found}; an Envoy that gets none aborts: raise it \
             with sysctl, and in /etc/sysctl.d for the next start"
        );
        Finding::error(FindingReason::TooFewInotify, cluster.clone(), format!("fs.inotify.{name}"), message)
    };
    let free = instances.saturating_sub(if running { 0 } else { held });
    let few_instances = (free < INOTIFY_INSTANCES)
        .then(|| finding("max_user_instances", INOTIFY_INSTANCES, format!("{instances}, of which {held} are in use")));
    let few_watches =
        (watches < INOTIFY_WATCHES).then(|| finding("max_user_watches", INOTIFY_WATCHES, watches.to_string()));
    few_instances.into_iter().chain(few_watches).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ObjectRef {
        ObjectRef::cluster("alpha.example")
    }

    #[test]
    fn few_descriptors_are_a_warning_and_too_few_an_error() {
        let capacity = |limit| {
            let it = Descriptors { limit, workers: 2 };
            Capacity { gateway: it, egress: it, range: 900 }
        };
        let severities = |limit| -> Vec<_> {
            capacity(limit).findings(&cluster()).into_iter().map(|finding| format!("{:?}", finding.severity)).collect()
        };
        assert!(severities(65_536).is_empty());
        assert_eq!(severities(1_024), ["Warning", "Warning"]);
        assert_eq!(severities(100), ["Error", "Error"]);
        let text = capacity(1_024).findings(&cluster())[0].to_string();
        crate::readable::assert_readable(&[&text], crate::readable::problems);
        assert!(
            text.contains("1024 files") && text.contains("464 connections") && text.contains("LimitNOFILE"),
            "{text}"
        );
        assert_eq!(
            capacity(1_024).lines()[1],
            "egress: 232 connections at a time, 232 ports (1024 open files, 2 workers)"
        );
    }

    #[test]
    fn the_lowest_of_what_is_known_of_an_envoy_counts() {
        let of = |setting, open_files| descriptors(setting, Seen { open_files, workers: Some(1_000) });
        assert_eq!(of(Some(4_096), Some(1_024)).limit, 1_024);
        assert_eq!(of(Some(512), Some(1_024)).limit, 512);
        assert_eq!(of(None, Some(1_024)).limit, 1_024);
        assert_eq!(of(None, None).limit, machine::descriptor_limit());
        assert_eq!(of(None, None).workers, 1_000);
    }

    #[test]
    fn inotify_instances_that_others_hold_are_none_for_us() {
        let findings = |instances, held, running| {
            let found = of_inotify(Inotify { instances, watches: 8_192, held }, running, &cluster());
            found.into_iter().map(|finding| finding.to_string()).collect::<Vec<_>>()
        };
        assert!(findings(128, 10, false).is_empty());
        assert!(findings(128, 127, true).is_empty(), "some of them are the site's own");
        let few = findings(128, 120, false);
        crate::readable::assert_readable(&few, crate::readable::problems);
        assert!(few[0].contains("expected 12") && few[0].contains("found 128, of which 120 are in use"), "{few:?}");
        assert_eq!(findings(8, 0, true).len(), 1);
        assert_eq!(of_inotify(Inotify { instances: 128, watches: 10, held: 0 }, false, &cluster()).len(), 1);
    }
}
