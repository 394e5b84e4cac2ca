//! The settings that `fedgate controller` and `fedgate dns` have in common.

use clap::Args;
use fedgate_federation::object::FederatedSuffix;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// fedgate's own namespace, and that of its imports.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportsNamespace {
    /// fedgate's own namespace, with its key, its Lease and its memory
    #[arg(
        long = "namespace",
        env = "FEDGATE_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "fedgate-system"
    )]
    #[serde(rename = "namespace")]
    pub(super) own: String,
    /// The namespace for the ServiceEntries and DestinationRules of imports [default: fedgate's
    /// own]
    #[arg(long = "imports-namespace", env = "FEDGATE_IMPORTS_NAMESPACE", value_name = "NAMESPACE")]
    pub(super) imports: Option<String>,
}

impl ImportsNamespace {
    /// fedgate's own namespace.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// The namespace of imports.
    pub fn imports(&self) -> &str {
        self.imports.as_deref().unwrap_or(&self.own)
    }
}

/// Where the kubelet and Prometheus ask.
#[derive(Debug, Clone, Args)]
pub struct ProbesListen {
    /// The address of /healthz, /readyz and /metrics
    #[arg(
        id = "probes-listen",
        long = "probes-listen",
        env = "FEDGATE_PROBES_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15090"
    )]
    pub listen: SocketAddr,
}

/// What the host names of FederatedServices end in.
#[derive(Debug, Clone, Args)]
pub struct FederatedNames {
    /// The suffix of FederatedServices' host names; it must not overlap any trust domain
    #[arg(
        id = "federated-suffix",
        long = "federated-suffix",
        env = "FEDGATE_FEDERATED_SUFFIX",
        value_name = "DOMAIN",
        default_value = FederatedSuffix::DEFAULT,
        value_parser = FederatedSuffix::parse
    )]
    pub suffix: FederatedSuffix,
}
