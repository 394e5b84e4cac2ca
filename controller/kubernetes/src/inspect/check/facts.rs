//! What was found in a cluster, before anybody judges it.

use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::inspect::snapshot::Snapshot;
use crate::loaded::gauge::Gauges;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that the controller must be allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// What the namespace is to fedgate.
    pub place: Place,
    /// The namespace; `None`: the whole cluster.
    pub namespace: Option<String>,
    /// The group; empty for the core one.
    pub group: &'static str,
    /// The plural.
    pub resource: &'static str,
    /// For example `status`; empty for the object itself.
    pub subresource: &'static str,
    /// The one object that is needed; `None`: all.
    pub name: Option<&'static str>,
    /// For example `list`.
    pub verb: &'static str,
}

/// What a namespace is to fedgate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Not one namespace: the whole cluster.
    Cluster,
    /// fedgate's own.
    Own,
    /// The gateway's.
    Gateway,
    /// That of the imports.
    Imports,
    /// The mesh's root.
    Root,
}

/// Whether a value is that word, in whatever case.
pub(super) fn is(value: Option<&str>, expected: &str) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case(expected))
}

/// Everything that was found.
pub(crate) struct Facts {
    /// fedgate's namespace.
    pub namespace: String,
    /// The controller's ServiceAccount, in that namespace.
    pub service_account: String,
    /// The time by the API server's clock, if it told it.
    pub now: Timestamp,
    /// The API server; `Err`: why it cannot be asked.
    pub api: Result<Api, String>,
    /// What the controller needs, and whether it may; `Err`: why that cannot be asked.
    pub permissions: Result<Vec<(Need, bool)>, String>,
    /// What is in force; `Err`: why that cannot be told.
    pub snapshot: Result<Snapshot, String>,
    /// What the gateway's Pods say.
    pub pods: Pods,
    /// The mesh's control plane.
    pub mesh: Mesh,
    /// The objects of the kinds that fedgate writes.
    pub written: Written,
}

/// An API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Api {
    /// Its version.
    pub version: String,
    /// How far this machine's clock is before its clock; `None` when it does not tell the time.
    pub ahead: Option<SignedDuration>,
    /// How each kind is served.
    pub kinds: BTreeMap<Kind, Served>,
}

/// How a kind is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    /// In the version that is used.
    Yes,
    /// Not in the version that is used. Those in which the group is served.
    No(Vec<String>),
}

/// The gateway's Pods, by name; `Err`: why they cannot be listed.
pub(crate) type Pods = Result<BTreeMap<String, Pod>, String>;

/// A Pod of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Whether it takes traffic.
    pub ready: bool,
    /// What it says of its filter's table; `Err`: why it cannot be asked.
    pub table: Result<Gauges, String>,
    /// The image of Istio's proxy in it.
    pub proxy: Option<String>,
    /// Istio's revision.
    pub revision: Option<String>,
}

/// The mesh's control plane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mesh {
    /// The mesh's configuration; `Err`: why it cannot be read.
    pub config: Result<Value, String>,
    /// The istiods; `Err`: why they cannot be listed.
    pub istiods: Result<Vec<Istiod>, String>,
    /// Who has ztunnel in place of a sidecar; `Err`: why that cannot be told.
    pub ambient: Result<AmbientClients, String>,
}

/// What is in ambient mode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AmbientClients {
    /// Namespaces.
    pub namespaces: BTreeSet<String>,
    /// Other namespaces, which have Pods that are.
    pub pods: BTreeSet<String>,
}

impl AmbientClients {
    /// From the namespaces with the label, and the namespaces of the Pods with it.
    pub(crate) fn new(namespaces: BTreeSet<String>, pods: BTreeSet<String>) -> Self {
        let pods = pods.difference(&namespaces).cloned().collect();
        Self { namespaces, pods }
    }

    /// Whether nothing is.
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
    /// The environment of that container, as far as it stands in the Deployment.
    pub environment: BTreeMap<String, String>,
}

/// The objects of the kinds and in the namespaces that fedgate writes to; `Err`: why they cannot be listed.
pub(crate) type Written = Result<BTreeMap<(Kind, Key), Owned>, String>;

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owned {
    /// This fedgate's.
    Ours,
    /// Somebody else's.
    Foreign,
}
