//! Code shared by the benches and the recorded limits: realistic exports, the alternatives against
//! which the table is measured, a gateway that runs the real module, and a cluster with many peers.
//!
//! - `cargo bench -p fedgate-benches --bench decision`: the native decision, for 10 to 100,000
//!   exports, next to a hash map and a list of rules.
//! - `cargo bench -p fedgate-benches --bench connection`: whole connections through the module in
//!   wasmtime.
//! - `cargo bench -p fedgate-benches --bench federate`: what the controller compiles, for 10 to
//!   2,000 peers with 10 to 1,000 services each.
//! - `cargo test -p fedgate-benches`: exact figures with limits: the fuel of a connection and of a
//!   configuration, and the size of a table. Instruction counts can fail a build; wall time is only
//!   informative.
#![allow(missing_docs, reason = "only the benches and tests of this package use it")]

mod allocations;
mod exports;
mod gateway;
mod names;
mod peers;
mod twins;

pub use allocations::{Allocated, CountingAllocator};
pub use exports::{Exports, PEERS, Question, trust_domain};
pub use gateway::Gateway;
pub use names::{Kind, services};
pub use peers::ManyPeers;
pub use twins::{HashTwin, RuleList};
