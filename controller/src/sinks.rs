//! From what is in force to what the sinks of the files platform write.

use crate::envoy::{
    AccessLog, Allocation, Connections, EgressInputs, EnvoyFiles, File, FilterModule, GatewayInputs, Identity, allocate,
};
use crate::files::Endpoints;
use crate::settings::{IdentityFiles, Settings};
use anyhow::{Context, Result};
use fedgate_core::{Options, ServiceName, Table};
use fedgate_federation::{Federation, LocalCluster};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

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

/// Reads the certificate and the key that both Envoys show.
///
/// # Errors
/// When a file cannot be read, or they do not belong together. The message names the file and quotes neither.
pub fn identity(settings: &Settings) -> Result<Identity> {
    let IdentityFiles { certificate_chain, private_key, .. } = &settings.identity;
    let read = |field: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("identity.{field} {}: cannot be read", path.display()))
    };
    let (chain, key) = (read("certificateChain", certificate_chain)?, read("privateKey", private_key)?);
    Identity::from_pem(&chain, &key)
        .with_context(|| format!("{} and {}", certificate_chain.display(), private_key.display()))
}
