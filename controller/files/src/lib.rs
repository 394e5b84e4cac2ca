//! The platform without Kubernetes: `fedgate run`.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`settings`], [`manifests`], [`local`] | sources: `fedgate.yaml`, the manifests, this cluster's own certificates |
//! | `site` | one cluster's controller: from the sources to the sinks |
//! | `cluster_identity`, `own` | this cluster's UUID and key, and the addresses that it listens on |
//! | `names` | the files with the names of imports |
//! | `sinks`, `state`, [`admin`] | sinks: Envoy's files, the state for a restart, the admin address |
//! | `page` | what the operators' page shows besides: what happened, and what the gateway counted |
//! | [`envoys`] | which Envoys run, and how many connections their machine allows |
//! | [`run`] | the loop that connects them |
//! | `yaml` | YAML that knows lines and fields |

// Tests create files as operators and editors do, and start other programs.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

pub mod admin;
#[cfg(test)]
#[path = "../../../federation/tests/federation/advice.rs"]
mod advice;
mod cluster_identity;
pub mod envoys;
#[cfg(test)]
mod finding_tests;
pub mod local;
pub mod manifests;
mod names;
mod own;
mod page;
#[cfg(test)]
#[path = "../../../federation/tests/federation/readable.rs"]
mod readable;
pub mod run;
pub mod settings;
mod sinks;
mod site;
mod state;
mod yaml;
