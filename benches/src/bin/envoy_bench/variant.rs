//! The gateways that are compared. They differ in the filters of the federation listener, and in
//! nothing else: each is made from the files that fedgate writes for its own gateway.

use crate::empty_filter;
use crate::operation::Operation;
use crate::rbac;
use crate::rounds::Programs;
use crate::world::World;
use anyhow::{Context, Result};
use fedgate_benches::Exports;
use fedgate_core::{Options, ServiceName};
use fedgate_envoy::connections::EARLY_DATA;
use fedgate_envoy::{
    AccessLog, Connections, EnvoyFiles, File, FilePath, FilterKind, FilterModule, GatewayInputs,
};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

const CLUSTERS: &str = "gateway/cds.json";
const LISTENERS: &str = "gateway/lds.json";
/// fedgate's table, and the filter.
const TABLE: &str = "gateway/filter/filter.json";

/// A gateway that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// No authorization: the server name is the cluster's name. The baseline.
    Open,
    /// The same, but it connects to the back end only after the handshake. Whatever judges the
    /// caller before that must do so.
    OpenLate,
    /// fedgate's filter as a proxy-wasm module.
    FedgateWasm,
    /// fedgate's filter as a dynamic module.
    FedgateNative,
    /// A wasm filter that does nothing, in front of the baseline.
    EmptyWasm,
    /// Native RBAC with a list of policies, to which Istio compiles AuthorizationPolicies.
    RbacRules,
    /// Native RBAC with a tree of maps, which Istio never writes.
    RbacMatcher,
}

impl Variant {
    pub(crate) const ALL: [Self; 7] = [
        Self::Open,
        Self::OpenLate,
        Self::EmptyWasm,
        Self::FedgateWasm,
        Self::FedgateNative,
        Self::RbacMatcher,
        Self::RbacRules,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::OpenLate => "none, late",
            Self::FedgateWasm => "fedgate (wasm)",
            Self::FedgateNative => "fedgate (native)",
            Self::EmptyWasm => "empty wasm",
            Self::RbacRules => "RBAC rules",
            Self::RbacMatcher => "RBAC matcher",
        }
    }

    pub(crate) fn is_fedgate(self) -> bool {
        matches!(self, Self::FedgateWasm | Self::FedgateNative)
    }

    pub(crate) fn is_rbac(self) -> bool {
        matches!(self, Self::RbacRules | Self::RbacMatcher)
    }

    /// Whether it compares identities with grants.
    pub(crate) fn authorizes(self) -> bool {
        !matches!(self, Self::Open | Self::OpenLate | Self::EmptyWasm)
    }

    /// Whether it does what the operation expects. Without authorization nobody is refused for an
    /// identity, and one that connects late does not look for a server name's cluster before.
    pub(crate) fn does(self, operation: Operation) -> bool {
        match operation {
            Operation::NotGranted => self.authorizes(),
            Operation::Unknown => self != Self::OpenLate,
            _ => true,
        }
    }

    /// The largest table that it can take. As a list of policies, 100,000 rows have some 2.5
    /// million principals; and Envoy takes seconds to load 10,000, so a short run has fewer.
    pub(crate) fn most_rows(self, short: bool) -> usize {
        match (self.is_rbac(), short) {
            (true, true) => 1_000,
            (true, false) => 10_000,
            (false, _) => 100_000,
        }
    }

    /// Writes Envoy's files into a folder. The Envoy is started with `gateway/bootstrap.json`
    /// there.
    pub(crate) fn write(self, world: &World, programs: &Programs<'_>, folder: &Path) -> Result<()> {
        // Left over from an earlier run.
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
        let files = self.files(world, &world.exports, 1, programs, folder)?;
        EnvoyFiles::new(folder)?.write(&files)?;
        Ok(())
    }

    /// The file that says who may pass, with other exports: its path in the folder and its bytes.
    pub(crate) fn table_file(
        self,
        world: &World,
        exports: &Exports,
        generation: u64,
        programs: &Programs<'_>,
        folder: &Path,
    ) -> Result<(&'static str, Vec<u8>)> {
        let path = if self.is_fedgate() { TABLE } else { LISTENERS };
        let files = self.files(world, exports, generation, programs, folder)?;
        let file = files.into_iter().find(|file| file.path == path);
        Ok((path, file.context("no file with the table")?.contents))
    }

    fn files(
        self,
        world: &World,
        exports: &Exports,
        generation: u64,
        programs: &Programs<'_>,
        folder: &Path,
    ) -> Result<Vec<File>> {
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let roots = [world.local_root.clone()];
        let mut files = EnvoyFiles::new(folder)?.gateway(&GatewayInputs {
            quiet: Default::default(),
            trust_domain: &world.trust_domain,
            listen: any,
            proxy_protocol: false,
            admin: any,
            identity: &world.identity,
            local_roots: &roots,
            bundles: &world.bundles,
            exports: &world.services,
            health: None,
            table: &exports.table_of(generation),
            options: Options::default(),
            module: &self.module(programs)?,
            access_log: &AccessLog::File(FilePath::new(Path::new("/dev/null"))?),
            connections: Connections::default(),
        });
        for file in files.iter_mut().filter(|_| !self.is_fedgate()) {
            match file.path.as_str() {
                LISTENERS => {
                    change(file, |listener| self.replace_filters(listener))?;
                    self.put_rbac(file, exports)?;
                }
                CLUSTERS => change(file, |cluster| name_by_sni(cluster, world))?,
                _ => {}
            }
        }
        Ok(files)
    }

    fn module(self, programs: &Programs<'_>) -> Result<FilterModule> {
        Ok(match self {
            Self::EmptyWasm => FilterModule::new(FilterKind::ProxyWasm, empty_filter::module()),
            Self::FedgateNative => FilterModule::new(FilterKind::Native, read(programs.native)?),
            _ => FilterModule::new(FilterKind::ProxyWasm, read(programs.wasm)?),
        })
    }

    /// Puts the RBAC filter into its place.
    fn put_rbac(self, file: &mut File, exports: &Exports) -> Result<()> {
        let filter = match self {
            Self::RbacRules => rbac::rules(exports),
            Self::RbacMatcher => rbac::matcher(exports),
            _ => return Ok(()),
        };
        file.contents = rbac::put(std::str::from_utf8(&file.contents)?, &filter).into_bytes();
        Ok(())
    }

    /// Replaces the filters of the federation listener.
    fn replace_filters(self, listener: &mut Value) {
        if listener["name"] != "federation" {
            return;
        }
        let filters = &mut listener["filter_chains"][0]["filters"];
        let mut own = filters.as_array().into_iter().flatten();
        // Envoy refuses a listener with a filter that is null.
        let wasm = own.find(|filter| filter["name"] == "fedgate").cloned().unwrap_or_default();
        let first = match self {
            Self::Open | Self::OpenLate | Self::FedgateWasm | Self::FedgateNative => None,
            Self::EmptyWasm => Some(wasm),
            Self::RbacRules | Self::RbacMatcher => Some(rbac::place()),
        };
        let sni_cluster =
            "type.googleapis.com/envoy.extensions.filters.network.sni_cluster.v3.SniCluster";
        let tcp_proxy =
            "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let mut route = [
            json!({ "name": "sni_cluster", "typed_config": { "@type": sni_cluster } }),
            json!({ "name": "tcp_proxy", "typed_config": {
                "@type": tcp_proxy, "stat_prefix": "federation", "cluster": "black_hole",
                "max_connect_attempts": 5,
            } }),
        ];
        if self == Self::OpenLate {
            let tcp_proxy = &mut route[1]["typed_config"];
            tcp_proxy["upstream_connect_mode"] = "ON_DOWNSTREAM_TLS_HANDSHAKE".into();
            tcp_proxy["max_early_data_bytes"] = EARLY_DATA.into();
        }
        *filters = first.into_iter().chain(route).collect();
    }
}

/// Gives a cluster the server name of its service as its name, for routing by server name.
fn name_by_sni(cluster: &mut Value, world: &World) {
    let is_it = |service: &&ServiceName| cluster["name"] == service.cluster();
    if let Some(service) = world.services.keys().find(is_it) {
        cluster["name"] = service.sni().into();
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Changes each resource in a file.
fn change(file: &mut File, mut change: impl FnMut(&mut Value)) -> Result<()> {
    let mut response: Value = serde_json::from_slice(&file.contents)?;
    let resources = response["resources"].as_array_mut().context("no resources")?;
    resources.iter_mut().for_each(&mut change);
    file.contents = response.to_string().into_bytes();
    Ok(())
}
