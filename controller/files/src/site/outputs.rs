//! Writes a compilation to the sinks, and puts it in force.

use super::Site;
use super::memory::EGRESS_PORTS;
use crate::envoys::Capacity;
use crate::sinks::{self, Deployment};
use fedgate_core::{Hostname, ServiceName, Table};
use fedgate_engine::compiler::log_new;
use fedgate_engine::in_force::InForce;
use fedgate_envoy::{Allocation, File};
use fedgate_exchange::exporter;
use fedgate_federation::{Federation, Finding, FindingReason, LocalCluster, ObjectRef};
use fedgate_trace::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

impl Site {
    /// Writes to all sinks in order. Returns the local ports of the imports that are in force, and
    /// the addresses of their hosts.
    pub(super) fn put_in_force(
        &mut self,
        federation: &Federation,
        capacity: &Capacity,
        change: &Change,
        findings: &mut Vec<Finding>,
    ) -> (BTreeMap<ServiceName, u16>, BTreeMap<Hostname, IpAddr>) {
        let egress = self.allocate_ports(federation, capacity, findings);
        let mut named = self.allocate_addresses(federation, findings);
        // Without a port, an import has no listener.
        let open: BTreeSet<_> = egress.keys().map(|service| &service.host).collect();
        named.retain(|host, _| open.contains(host));
        let is_written = self.write(federation, (&egress, &named), capacity, change, findings);
        self.write_names(federation, &named, findings);
        let _publishing = change.step("publish");
        let is_kept = self.keep_versions(federation, findings);
        if is_written && is_kept {
            let before = self.published.borrow().clone();
            let published = exporter::Published::of_change(federation, change, &before);
            self.published.send_replace(Arc::new(published));
        }
        (egress, named)
    }

    /// An import gets its port once that is saved. Else another import could get it after a
    /// restart.
    fn allocate_ports(
        &mut self,
        federation: &Federation,
        capacity: &Capacity,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<ServiceName, u16> {
        let before = self.in_force.load();
        let open = before.iter().filter_map(|before| before.egress.as_ref()).flatten();
        let allocation = sinks::egress_ports(
            &self.settings,
            federation,
            &self.reserved_ports,
            &open.map(|(_, address)| address.port()).collect(),
            capacity,
        );
        let Allocation { mut ports, reserved } = allocation;
        findings.extend(sinks::missing_ports(
            &self.settings,
            &federation.imports,
            &ports,
            capacity.egress_ports,
        ));
        findings.extend(sinks::names_without_port(federation, &ports));
        if reserved != self.reserved_ports {
            match self.state.save(EGRESS_PORTS, &reserved) {
                Ok(()) => self.reserved_ports = reserved,
                Err(error) => {
                    ports.retain(|service, port| self.reserved_ports.get(service) == Some(port));
                    findings.push(self.not_written("state/", &error));
                }
            }
        }
        ports
    }

    /// Writes Envoy's files. Returns true if all are as they should be.
    fn write(
        &mut self,
        federation: &Federation,
        (ports, named): (&BTreeMap<ServiceName, u16>, &BTreeMap<Hostname, IpAddr>),
        capacity: &Capacity,
        change: &Change,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let writing = change.step("write gateway");
        let (settings, local, table) =
            (&self.settings, &self.compiler.cluster, &self.compiler.table);
        let gateway =
            self.deployment.gateway(settings, local, federation, table, &self.endpoints, capacity);
        let gateway = self.write_files(&gateway, findings);
        // Some files may have been written, perhaps also that of the table.
        self.written = match gateway {
            true => self.compiler.table.clone(),
            false => table_of_gateway(&self.deployment, &self.compiler.cluster)
                .unwrap_or_else(|| self.written.clone()),
        };
        drop(writing);
        let _writing = change.step("write egress");
        let (settings, endpoints) = (&self.settings, &self.endpoints);
        let egress =
            self.deployment.egress(settings, federation, ports, named, endpoints, capacity);
        let egress = self.write_files(&egress, findings);
        gateway && egress
    }

    fn write_files(&self, files: &[File], findings: &mut Vec<Finding>) -> bool {
        match self.deployment.files.write(files) {
            Ok(written) if written.changed.is_empty() => {}
            Ok(written) => tracing::debug!(files = ?written.changed, "wrote Envoy's files"),
            Err(error) => {
                findings.push(self.not_written("envoy/", &error));
                return false;
            }
        }
        true
    }

    /// The finding for a file that could not be written. The write is retried.
    pub(super) fn not_written(&self, folder: &str, error: &dyn std::fmt::Display) -> Finding {
        let cluster = ObjectRef::cluster(self.settings.trust_domain.as_str());
        Finding::error(FindingReason::NotWritten, cluster, folder, error.to_string())
    }

    pub(super) fn swap(
        &self,
        federation: Federation,
        (ports, named): (BTreeMap<ServiceName, u16>, BTreeMap<Hostname, IpAddr>),
        findings: Vec<Finding>,
    ) {
        let before = self.in_force.load();
        log_new(
            &federation.findings,
            before.as_ref().map(|before| before.federation.findings.as_slice()),
        );
        log_new(&findings, before.as_ref().map(|before| before.findings.as_slice()));
        let listen = self.settings.egress.listen;
        let egress =
            ports.into_iter().map(|(service, port)| (service, SocketAddr::new(listen, port)));
        let (local, table) = (self.compiler.cluster.clone(), self.written.clone());
        let egress = Some(egress.collect());
        let running = self.observed.running;
        self.in_force.store(Some(Arc::new(InForce {
            local,
            federation,
            table,
            egress,
            named,
            running,
            member_health: self.member_health.clone(),
            findings,
            confirmations: self.compiler.confirmations.clone(),
        })));
    }
}

/// The table in the file that the gateway's Envoy reads; `None` if there is none, or it is of
/// another cluster.
pub(super) fn table_of_gateway(deployment: &Deployment, cluster: &LocalCluster) -> Option<Table> {
    let file = deployment.files.path("gateway/filter/filter.json");
    let table = fedgate_envoy::plugin::table_of(file.as_ref()).ok()?;
    (table.trust_domain() == cluster.trust_domain.as_str()).then_some(table)
}
