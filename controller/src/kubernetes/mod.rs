//! The Kubernetes platform: `fedgate controller`.
//!
//! ```text
//!             every replica                                   the leader alone
//! watches ──► Seen ──► Brain::compile ──► Compiled ──► Writer ──► gateway's objects, memory, statuses, imports
//!               ▲            ▲                │
//!             memory      importer            └──► exporter (a follower serves what the leader has published)
//! ```
//!
//! Every replica watches everything and compiles it, so any of them can take over at once and any of them answers peers. Only the
//! leader asks peers and writes. What it learned, and the versions of what it published, are objects (`sources::memory`): a follower serves
//! a document only under a version that the leader gave it, since a peer takes an older one for a replay.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`settings`] | flags and environment |
//! | [`client`], [`kind`], [`owner`] | the API server, the kinds of objects, the labels of ours |
//! | [`sources`] | what is read |
//! | [`sinks`] | what is written |
//! | [`watch`] | watching one kind |
//! | [`election`] | who leads |
//! | `confirmations` | when peers were heard of, on the Lease |
//! | [`identity`] | UUID and key |
//! | `endpoint` | the metadata endpoint's certificate |
//! | [`run`], `replica`, `compiled` | the loop, what it remembers, what one compilation gave |
//! | `loaded` | which table the gateway's Pods have |
//! | `module`, [`fingerprint`] | the filter's module as it is shipped; whether two objects say the same |
//! | [`status`] | the status of an `IstioFederation` |
//! | `uninstall` | taking everything out again |
//! | `snapshot`, `check` | the same at one moment, for the command line |
//! | [`crd`] | the definitions of our kinds, as files |
//! | [`probes`], [`metrics`] | what the kubelet and Prometheus ask |

pub(crate) mod check;
pub mod client;
mod compiled;
pub mod confirmations;
pub mod crd;
pub mod election;
mod endpoint;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod finding_tests;
pub mod fingerprint;
pub mod identity;
pub mod kind;
mod loaded;
pub mod metrics;
mod module;
pub mod owner;
pub mod probes;
mod replica;
pub mod run;
#[cfg(test)]
mod sample;
pub mod settings;
pub mod sinks;
pub(crate) mod snapshot;
pub mod sources;
pub mod status;
pub(crate) mod uninstall;
pub mod watch;
