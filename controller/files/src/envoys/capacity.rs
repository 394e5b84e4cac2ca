//! How many connections and ports each of the two Envoys may use, and advice for the operator.
//!
//! The controller knows the setting `openFiles` and, if an Envoy runs on this machine, that Envoy's
//! limit; the lower of the two counts. Without either, its own limit counts. An Envoy picks up a
//! new number of connections at once. An Envoy of which nothing is known gets few connections
//! ([`Connections::UNSEEN`]).

use super::known::{KnownEnvoy, KnownEnvoys};
use crate::settings::Settings;
use fedgate_envoy::{Connections, Descriptors};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use fedgate_process::machine;

/// Fewer connections than this cause a warning.
const FEW: u32 = 1_000;

/// How much the two Envoys may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub(crate) gateway: EnvoyCapacity,
    pub(crate) egress: EnvoyCapacity,
    /// How many of its ports the egress may have open.
    pub(crate) egress_ports: usize,
}

/// How much one Envoy may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EnvoyCapacity {
    descriptors: Descriptors,
    connections: Connections,
    is_known: bool,
}

impl Capacity {
    pub(crate) fn of(settings: &Settings, KnownEnvoys(known): &KnownEnvoys) -> Self {
        // A listener for each port, and one for each address.
        let each = 1 + usize::from(settings.egress.addresses.is_some());
        let range = settings.egress.ports.len().saturating_mul(each);
        let gateway =
            EnvoyCapacity::new(settings.gateway.open_files, known.gateway, Descriptors::gateway);
        let egress =
            EnvoyCapacity::new(settings.egress.open_files, known.egress, |it| it.egress(range));
        Self { gateway, egress, egress_ports: egress.descriptors.egress_ports(range) / each }
    }

    /// What an operator has to do: first for the gateway, then for the egress.
    pub(crate) fn findings(&self, cluster: &ObjectRef) -> Vec<Finding> {
        let rows = [("gateway", self.gateway), ("egress", self.egress)];
        rows.into_iter().filter_map(|(role, envoy)| envoy.too_few(role, cluster)).collect()
    }

    /// The capacity of both, for people.
    pub fn lines(&self) -> [String; 2] {
        let of = |EnvoyCapacity { descriptors, .. }| {
            format!("{} open files, {} workers", descriptors.limit, descriptors.workers)
        };
        let (gateway, egress) = (self.gateway, self.egress);
        [
            format!("gateway: {} connections at a time ({})", gateway.connections.0, of(gateway)),
            format!(
                "egress: {} connections at a time, {} ports ({})",
                egress.connections.0,
                self.egress_ports,
                of(egress)
            ),
        ]
    }
}

impl EnvoyCapacity {
    fn new(
        open_files: Option<u64>,
        known: KnownEnvoy,
        connections: impl FnOnce(Descriptors) -> Connections,
    ) -> Self {
        let descriptors = descriptors(open_files, known);
        let is_known = is_known(open_files, known);
        Self { descriptors, connections: connections(descriptors), is_known }
    }

    /// The number of connections that the Envoy is given: few, until something is known of it.
    pub(crate) fn connections_for_now(self) -> Connections {
        match self.is_known {
            true => self.connections,
            false => self.connections.min(Connections::UNSEEN),
        }
    }

    fn too_few(self, role: &str, cluster: &ObjectRef) -> Option<Finding> {
        let (Descriptors { limit, workers }, Connections(connections)) =
            (self.descriptors, self.connections);
        let advice = format!(
            "raise the limit of open files of its Envoy (LimitNOFILE of the unit, ulimit -n), expected 65536 or more; \
             if it differs from the controller's, say so as {role}.openFiles"
        );
        let message = format!(
            "{role}: its Envoy may open {limit} files with {workers} workers, so it takes {connections} connections at a time: {advice}"
        );
        let finding = match self.descriptors.are_enough() {
            false => Finding::error,
            true if connections < FEW => Finding::warning,
            true => return None,
        };
        let field = format!("{role}.openFiles");
        Some(finding(FindingReason::TooFewDescriptors, cluster.clone(), field, message))
    }
}

fn descriptors(setting: Option<u64>, known: KnownEnvoy) -> Descriptors {
    let limit = setting.into_iter().chain(known.limits.open_files).min();
    Descriptors {
        limit: limit.unwrap_or_else(machine::descriptor_limit),
        workers: machine::workers().max(known.limits.workers.unwrap_or_default()),
    }
}

/// An Envoy is known if an operator has set its limit, its process was visible, or it answers from
/// where its process is not visible.
fn is_known(setting: Option<u64>, known: KnownEnvoy) -> bool {
    setting.is_some() || known.limits.open_files.is_some() || known.answered
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_process::envoy_processes::EnvoyLimits;

    fn known(open_files: Option<u64>, answered: bool) -> KnownEnvoy {
        KnownEnvoy { limits: EnvoyLimits { open_files, workers: Some(1_000) }, answered }
    }

    #[test]
    fn few_descriptors_are_a_warning_and_too_few_are_an_error() {
        let cluster = ObjectRef::cluster("alpha.example");
        let capacity = |limit| {
            let descriptors = Descriptors { limit, workers: 2 };
            let envoy = |connections| EnvoyCapacity { descriptors, connections, is_known: true };
            Capacity {
                gateway: envoy(descriptors.gateway()),
                egress: envoy(descriptors.egress(900)),
                egress_ports: descriptors.egress_ports(900),
            }
        };
        let severities = |limit| -> Vec<_> {
            let findings = capacity(limit).findings(&cluster);
            findings.into_iter().map(|finding| format!("{:?}", finding.severity)).collect()
        };
        assert!(severities(65_536).is_empty());
        assert_eq!(severities(1_024), ["Warning", "Warning"]);
        assert_eq!(severities(100), ["Error", "Error"]);
        let text = capacity(1_024).findings(&cluster)[0].to_string();
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
        let of = |setting, open_files| descriptors(setting, known(open_files, false));
        assert_eq!(of(Some(4_096), Some(1_024)).limit, 1_024);
        assert_eq!(of(Some(512), Some(1_024)).limit, 512);
        assert_eq!(of(None, Some(1_024)).limit, 1_024);
        assert_eq!(of(None, None).limit, machine::descriptor_limit());
        assert_eq!(of(None, None).workers, 1_000);
    }

    #[test]
    fn an_unknown_envoy_gets_few_connections() {
        let cases = [
            (None, known(None, false), false),
            (Some(1_024), known(None, false), true),
            (None, known(Some(1_024), false), true),
            (None, known(None, true), true),
        ];
        for (setting, known, expected) in cases {
            assert_eq!(is_known(setting, known), expected, "{setting:?} {known:?}");
        }
        let for_now = |count, is_known| {
            let descriptors = Descriptors { limit: 1_024, workers: 2 };
            let connections = Connections(count);
            EnvoyCapacity { descriptors, connections, is_known }.connections_for_now()
        };
        assert_eq!(for_now(464, true).0, 464);
        assert_eq!(for_now(464, false), Connections::UNSEEN);
        assert_eq!(for_now(8, false).0, 8);
    }
}
