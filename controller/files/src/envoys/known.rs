//! What is known of the two Envoys. It is kept for their next start, and over restarts of the
//! controller.

use super::{Observed, Pair};
use fedgate_process::envoy_processes::EnvoyLimits;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file in `state/` that keeps it.
pub(crate) const FILE: &str = "envoys.json";

/// What is known of the two Envoys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct KnownEnvoys(pub(super) Pair<KnownEnvoy>);

/// What is known of one Envoy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KnownEnvoy {
    /// Its limits when its process was last visible.
    pub(super) limits: EnvoyLimits,
    /// Whether it has ever answered. One that answers and has no visible process runs in another
    /// container.
    pub(super) answered: bool,
}

impl KnownEnvoys {
    /// What the state folder has.
    pub(super) fn read(state: &Path) -> Self {
        let kept = std::fs::read(state.join(FILE)).ok();
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Records an observation. What it does not show stays as it was.
    pub(crate) fn update(&mut self, observed: &Observed) {
        let answers = observed.running.map_or_else(Pair::default, |running| Pair {
            gateway: running.gateway,
            egress: running.egress,
        });
        let now = observed.processes.zip(observed.settled).zip(answers);
        self.0 = self.0.zip(now).map(|(known, ((process, settled), answers))| KnownEnvoy {
            limits: process.map_or(known.limits, |envoy| match settled {
                true => envoy.limits,
                false => stricter(known.limits, envoy.limits),
            }),
            answered: known.answered || answers && process.is_none_or(|_| settled),
        });
    }
}

/// The limits if the Envoy's may be those that were known, or those of its process. Nothing is
/// known of an Envoy from its process alone: see [`super::watch`].
fn stricter(known: EnvoyLimits, process: EnvoyLimits) -> EnvoyLimits {
    EnvoyLimits {
        open_files: known.open_files.map(|files| files.min(process.open_files.unwrap_or(files))),
        workers: known.workers.max(process.workers),
    }
}

/// The form in the file, which earlier versions read and write as well.
#[derive(Serialize, Deserialize)]
struct Saved {
    gateway: EnvoyLimits,
    egress: EnvoyLimits,
    #[serde(default)]
    gateway_answered: bool,
    #[serde(default)]
    egress_answered: bool,
}

impl From<Saved> for KnownEnvoys {
    fn from(saved: Saved) -> Self {
        let Saved { gateway, egress, gateway_answered, egress_answered } = saved;
        Self(Pair {
            gateway: KnownEnvoy { limits: gateway, answered: gateway_answered },
            egress: KnownEnvoy { limits: egress, answered: egress_answered },
        })
    }
}

impl From<KnownEnvoys> for Saved {
    fn from(KnownEnvoys(Pair { gateway, egress }): KnownEnvoys) -> Self {
        Self {
            gateway: gateway.limits,
            egress: egress.limits,
            gateway_answered: gateway.answered,
            egress_answered: egress.answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_engine::running::Running;
    use fedgate_process::envoy_processes::RunningEnvoy;

    #[test]
    fn an_observation_is_kept_until_the_next_one() {
        let envoy = |open_files| {
            let limits = EnvoyLimits { open_files: Some(open_files), workers: None };
            Some(RunningEnvoy { pid: 1, limits })
        };
        let observed = |gateway, egress| {
            let [processes, answers] = [Pair { gateway, egress }; 2];
            Observed::new(processes, answers.map(|it: Option<_>| it.is_some()), processes)
        };
        let mut known = KnownEnvoys::default();
        known.update(&observed(envoy(1_024), None));
        known.update(&observed(None, envoy(512)));
        let open_files = |known: &KnownEnvoys| {
            let Pair { gateway, egress } = known.0.map(|envoy| envoy.limits.open_files);
            (gateway, egress)
        };
        assert_eq!(open_files(&known), (Some(1_024), Some(512)));
        known.update(&observed(envoy(65_536), None));
        assert_eq!(open_files(&known), (Some(65_536), Some(512)));
    }

    /// A script sets the limit of open files, and then becomes the Envoy.
    #[test]
    fn nothing_is_known_of_a_process_that_may_not_be_the_envoy_yet() {
        let process = |pid, open_files| {
            let limits = EnvoyLimits { open_files: Some(open_files), workers: None };
            Pair { gateway: Some(RunningEnvoy { pid, limits }), egress: None }
        };
        let [script, envoy] = [process(1, 20_000), process(1, 256)];
        let answers = |gateway| Pair { gateway, egress: false };
        let mut known = KnownEnvoys::default();
        let mut after = |before, answers, after| {
            known.update(&Observed::new(before, answers, after));
            let KnownEnvoy { limits, answered } = known.0.gateway;
            (limits.open_files, answered)
        };
        assert_eq!(after(script, answers(false), script), (None, false));
        assert_eq!(after(script, answers(true), envoy), (None, false));
        assert_eq!(after(envoy, answers(true), envoy), (Some(256), true));
        // Another start: what is known remains, and a lower limit counts at once.
        assert_eq!(after(script, answers(false), script), (Some(256), true));
        let fewer = process(2, 100);
        assert_eq!(after(fewer, answers(false), fewer), (Some(100), true));
        assert_eq!(after(script, answers(true), script), (Some(20_000), true));
        // Also before the Envoy has been asked.
        known.update(&Observed::new(script, answers(true), script).with_new(fewer));
        assert_eq!(known.0.gateway.limits.open_files, Some(100));
    }

    #[test]
    fn an_answer_is_kept_and_the_file_has_the_same_form_as_before() {
        let mut known = KnownEnvoys::default();
        let running = Running { gateway: false, egress: true };
        known.update(&Observed { running: Some(running), ..Observed::default() });
        known.update(&Observed::default());
        let file = r#"{"gateway":{"open_files":null,"workers":null},"egress":{"open_files":null,"workers":null},"gateway_answered":false,"egress_answered":true}"#;
        assert_eq!(serde_json::to_string(&known).unwrap(), file);
        assert_eq!(serde_json::from_str::<KnownEnvoys>(file).unwrap(), known);
        // As an older controller kept it.
        let old = r#"{"gateway":{"open_files":9,"workers":null},"egress":{"open_files":null,"workers":null}}"#;
        let old: KnownEnvoys = serde_json::from_str(old).unwrap();
        assert_eq!((old.0.gateway.limits.open_files, old.0.gateway.answered), (Some(9), false));
    }
}
