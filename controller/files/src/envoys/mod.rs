//! The two Envoys of a site: whether they run, what is known of them, and what their machine
//! allows.
//!
//! The controller does not start them. It looks for their processes and asks their health
//! listeners.
//!
//! | module | what it is |
//! | --- | --- |
//! | `watch` | watches whether they run, and with what limits |
//! | `members` | asks which members of federated names are alive |
//! | `known` | what is known of them, kept over restarts |
//! | `capacity` | how many connections and ports each may use |
//! | `outdated` | which of them needs a restart |
//! | `access_log` | whether the gateway's can open its access log |
//! | `inotify` | whether the kernel allows as many watches as they need |

pub(crate) mod access_log;
pub(crate) mod capacity;
pub(crate) mod inotify;
pub(crate) mod known;
pub(crate) mod members;
pub(crate) mod outdated;
pub(crate) mod watch;

pub use capacity::Capacity;
pub(crate) use known::KnownEnvoys;

use crate::settings::Settings;
use fedgate_engine::running::Running;
use fedgate_envoy::{EnvoyFiles, FilePath, PathError};
use fedgate_federation::{Finding, ObjectRef};
use fedgate_process::envoy_processes::{self, RunningEnvoy};

/// Something of each of the two Envoys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pair<T> {
    pub(crate) gateway: T,
    pub(crate) egress: T,
}

impl<T> Pair<T> {
    /// Both, each with its name.
    pub(crate) fn named(self) -> [(&'static str, T); 2] {
        [("gateway", self.gateway), ("egress", self.egress)]
    }

    pub(crate) fn map<U>(self, mut of: impl FnMut(T) -> U) -> Pair<U> {
        Pair { gateway: of(self.gateway), egress: of(self.egress) }
    }

    pub(crate) fn zip<U>(self, other: Pair<U>) -> Pair<(T, U)> {
        Pair { gateway: (self.gateway, other.gateway), egress: (self.egress, other.egress) }
    }
}

impl<T> From<[T; 2]> for Pair<T> {
    fn from([gateway, egress]: [T; 2]) -> Self {
        Self { gateway, egress }
    }
}

/// The two Envoys' processes, if they run on this machine.
pub(crate) type Processes = Pair<Option<RunningEnvoy>>;

/// What was last observed of the two Envoys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Which of them answer; `None` before the first query.
    pub(crate) running: Option<Running>,
    pub(crate) processes: Processes,
    /// Which of these processes are the Envoys that answer, with the limits that they keep.
    settled: Pair<bool>,
}

impl Observed {
    /// From the processes before and after the two were queried.
    fn new(before: Processes, answers: Pair<bool>, processes: Processes) -> Self {
        let settled = before
            .zip(processes)
            .zip(answers)
            .map(|((before, after), answers)| answers && after.is_some() && before == after);
        let running = Some(Running { gateway: answers.gateway, egress: answers.egress });
        Self { running, processes, settled }
    }

    /// Other processes were found, and nothing has been asked yet.
    fn with_new(self, processes: Processes) -> Self {
        Self { processes, settled: Pair::default(), ..self }
    }

    /// Returns true if a process is visible, and nothing is certain about its limits yet.
    fn has_unsettled(&self) -> bool {
        let unsettled = self.processes.zip(self.settled);
        let Pair { gateway, egress } =
            unsettled.map(|(process, settled)| process.is_some() && !settled);
        gateway || egress
    }
}

fn bootstrap(files: &EnvoyFiles, role: &str) -> FilePath {
    files.path(&format!("{role}/bootstrap.json"))
}

fn bootstraps(files: &EnvoyFiles) -> [FilePath; 2] {
    ["gateway", "egress"].map(|role| bootstrap(files, role))
}

/// The two Envoys, and how many inotify instances all processes hold.
fn survey(files: &EnvoyFiles) -> (Processes, u64) {
    let [gateway, egress] = bootstraps(files);
    let (processes, held) = envoy_processes::survey([gateway.as_ref(), egress.as_ref()]);
    (processes.into(), held)
}

/// What a run on this folder would find now. Writes nothing.
///
/// # Errors
/// When the folder's path cannot be written in a JSON file.
pub fn validate(settings: &Settings) -> Result<(Capacity, Vec<Finding>), PathError> {
    let cluster = ObjectRef::cluster(settings.trust_domain.as_str());
    let files = EnvoyFiles::new(&settings.envoy)?;
    let (processes, held) = survey(&files);
    let mut known = KnownEnvoys::read(&settings.state);
    known.update(&Observed {
        running: None,
        processes,
        settled: Pair { gateway: true, egress: true },
    });
    let capacity = Capacity::of(settings, &known);
    let mut findings = outdated::findings(processes, &files, &cluster);
    findings.extend(capacity.findings(&cluster));
    findings.extend(inotify::findings(processes, held, &cluster));
    findings.extend(access_log::finding(settings));
    Ok((capacity, findings))
}

/// Findings if the kernel allows fewer inotify instances or watches than a site needs.
pub(crate) fn inotify_findings(files: &EnvoyFiles, cluster: &ObjectRef) -> Vec<Finding> {
    let (processes, held) = survey(files);
    inotify::findings(processes, held, cluster)
}
