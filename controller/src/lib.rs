//! The controller: adapters around `fedgate_federation::federate`.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`settings`], [`files`], [`local`] | sources: `fedgate.yaml`, the folder of manifests, the cluster's own certificates |
//! | [`importer`], [`probe`], [`lookup`] | source: what peers publish, where their gateways are, and whether they can be reached |
//! | [`brain`] | one snapshot of all sources, compiled |
//! | [`controller`] | the files platform: from the brain to the sinks |
//! | [`running`] | source: whether the Envoys of the site run |
//! | [`envoy`], [`exporter`], [`admin`] | sinks: Envoy's files, what peers may fetch, what operators ask |
//! | [`machine`], [`capacity`] | what the machine gives to the Envoys, and how much they may take by that |
//! | [`run`] | the loop that ties them together; `tasks`: what must run for as long as it does |
//! | [`kubernetes`] | the Kubernetes platform: its sources, its sinks, its loop |
//! | [`command`] | the command line |

pub mod admin;
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
pub mod run;
pub mod running;
pub mod settings;
pub mod sinks;
pub mod state;
pub mod status;
mod supervision;
mod tasks;
pub mod words;
pub mod yaml;
