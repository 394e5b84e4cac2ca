//! Checks whether the kernel allows as many inotify instances and watches as a site needs.

use super::Processes;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::machine::{INOTIFY_INSTANCES, INOTIFY_WATCHES, Inotify, KernelLimit};

/// `held` is the number of instances that all processes hold.
pub(crate) fn findings(processes: Processes, held: u64, cluster: &ObjectRef) -> Vec<Finding> {
    let running = processes.gateway.or(processes.egress).is_some();
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
