//! A change of the settings while the controller runs.

use super::{Egress, Gateway, Settings};
use fedgate_federation::{Finding, FindingReason, ObjectRef};

impl Settings {
    /// Takes over from newer settings what can change while the controller runs. Returns the names
    /// of changed fields that need a restart.
    pub fn take(&mut self, new: Self) -> Vec<&'static str> {
        // Every field is named, so that a new one cannot be forgotten. The folders follow from that
        // of the settings.
        let Self {
            trust_domain,
            cluster_uuid,
            network,
            gateway,
            metadata,
            egress,
            connections,
            federated_suffix,
            identity,
            key_file,
            other_key_file,
            times,
            peers,
            admin,
            tracing,
            manifests: _,
            envoy: _,
            state: _,
            names: _,
        } = new;
        let Gateway {
            listen,
            advertise,
            advertise_to,
            proxy_protocol,
            admin: gateway_admin,
            filter,
            filter_module,
            access_log,
            open_files,
            health_name,
            named_callers,
        } = gateway;
        let Egress {
            listen: egress_listen,
            ports,
            addresses,
            server_names,
            admin: egress_admin,
            locality,
            open_files: egress_files,
        } = egress;
        let changed = [
            ("trustDomain", self.trust_domain == trust_domain),
            ("clusterUUID", self.cluster_uuid == cluster_uuid),
            ("gateway.listen", self.gateway.listen == listen),
            ("gateway.proxyProtocol", self.gateway.proxy_protocol == proxy_protocol),
            ("gateway.admin", self.gateway.admin == gateway_admin),
            ("gateway.filter", self.gateway.filter == filter),
            ("gateway.filterModule", self.gateway.filter_module == filter_module),
            ("gateway.accessLog", self.gateway.access_log == access_log),
            ("gateway.healthName", self.gateway.health_name == health_name),
            ("egress.listen", self.egress.listen == egress_listen),
            ("egress.addresses", self.egress.addresses == addresses),
            ("egress.serverNames", self.egress.server_names == server_names),
            ("egress.admin", self.egress.admin == egress_admin),
            ("federatedServices.suffix", self.federated_suffix == federated_suffix),
            ("metadata", self.metadata == metadata),
            ("identity", self.identity == identity),
            ("times", self.times == times),
            ("peers", self.peers == peers),
            ("admin", self.admin == admin),
            ("tracing", self.tracing == tracing),
        ];
        self.network = network;
        // Whether the keys in them take effect without a restart is judged when they are read.
        (self.key_file, self.other_key_file) = (key_file, other_key_file);
        (self.gateway.advertise, self.gateway.advertise_to) = (advertise, advertise_to);
        (self.egress.ports, self.egress.locality) = (ports, locality);
        self.connections = connections;
        self.gateway.named_callers = named_callers;
        self.gateway.open_files = open_files;
        self.egress.open_files = egress_files;
        changed.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
    }
}

/// The finding for a changed setting that is read only at the start.
pub(crate) fn restart_needed(cluster: ObjectRef, field: &str) -> Finding {
    let message = "it has changed, and the old value stays in force; restart `fedgate run`";
    Finding::warning(FindingReason::RestartNeeded, cluster, field, message)
}
