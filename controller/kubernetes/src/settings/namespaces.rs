//! The namespaces of fedgate's objects, and how the gateway gets its table.

use super::ImportsNamespace;
use clap::{Args, ValueEnum};
use fedgate_envoy::FilterKind;
use serde::{Deserialize, Serialize};

/// The namespaces of fedgate's objects, and the kind of object that carries the table. The command
/// line reads the running controller's from the ConfigMap `fedgate-state`.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespaces {
    /// Those that `fedgate dns` needs as well
    #[command(flatten)]
    #[serde(flatten)]
    imports: ImportsNamespace,
    /// The namespace of the gateway [default: fedgate's own]
    #[arg(long = "gateway-namespace", env = "FEDGATE_GATEWAY_NAMESPACE", value_name = "NAMESPACE")]
    gateway: Option<String>,
    /// The mesh's root namespace, whose objects apply to all sidecars
    #[arg(
        long = "root-namespace",
        env = "FEDGATE_ROOT_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "istio-system"
    )]
    pub root: String,
    /// How the gateway gets its filter and table
    #[arg(long, env = "FEDGATE_DELIVERY", value_enum, default_value_t)]
    pub delivery: Delivery,
}

/// How the gateway gets its filter and its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "PascalCase")]
pub enum Delivery {
    /// By an EnvoyFilter: the filter keeps its VM when the table changes.
    #[default]
    EnvoyFilter,
    /// By a WasmPlugin, which can pull the module from a registry: each table starts a new VM.
    WasmPlugin,
    /// By an EnvoyFilter, with the native filter: a shared library in the gateway's container.
    DynamicModule,
}

impl Delivery {
    /// All ways of delivery.
    pub const ALL: [Self; 3] = [Self::EnvoyFilter, Self::WasmPlugin, Self::DynamicModule];

    /// How the gateway's Envoy runs the filter.
    pub fn filter(self) -> FilterKind {
        match self {
            Self::EnvoyFilter | Self::WasmPlugin => FilterKind::ProxyWasm,
            Self::DynamicModule => FilterKind::Native,
        }
    }
}

impl Namespaces {
    /// The defaults for a fedgate in this namespace.
    pub fn all_in(namespace: &str) -> Self {
        let imports = ImportsNamespace { own: namespace.to_owned(), imports: None };
        let root = "istio-system".to_owned();
        Self { imports, gateway: None, root, delivery: Delivery::default() }
    }

    /// Replaces the namespaces that are given, and keeps the others.
    pub fn overridden(
        mut self,
        gateway: Option<String>,
        imports: Option<String>,
        root: Option<String>,
    ) -> Self {
        self.gateway = gateway.or(self.gateway);
        self.imports.imports = imports.or(self.imports.imports);
        self.root = root.unwrap_or(self.root);
        self
    }

    /// fedgate's own namespace.
    pub fn own(&self) -> &str {
        &self.imports.own
    }

    /// The gateway's namespace.
    pub fn gateway(&self) -> &str {
        self.gateway.as_deref().unwrap_or(self.own())
    }

    /// The namespace of imports.
    pub fn imports(&self) -> &str {
        self.imports.imports()
    }
}
