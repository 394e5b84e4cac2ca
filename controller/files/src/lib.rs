//! The platform without Kubernetes: `fedgate run`.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`settings`], [`manifests`], [`local`] | sources: `fedgate.yaml`, the folder of manifests, the cluster's own certificates |
//! | [`site`] | one site: from the sources to the sinks |
//! | `cluster_identity`, `own` | its UUID and key, and the addresses that it listens on |
//! | [`sinks`], [`state`], [`admin`] | sinks: Envoy's files, what a restart starts from, what operators ask |
//! | [`running`], [`capacity`] | which Envoys run, and how much they may take by what the machine gives |
//! | [`run`] | the loop that ties them together |
//! | [`yaml`] | YAML with lines and fields |

// Tests make files as operators and their editors do, and start strangers of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod admin;
#[cfg(test)]
#[path = "../../../federation/tests/federation/advice.rs"]
mod advice;
pub mod capacity;
mod cluster_identity;
#[cfg(test)]
mod finding_tests;
pub mod local;
pub mod manifests;
mod own;
#[cfg(test)]
#[path = "../../../federation/tests/federation/readable.rs"]
mod readable;
pub mod run;
pub mod running;
pub mod settings;
pub mod sinks;
pub mod site;
pub mod state;
pub mod yaml;
