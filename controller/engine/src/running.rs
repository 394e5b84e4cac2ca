//! Whether the Envoys of a site run.

use fedgate_federation::{Finding, FindingReason, ObjectRef};

/// Which of the two Envoys answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Whether the gateway answers.
    pub gateway: bool,
    /// Whether the egress answers.
    pub egress: bool,
}

impl Running {
    /// What does not work while an Envoy is missing.
    pub fn findings(self, cluster: &ObjectRef) -> Vec<Finding> {
        let finding = |(role, then): (&str, &str)| {
            let message = format!(
                "the {role} Envoy does not answer on this machine, so {then}; start it with envoy/{role}/bootstrap.json, or see its log"
            );
            Finding::error(
                FindingReason::EnvoyNotRunning,
                cluster.clone(),
                format!("envoy/{role}"),
                message,
            )
        };
        let gateway =
            (!self.gateway).then_some(("gateway", "no peer reaches what is exported here"));
        let egress = (!self.egress).then_some(("egress", "no import can be called"));
        gateway.into_iter().chain(egress).map(finding).collect()
    }
}
