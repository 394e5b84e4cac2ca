//! From what is in force to what the sinks of the files platform write.

use crate::envoy::{
    AccessLog, Allocation, Connections, EgressInputs, EnvoyFiles, File, FilePath, FilterModule, GatewayInputs,
    Identity, PathError, allocate,
};
use crate::files::Endpoints;
use crate::settings::Settings;
use fedgate_core::{Options, ServiceName, Table};
use fedgate_federation::{Federation, LocalCluster};
use std::collections::BTreeMap;
use std::net::TcpListener;

/// What does not change from one table to the next.
pub struct Deployment {
    /// The folder that Envoy reads.
    pub files: EnvoyFiles,
    /// The filter's module.
    pub module: FilterModule,
    /// The certificate and key that both Envoys show.
    pub identity: Identity,
    /// Where the gateway logs connections.
    pub access_log: AccessLog,
}

impl Deployment {
    /// All files of the gateway. The clusters are those that the table in force names, whatever the objects say by now.
    pub fn gateway(
        &self,
        settings: &Settings,
        local: &LocalCluster,
        federation: &Federation,
        table: &Table,
        endpoints: &Endpoints,
    ) -> Vec<File> {
        let exports = table.exports().map(|(service, _)| {
            let found = endpoints.get(&service).cloned().unwrap_or_default();
            (service, found)
        });
        self.files.gateway(&GatewayInputs {
            trust_domain: &settings.trust_domain,
            listen: settings.gateway.listen,
            admin: settings.gateway.admin,
            identity: &self.identity,
            local_roots: &local.roots,
            bundles: &federation.bundles,
            exports: &exports.collect(),
            health: federation.health.as_ref(),
            table,
            options: Options::default(),
            module: &self.module,
            access_log: &self.access_log,
            connections: Connections::default(),
        })
    }

    /// All files of the egress.
    pub fn egress(
        &self,
        settings: &Settings,
        federation: &Federation,
        ports: &BTreeMap<ServiceName, u16>,
    ) -> Vec<File> {
        self.files.egress(&EgressInputs {
            trust_domain: &settings.trust_domain,
            listen: settings.egress.listen,
            admin: settings.egress.admin,
            identity: &self.identity,
            imports: &federation.imports,
            ports,
            bundles: &federation.bundles,
            access_log: &AccessLog::Stdout,
            connections: Connections::default(),
        })
    }
}

/// Gives each import its local port; asks the system which ports are free.
pub fn egress_ports(settings: &Settings, federation: &Federation, reserved: &BTreeMap<ServiceName, u16>) -> Allocation {
    let imports = federation.imports.iter().map(|import| import.service.clone()).collect();
    let is_free = |port| TcpListener::bind((settings.egress.listen, port)).is_ok();
    allocate(reserved, &imports, settings.egress.ports.clone(), is_free)
}

/// Where the two Envoys find the cluster's certificate and key.
///
/// # Errors
/// When a path cannot stand in a JSON file.
pub fn identity(settings: &Settings) -> Result<Identity, PathError> {
    Ok(Identity {
        certificate_chain: FilePath::new(&settings.identity.certificate_chain)?,
        private_key: FilePath::new(&settings.identity.private_key)?,
    })
}
