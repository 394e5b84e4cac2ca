//! The controller: adapters around `fedgate_federation::federate`.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`settings`], [`files`], [`local`], [`yaml`] | sources: `fedgate.yaml`, the folder of manifests, the cluster's own certificates; their YAML |
//! | [`importer`], [`probe`], [`lookup`] | source: what peers publish, where their gateways are, and whether they can be reached |
//! | `tls` | what the importer and the probe have in common as TLS clients |
//! | [`brain`] | one snapshot of all sources, compiled |
//! | [`controller`] | the files platform: from the brain to the sinks |
//! | [`state`], `cluster_identity`, `own` | the files platform: what is kept over a restart, this cluster's UUID and key, what it listens on |
//! | [`running`] | source: whether the Envoys of the site run |
//! | [`sinks`], [`envoy`], [`exporter`], [`admin`] | sinks: Envoy's files, what peers may fetch, what operators ask |
//! | [`in_force`], [`status`], [`explain`], [`metrics`] | what one compilation gave, and what it says to operators |
//! | [`machine`], [`capacity`] | what the machine gives to the Envoys, and how much they may take by that |
//! | [`run`] | the loop of the files platform |
//! | [`kubernetes`] | the Kubernetes platform: its sources, its sinks, its loop |
//! | `tasks`, `supervision`, `pace`, `backoff`, [`clock`] | what loops are made of: tasks that may not end, tasks of one peer, when to compile, how long to wait after a failure, time |
//! | `replace` | replacing a file at once |
//! | [`command`], [`logging`], [`words`] | the command line, logs, and errors in plain words |
//! | [`beside`], [`plugin`] | where the filter's module is, and the table in what it is configured with |

// Tests make files as operators and their editors do, and start strangers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod admin;
#[cfg(test)]
#[path = "../../federation/tests/federation/advice.rs"]
mod advice;
mod backoff;
pub mod beside;
pub mod brain;
pub mod capacity;
pub mod clock;
mod cluster_identity;
pub mod command;
pub mod controller;
pub mod envoy;
pub mod explain;
pub mod exporter;
pub mod files;
pub mod importer;
pub mod in_force;
pub mod kubernetes;
pub mod local;
pub mod logging;
pub mod lookup;
#[cfg(test)]
mod loopback;
pub mod machine;
pub mod metrics;
mod own;
mod pace;
pub mod plugin;
pub mod probe;
#[cfg(test)]
#[path = "../../federation/tests/federation/readable.rs"]
mod readable;
mod replace;
pub mod run;
pub mod running;
pub mod settings;
pub mod sinks;
pub mod state;
pub mod status;
mod supervision;
mod tasks;
mod tls;
pub mod words;
pub mod yaml;
