//! What is in force, as one immutable snapshot: the admin address and the exporter answer from it.

use crate::explain::{Explanation, Question, Sources, explain};
use crate::status::Status;
use fedgate_core::{Options, PluginConfiguration, ServiceName, Table, write_configuration};
use fedgate_federation::{Federation, Finding, LocalCluster};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Everything that one compilation gave, and what the sinks made of it.
#[derive(Debug, Clone)]
pub struct InForce {
    /// This cluster.
    pub local: LocalCluster,
    /// What was compiled last.
    pub federation: Federation,
    /// The table in force: the last one that could be built, and was put where the gateway reads it.
    pub table: Table,
    /// Where each import has its local port; `None` where imports are names in the mesh.
    pub egress: Option<BTreeMap<ServiceName, SocketAddr>>,
    /// What the sinks have to tell.
    pub findings: Vec<Finding>,
}

impl InForce {
    /// How it is with the federation.
    pub fn status(&self) -> Status {
        let mut status = Status::new(&self.local, &self.federation, &self.table, self.egress.as_ref());
        status.findings.extend(self.findings.iter().cloned());
        status.findings.sort_by_key(|finding| finding.severity);
        status
    }

    /// Why a call passes or not.
    pub fn explain(&self, question: &Question) -> Explanation {
        let sources = Sources { federation: &self.federation, table: &self.table, egress: self.egress.as_ref() };
        explain(&sources, question)
    }

    /// The table, as the filter is given it.
    pub fn configuration(&self) -> PluginConfiguration<'static> {
        write_configuration(&self.table, Options::default())
    }
}
