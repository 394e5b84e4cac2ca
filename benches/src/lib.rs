//! What the benches and the recorded limits have in common: realistic exports, the twins that the table is measured
//! against, and a gateway that runs the real module.
//!
//! - `cargo bench -p fedgate-benches --bench decision`: the decision natively, over 10 to 100,000 exports, beside a hash map
//!   and a list of rules.
//! - `cargo bench -p fedgate-benches --bench connection`: whole connections through the module in wasmtime.
//! - `cargo test -p fedgate-benches`: exact figures with limits: fuel of a connection and of a configuration, bytes of a
//!   table. Instructions gate, wall time informs.

mod exports;
mod gateway;
mod names;
mod twins;

pub use exports::{Exports, PEERS, Question};
pub use gateway::Gateway;
pub use names::{Kind, services};
pub use twins::{HashTwin, RuleList};
