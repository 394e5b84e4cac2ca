//! What was found in a cluster, before it is judged.

use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::inspect::names::NameService;
use crate::inspect::snapshot::Snapshot;
use crate::loaded::gauge::Gauges;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A permission that the controller needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// The role of the namespace.
    pub role: NamespaceRole,
    /// The namespace; `None` for the whole cluster.
    pub namespace: Option<String>,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The plural.
    pub resource: &'static str,
    /// For example `status`; empty for the object itself.
    pub subresource: &'static str,
    /// The name of the only object that is needed; `None` for all.
    pub name: Option<&'static str>,
    /// For example `list`.
    pub verb: &'static str,
}

/// The role of a namespace for fedgate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NamespaceRole {
    /// The whole cluster instead of a namespace.
    Cluster,
    /// fedgate's own namespace.
    Own,
    /// The gateway's namespace.
    Gateway,
    /// The namespace of imports.
    Imports,
    /// The mesh's root namespace.
    Root,
}

/// Returns true if a value is this word, ignoring case.
pub(super) fn is(value: Option<&str>, expected: &str) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case(expected))
}

/// Everything that was found.
pub(crate) struct Facts {
    /// fedgate's namespace.
    pub namespace: String,
    /// The controller's ServiceAccount in that namespace.
    pub service_account: String,
    /// The time by the API server's clock, if known.
    pub now: Timestamp,
    /// The API server; `Err` says why it cannot be asked.
    pub api: Result<Api, String>,
    /// What the controller needs, and whether it is allowed; `Err` says why that cannot be asked.
    pub permissions: Result<Vec<(Need, bool)>, String>,
    /// What is in force; `Err` says why that is unknown.
    pub snapshot: Result<Snapshot, String>,
    /// What the gateway's Pods report.
    pub pods: Pods,
    /// The mesh's control plane.
    pub mesh: Mesh,
    /// What answers for the names of imports.
    pub names: Names,
    /// The objects of the kinds that fedgate writes.
    pub written: Written,
}

/// An API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Api {
    /// Its version.
    pub version: String,
    /// How far this machine's clock is ahead of the API server's; `None` if the API server does not
    /// send the time.
    pub ahead: Option<SignedDuration>,
    /// How each kind is served.
    pub kinds: BTreeMap<Kind, Served>,
}

/// How a kind is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    /// In the version that we use.
    Yes,
    /// Not in the version that we use; the versions in which the group is served.
    No(Vec<String>),
}

/// The gateway's Pods, by name; `Err` says why they cannot be listed.
pub(crate) type Pods = Result<BTreeMap<String, Pod>, String>;

/// A Pod of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Whether it takes traffic.
    pub ready: bool,
    /// What it reports of its filter's table; `Err` says why it cannot be asked.
    pub table: Result<Gauges, String>,
    /// The image of its Istio proxy.
    pub proxy: Option<String>,
    /// Istio's revision.
    pub revision: Option<String>,
}

/// The mesh's control plane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mesh {
    /// The mesh's configuration; `Err` says why it cannot be read.
    pub config: Result<Value, String>,
    /// The istiods; `Err` says why they cannot be listed.
    pub istiods: Result<Vec<Istiod>, String>,
    /// The clients that have ztunnel instead of a sidecar; `Err` says why they are unknown.
    pub ambient: Result<AmbientClients, String>,
}

/// What answers for the names of imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// Addresses, and the Service; `Err` says why they are unknown.
    pub service: Result<NameService, String>,
    /// The cluster's Corefile; `Err` says why it is unknown.
    pub corefile: Result<String, String>,
}

/// What is in ambient mode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AmbientClients {
    /// Namespaces in ambient mode.
    pub namespaces: BTreeSet<String>,
    /// Other namespaces that have Pods in ambient mode.
    pub pods: BTreeSet<String>,
}

impl AmbientClients {
    /// From the namespaces with the label, and the namespaces of Pods with the label.
    pub(crate) fn new(namespaces: BTreeSet<String>, pods: BTreeSet<String>) -> Self {
        let pods = pods.difference(&namespaces).cloned().collect();
        Self { namespaces, pods }
    }

    /// Returns true if nothing is in ambient mode.
    pub(crate) fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.pods.is_empty()
    }
}

/// A Deployment of istiod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Istiod {
    /// Its name.
    pub name: String,
    /// The image of its first container.
    pub image: String,
    /// The environment of that container, as far as the Deployment spells it out.
    pub environment: BTreeMap<String, String>,
}

/// The objects of the kinds and in the namespaces that fedgate writes to; `Err` says why they
/// cannot be listed.
pub(crate) type Written = Result<BTreeMap<(Kind, Key), Owned>, String>;

/// The owner of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owned {
    /// This fedgate.
    Ours,
    /// Someone else.
    Foreign,
}
