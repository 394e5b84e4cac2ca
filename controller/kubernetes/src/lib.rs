//! The Kubernetes platform: `fedgate controller`.
//!
//! ```text
//!             every replica                                   the leader alone
//! watches ──► Observed ──► Compiler::compile ──► Compiled ──► Writer ──► gateway's objects, memory, statuses, imports
//!                 ▲              ▲                │
//!               memory        importer            └──► exporter (a follower serves what the leader has published)
//! ```
//!
//! Every replica watches everything and compiles it, so any of them can take over at once and any
//! of them answers peers. Only the leader asks peers and writes. It stores what it learned and the
//! versions of what it published in objects (`sources::memory`). A follower serves a document only
//! under a version that the leader gave it, because a peer takes an older version for a replay.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`api`] | the API server: client, kinds, watches |
//! | [`settings`] | flags and environment |
//! | `sources` | the objects that are read |
//! | `replica` | what a replica knows, compiled |
//! | `leader` | the election, when peers were last confirmed, and what happened when |
//! | `sinks`, `status` | the objects that are written |
//! | `loaded`, `module` | which table each gateway Pod has, and the filter's module |
//! | `presented` | which certificate each gateway Pod shows |
//! | `identity` | UUID and key |
//! | `endpoint` | the metadata endpoint's certificate |
//! | [`run`] | the loop |
//! | [`dns`] | `fedgate dns`: answers for the names of imports |
//! | [`inspect`] | what runs on a user's machine: `check`, `snapshot`, `uninstall` |
//! | [`crd`] | the definitions of our kinds, as files |
//! | `probes`, `metrics` | the endpoints for the kubelet and Prometheus |

// Tests write files in place, as operators and their editors do, and spawn tasks of their own.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_macros))]

#[cfg(test)]
#[path = "../../../federation/tests/federation/advice.rs"]
mod advice;
pub mod api;
pub mod crd;
pub mod dns;
mod endpoint;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod finding_tests;
mod identity;
pub mod inspect;
mod leader;
mod loaded;
mod metrics;
mod module;
mod presented;
mod probes;
#[cfg(test)]
#[path = "../../../federation/tests/federation/readable.rs"]
mod readable;
mod replica;
pub mod run;
#[cfg(test)]
mod sample;
pub mod settings;
mod sinks;
mod sources;
mod status;
