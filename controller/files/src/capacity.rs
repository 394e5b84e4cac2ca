//! How many connections and ports each of the two Envoys may use, and advice for the operator.
//!
//! The controller does not start the Envoys. It knows the setting `openFiles` and, if an Envoy runs
//! on this machine, that Envoy's limit; the lower of the two counts. Without either, its own limit
//! counts. An Envoy picks up a new number of connections at once. What is seen of it is kept for
//! its next start. An Envoy that has never been seen gets few connections
//! ([`Connections::UNSEEN`]).

use crate::settings::Settings;
use fedgate_engine::running::Running;
use fedgate_envoy::{Connections, Descriptors, EnvoyFiles, FilePath, PathError};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::machine::{
    self, EnvoyLimits, INOTIFY_INSTANCES, INOTIFY_WATCHES, Inotify, KernelLimit, RunningEnvoy,
};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// What is known of the two Envoys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    /// Which of them answer; `None` before the first query.
    pub running: Option<Running>,
    /// Their processes.
    pub processes: RunningEnvoys,
}

/// The file in `state/` that keeps what was seen.
pub const FILE: &str = "envoys.json";
/// Fewer connections than this cause a warning.
const FEW: u32 = 1_000;
/// How far the clocks of files and processes may differ: both tick at least 100 times a second.
const SLACK: Duration = Duration::from_millis(100);

/// What was seen of the two Envoys; kept over restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenEnvoys {
    gateway: EnvoyLimits,
    egress: EnvoyLimits,
    /// Whether it has ever answered. An Envoy that answers but is not seen runs where its process
    /// is not visible.
    #[serde(default)]
    gateway_answered: bool,
    #[serde(default)]
    egress_answered: bool,
}

impl SeenEnvoys {
    /// Records what is seen now. Without a new observation of an Envoy, the last one stays.
    pub fn take(&mut self, observed: &Observed) {
        let take = |seen: &mut EnvoyLimits, envoy: Option<RunningEnvoy>| {
            *seen = envoy.map_or(*seen, |envoy| envoy.limits)
        };
        take(&mut self.gateway, observed.processes.gateway);
        take(&mut self.egress, observed.processes.egress);
        self.gateway_answered |= observed.running.is_some_and(|running| running.gateway);
        self.egress_answered |= observed.running.is_some_and(|running| running.egress);
    }
}

/// How much the two Envoys may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    gateway: Descriptors,
    egress: Descriptors,
    /// The number of ports in `egress.ports`.
    range: usize,
    gateway_known: bool,
    egress_known: bool,
}

impl Capacity {
    /// From the settings, what was seen, and this process's own limit.
    pub fn of(settings: &Settings, seen: &SeenEnvoys) -> Self {
        Self {
            gateway: descriptors(settings.gateway.open_files, seen.gateway),
            egress: descriptors(settings.egress.open_files, seen.egress),
            range: settings.egress.ports.len(),
            gateway_known: is_known(
                settings.gateway.open_files,
                seen.gateway,
                seen.gateway_answered,
            ),
            egress_known: is_known(settings.egress.open_files, seen.egress, seen.egress_answered),
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

    /// The number that the gateway is given: few, until something is known of it.
    pub fn gateway_for_now(&self) -> Connections {
        for_now(self.gateway(), self.gateway_known)
    }

    /// The number that the egress is given: few, until something is known of it.
    pub fn egress_for_now(&self) -> Connections {
        for_now(self.egress(), self.egress_known)
    }

    /// How many of its ports the egress may have open.
    pub fn egress_ports(&self) -> usize {
        self.egress.egress_ports(self.range)
    }

    /// What an operator has to do: first for the gateway, then for the egress.
    pub fn findings(&self, cluster: &ObjectRef) -> Vec<Finding> {
        let rows =
            [("gateway", self.gateway, self.gateway()), ("egress", self.egress, self.egress())];
        rows.into_iter()
            .filter_map(|(role, it, connections)| too_few(role, it, connections, cluster))
            .collect()
    }

    /// The capacity of both, for people.
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

/// An Envoy is known if an operator has set its limit, it was seen, or it answers from where it
/// cannot be seen.
fn is_known(setting: Option<u64>, seen: EnvoyLimits, answered: bool) -> bool {
    setting.is_some() || seen.open_files.is_some() || answered
}

fn for_now(connections: Connections, known: bool) -> Connections {
    if known { connections } else { connections.min(Connections::UNSEEN) }
}

fn descriptors(setting: Option<u64>, seen: EnvoyLimits) -> Descriptors {
    let known = setting.into_iter().chain(seen.open_files).min();
    Descriptors {
        limit: known.unwrap_or_else(machine::descriptor_limit),
        workers: machine::workers().max(seen.workers.unwrap_or_default()),
    }
}

fn too_few(
    role: &str,
    it: Descriptors,
    Connections(connections): Connections,
    cluster: &ObjectRef,
) -> Option<Finding> {
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
    Some(finding(
        FindingReason::TooFewDescriptors,
        cluster.clone(),
        format!("{role}.openFiles"),
        message,
    ))
}

/// The two Envoys, if they run on this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunningEnvoys {
    gateway: Option<RunningEnvoy>,
    egress: Option<RunningEnvoy>,
}

/// Looks for the two Envoys on this machine.
pub fn look(files: &EnvoyFiles) -> RunningEnvoys {
    let [gateway, egress] = ["gateway", "egress"].map(|role| bootstrap(files, role));
    machine::running_envoys([gateway.as_ref(), egress.as_ref()]).into()
}

fn bootstrap(files: &EnvoyFiles, role: &str) -> FilePath {
    files.path(&format!("{role}/bootstrap.json"))
}

impl From<[Option<RunningEnvoy>; 2]> for RunningEnvoys {
    fn from([gateway, egress]: [Option<RunningEnvoy>; 2]) -> Self {
        Self { gateway, egress }
    }
}

impl RunningEnvoys {
    /// Findings about Envoys that need a restart, because their bootstrap file is newer.
    pub fn outdated(&self, files: &EnvoyFiles, cluster: &ObjectRef) -> Vec<Finding> {
        let outdated = |(role, envoy): (&str, Option<RunningEnvoy>)| {
            let envoy = envoy.filter(|envoy| is_older(envoy, bootstrap(files, role).as_ref()))?;
            Some(restart_needed(role, envoy, cluster))
        };
        [("gateway", self.gateway), ("egress", self.egress)]
            .into_iter()
            .filter_map(outdated)
            .collect()
    }
}

fn is_older(envoy: &RunningEnvoy, bootstrap: &Path) -> bool {
    let written = std::fs::metadata(bootstrap).and_then(|metadata| metadata.modified());
    let started = machine::started(envoy.pid);
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

/// What a run on this folder would find now. Writes nothing.
///
/// # Errors
/// When the folder's path cannot be written in a JSON file.
pub fn validate(settings: &Settings) -> Result<(Capacity, Vec<Finding>), PathError> {
    let cluster = ObjectRef::cluster(settings.trust_domain.as_str());
    let files = EnvoyFiles::new(&settings.envoy)?;
    let kept = std::fs::read(settings.state.join(FILE)).ok();
    let mut seen: SeenEnvoys =
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let (processes, held) = survey(&files);
    seen.take(&Observed { running: None, processes });
    let mut findings = processes.outdated(&files, &cluster);
    let capacity = Capacity::of(settings, &seen);
    findings.extend(capacity.findings(&cluster));
    findings.extend(of_kernel(processes, held, &cluster));
    Ok((capacity, findings))
}

/// Findings if the kernel allows fewer inotify instances or watches than a site needs.
pub fn inotify_findings(files: &EnvoyFiles, cluster: &ObjectRef) -> Vec<Finding> {
    let (processes, held) = survey(files);
    of_kernel(processes, held, cluster)
}

/// The two Envoys, and how many inotify instances all processes hold.
fn survey(files: &EnvoyFiles) -> (RunningEnvoys, u64) {
    let [gateway, egress] = ["gateway", "egress"].map(|role| bootstrap(files, role));
    let (envoys, held) = machine::survey([gateway.as_ref(), egress.as_ref()]);
    (envoys.into(), held)
}

fn of_kernel(
    RunningEnvoys { gateway, egress }: RunningEnvoys,
    held: u64,
    cluster: &ObjectRef,
) -> Vec<Finding> {
    let running = gateway.or(egress).is_some();
    Inotify::read().map(|inotify| of_inotify(inotify, held, running, cluster)).unwrap_or_default()
}

/// `running`: the site's own processes already hold their instances.
fn of_inotify(inotify: Inotify, held: u64, running: bool, cluster: &ObjectRef) -> Vec<Finding> {
    let Inotify { instances, watches } = inotify;
    let finding = |KernelLimit { setting, .. }, expected: u64, found: String| {
        let message = format!(
            "{setting}: expected {expected} for this site, found {found}; an Envoy that gets none aborts: raise it \
             with sysctl, and in /etc/sysctl.d for the next start"
        );
        Finding::error(FindingReason::TooFewInotify, cluster.clone(), setting, message)
    };
    let free = instances.value.saturating_sub(if running { 0 } else { held });
    let in_use = format!("{}, of which {held} are in use", instances.value);
    let few_instances =
        (free < INOTIFY_INSTANCES).then(|| finding(instances, INOTIFY_INSTANCES, in_use));
    let few_watches = (watches.value < INOTIFY_WATCHES)
        .then(|| finding(watches, INOTIFY_WATCHES, watches.value.to_string()));
    few_instances.into_iter().chain(few_watches).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ObjectRef {
        ObjectRef::cluster("alpha.example")
    }

    #[test]
    fn few_descriptors_are_a_warning_and_too_few_are_an_error() {
        let capacity = |limit| {
            let it = Descriptors { limit, workers: 2 };
            Capacity {
                gateway: it,
                egress: it,
                range: 900,
                gateway_known: true,
                egress_known: true,
            }
        };
        let severities = |limit| -> Vec<_> {
            capacity(limit)
                .findings(&cluster())
                .into_iter()
                .map(|finding| format!("{:?}", finding.severity))
                .collect()
        };
        assert!(severities(65_536).is_empty());
        assert_eq!(severities(1_024), ["Warning", "Warning"]);
        assert_eq!(severities(100), ["Error", "Error"]);
        let text = capacity(1_024).findings(&cluster())[0].to_string();
        crate::readable::assert_readable(&[&text], crate::readable::problems);
        assert!(
            text.contains("1024 files")
                && text.contains("464 connections")
                && text.contains("LimitNOFILE"),
            "{text}"
        );
        assert_eq!(
            capacity(1_024).lines()[1],
            "egress: 232 connections at a time, 232 ports (1024 open files, 2 workers)"
        );
    }

    #[test]
    fn the_lowest_known_limit_of_an_envoy_applies() {
        let of = |setting, open_files| {
            descriptors(setting, EnvoyLimits { open_files, workers: Some(1_000) })
        };
        assert_eq!(of(Some(4_096), Some(1_024)).limit, 1_024);
        assert_eq!(of(Some(512), Some(1_024)).limit, 512);
        assert_eq!(of(None, Some(1_024)).limit, 1_024);
        assert_eq!(of(None, None).limit, machine::descriptor_limit());
        assert_eq!(of(None, None).workers, 1_000);
    }

    #[test]
    fn an_unknown_envoy_gets_few_connections() {
        let known = EnvoyLimits { open_files: Some(1_024), workers: None };
        let cases = [
            (None, EnvoyLimits::default(), false, false),
            (Some(1_024), EnvoyLimits::default(), false, true),
            (None, known, false, true),
            (None, EnvoyLimits::default(), true, true),
        ];
        for (setting, seen, answered, expected) in cases {
            assert_eq!(
                is_known(setting, seen, answered),
                expected,
                "{setting:?} {seen:?} {answered}"
            );
        }
        assert_eq!(for_now(Connections(464), true).0, 464);
        assert_eq!(for_now(Connections(464), false), Connections::UNSEEN);
        assert_eq!(for_now(Connections(8), false).0, 8);
    }

    #[test]
    fn an_observation_is_kept_until_the_next_one() {
        let envoy = |open_files| {
            Some(RunningEnvoy {
                pid: 1,
                limits: EnvoyLimits { open_files: Some(open_files), workers: None },
            })
        };
        let observed = |gateway, egress| Observed {
            running: None,
            processes: RunningEnvoys { gateway, egress },
        };
        let mut seen = SeenEnvoys::default();
        seen.take(&observed(envoy(1_024), None));
        seen.take(&observed(None, envoy(512)));
        assert_eq!((seen.gateway.open_files, seen.egress.open_files), (Some(1_024), Some(512)));
        seen.take(&observed(envoy(65_536), None));
        assert_eq!(seen.gateway.open_files, Some(65_536));
        // As an older controller kept it.
        let kept = r#"{"gateway":{"open_files":9,"workers":null},"egress":{"open_files":null,"workers":null}}"#;
        assert_eq!(serde_json::from_str::<SeenEnvoys>(kept).unwrap().gateway.open_files, Some(9));
    }

    #[test]
    fn inotify_instances_in_use_are_not_available() {
        let limit = |value| KernelLimit { setting: "fs.inotify.some", value };
        let inotify =
            |instances, watches| Inotify { instances: limit(instances), watches: limit(watches) };
        let findings = |instances, held, running| {
            let found = of_inotify(inotify(instances, 8_192), held, running, &cluster());
            found.into_iter().map(|finding| finding.to_string()).collect::<Vec<_>>()
        };
        assert!(findings(128, 10, false).is_empty());
        assert!(findings(128, 127, true).is_empty(), "some of them are the site's own");
        let few = findings(128, 120, false);
        crate::readable::assert_readable(&few, crate::readable::problems);
        assert!(
            few[0].contains("expected 12") && few[0].contains("found 128, of which 120 are in use"),
            "{few:?}"
        );
        assert_eq!(findings(8, 0, true).len(), 1);
        assert_eq!(of_inotify(inotify(128, 10), 0, false, &cluster()).len(), 1);
    }
}
